//! Nothing leads out of the folder, and what is no file stays closed.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{DENIED, Heard, NONE, OK, World};
use crate::sftp::wire::{kind, open};

#[test]
fn no_path_leads_out() {
    let mut world = World::new(false);
    let out = world.folder.path().to_owned();
    symlink(&out, world.path("out")).unwrap();
    symlink("..", world.path("up")).unwrap();
    symlink("/proc/self/root", world.path("magic")).unwrap();
    symlink("../secret", world.path("leak")).unwrap();
    symlink("inside", world.path("fine")).unwrap();
    fs::write(world.path("inside"), "inside").unwrap();
    let absolute = out.join("secret");
    for path in [
        &b"/../secret"[..],
        b"../secret",
        b"/x/../../secret",
        b"/out/secret",
        b"/up/secret",
        b"/leak",
        b"/magic/etc/passwd",
        absolute.as_os_str().as_bytes(),
    ] {
        let shown = String::from_utf8_lossy(path);
        for flags in [
            open::READ,
            open::WRITE,
            open::WRITE | open::CREATE,
            open::WRITE | open::TRUNCATE,
        ] {
            let heard = world.open(path, flags);
            assert!(matches!(heard, DENIED | NONE), "{shown}: {heard:?}");
        }
        for kind in [kind::STAT, kind::OPENDIR] {
            let heard = world.about(kind, path);
            assert!(matches!(heard, DENIED | NONE), "{shown}: {heard:?}");
        }
        for (one, two) in [(path, &b"/stolen"[..]), (b"/inside", path)] {
            if path == b"/leak" {
                // The link itself may be renamed: it lies in the folder.
                continue;
            }
            for heard in [
                world.two(kind::RENAME, one, two),
                world.extended("hardlink@openssh.com", one, two),
                world.extended("posix-rename@openssh.com", one, two),
            ] {
                assert!(matches!(heard, DENIED | NONE), "{shown}: {heard:?}");
            }
        }
    }
    // What is in the folder is all there, and links tell what they say.
    assert_eq!(
        world.about(kind::READLINK, b"/leak"),
        Heard::Names(vec![b"../secret".to_vec()])
    );
    assert!(matches!(world.about(kind::STAT, b"/fine"), Heard::Attributes(a) if a.size == Some(6)));
    assert_eq!(fs::read(out.join("secret")).unwrap(), b"secret");
    assert!(!world.path("stolen").exists());
    assert_eq!(
        world.about(kind::REALPATH, b"/a/../../.././b"),
        Heard::Names(vec![b"/b".to_vec()])
    );
}

#[test]
fn a_folder_that_becomes_a_link_under_way_leads_nowhere() {
    let mut world = World::new(false);
    fs::create_dir(world.path("d")).unwrap();
    fs::write(world.path("d/secret"), "mine").unwrap();
    let (real, link, name) = (world.path("real"), world.path("link"), world.path("d"));
    symlink("..", &link).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(&name, &real).unwrap();
                fs::rename(&link, &name).unwrap();
                fs::rename(&name, &link).unwrap();
                fs::rename(&real, &name).unwrap();
            }
        });
        let mut seen = 0;
        for _ in 0..20_000 {
            if let Heard::Handle(handle) = world.open(b"/d/secret", open::READ) {
                seen += 1;
                let bytes = world.read(&handle, 0, 100);
                assert_eq!(bytes, Heard::Data(b"mine".to_vec()));
                assert_eq!(world.ask(kind::CLOSE, |packet| packet.string(&handle)), OK);
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(seen > 0, "it was never there");
    });
}

#[test]
fn pipes_and_devices_are_not_opened() {
    let mut world = World::new(false);
    nix::unistd::mkfifo(&world.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::net::UnixListener::bind(world.path("socket")).unwrap();
    for name in [&b"/pipe"[..], b"/socket"] {
        assert_eq!(world.open(name, open::READ), DENIED);
        assert_eq!(world.open(name, open::WRITE | open::CREATE), DENIED);
        assert!(matches!(
            world.about(kind::LSTAT, name),
            Heard::Attributes(_)
        ));
    }
}
