use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::server::Server;
use super::tree::Tree;
use super::wire::{Attributes, Reader, Writer, kind, open};
use super::*;

const OWNER: (u32, u32) = (1234, 5678);

/// A shared folder beside a secret, and a client of it.
struct World {
    folder: tempfile::TempDir,
    server: Server,
}

/// What a client hears.
#[derive(Debug, PartialEq)]
enum Heard {
    Status(u32),
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<Vec<u8>>),
    Attributes(Attributes),
}

const OK: Heard = Heard::Status(0);
const EOF: Heard = Heard::Status(1);
const NONE: Heard = Heard::Status(2);
const DENIED: Heard = Heard::Status(3);
const FAILED: Heard = Heard::Status(4);

impl World {
    fn new(read_only: bool) -> World {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("shared")).unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        let tree = Tree::open(&folder.path().join("shared"), read_only, OWNER).unwrap();
        World {
            server: Server::new(tree),
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("shared").join(name)
    }

    fn ask(&mut self, kind: u8, fill: impl FnOnce(Writer) -> Writer) -> Heard {
        let packet = fill(Writer::new(kind).u32(7)).finish();
        hear(&self.server.answer(&packet[4..]).unwrap())
    }

    /// A request with one path.
    fn about(&mut self, kind: u8, path: &[u8]) -> Heard {
        self.ask(kind, |packet| packet.string(path).u32(0))
    }

    fn open(&mut self, path: &[u8], flags: u32) -> Heard {
        self.ask(kind::OPEN, |packet| packet.string(path).u32(flags).u32(0))
    }

    fn opened(&mut self, path: &[u8], flags: u32) -> Vec<u8> {
        match self.open(path, flags) {
            Heard::Handle(handle) => handle,
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, handle: &[u8], offset: u64, bytes: &[u8]) -> Heard {
        self.ask(kind::WRITE, |packet| {
            packet.string(handle).u64(offset).string(bytes)
        })
    }

    fn read(&mut self, handle: &[u8], offset: u64, count: u32) -> Heard {
        self.ask(kind::READ, |packet| {
            packet.string(handle).u64(offset).u32(count)
        })
    }

    fn two(&mut self, kind: u8, one: &[u8], two: &[u8]) -> Heard {
        self.ask(kind, |packet| packet.string(one).string(two))
    }

    fn extended(&mut self, name: &str, one: &[u8], two: &[u8]) -> Heard {
        self.ask(kind::EXTENDED, |packet| {
            packet.string(name.as_bytes()).string(one).string(two)
        })
    }

    fn names(&mut self, path: &[u8]) -> Vec<Vec<u8>> {
        let Heard::Handle(handle) = self.about(kind::OPENDIR, path) else {
            panic!("no folder");
        };
        let mut all = Vec::new();
        while let Heard::Names(names) = self.ask(kind::READDIR, |packet| packet.string(&handle)) {
            all.extend(names);
        }
        all.sort();
        all
    }
}

fn hear(answer: &[u8]) -> Heard {
    let mut reader = Reader(answer);
    assert_eq!(reader.u32().unwrap() as usize, answer.len() - 4);
    let kind = reader.byte().unwrap();
    assert_eq!(reader.u32(), Ok(7));
    match kind {
        kind::STATUS => Heard::Status(reader.u32().unwrap()),
        kind::HANDLE => Heard::Handle(reader.string().unwrap().to_vec()),
        kind::DATA => Heard::Data(reader.string().unwrap().to_vec()),
        kind::ATTRS => Heard::Attributes(reader.attributes().unwrap()),
        kind::NAME => Heard::Names(
            (0..reader.u32().unwrap())
                .map(|_| {
                    let name = reader.string().unwrap().to_vec();
                    reader.string().unwrap();
                    reader.attributes().unwrap();
                    name
                })
                .collect(),
        ),
        other => panic!("kind {other}"),
    }
}

const MAKE: u32 = open::WRITE | open::CREATE | open::EXCLUSIVE;

#[test]
fn files_are_written_read_and_changed() {
    let mut world = World::new(false);
    let name = b"/caf\xe9 with\nall";
    let file = world.opened(name, MAKE | open::READ);
    assert_eq!(world.write(&file, 0, b"hello"), OK);
    // Far behind the end: the hole takes no room.
    assert_eq!(world.write(&file, 1 << 30, b"!"), OK);
    assert_eq!(world.read(&file, 1, 3), Heard::Data(b"ell".to_vec()));
    assert_eq!(world.read(&file, (1 << 30) + 1, 10), EOF);
    assert_eq!(world.read(&file, u64::MAX, 10), FAILED);
    assert_eq!(
        world.about(kind::FSTAT, &file),
        world.about(kind::LSTAT, name)
    );
    assert_eq!(world.ask(kind::CLOSE, |packet| packet.string(&file)), OK);
    assert_eq!(world.read(&file, 0, 1), FAILED);
    assert_eq!(world.names(b"/"), [b"caf\xe9 with\nall"]);
    let there = world
        .folder
        .path()
        .join("shared")
        .join(Path::new(std::ffi::OsStr::from_bytes(b"caf\xe9 with\nall")));
    let found = fs::metadata(&there).unwrap();
    assert!(found.len() == (1 << 30) + 1 && found.blocks() < 100);

    let wanted = Attributes {
        size: Some(5),
        owner: Some(OWNER),
        permissions: Some(0o104_751),
        times: Some((100, 200)),
    };
    let changed = world.ask(kind::SETSTAT, |packet| {
        packet.string(name).attributes(&wanted)
    });
    assert_eq!(changed, OK);
    let found = fs::metadata(&there).unwrap();
    // The bit by which a program runs as its owner stays away.
    assert_eq!(found.permissions().mode() & 0o7777, 0o751);
    assert_eq!((found.len(), found.mtime()), (5, 200));
    let Heard::Attributes(told) = world.about(kind::LSTAT, name) else {
        panic!("no attributes");
    };
    assert_eq!(told.owner, Some(OWNER));
    let stranger = Attributes {
        owner: Some((0, 0)),
        ..Attributes::default()
    };
    let changed = world.ask(kind::SETSTAT, |packet| {
        packet.string(name).attributes(&stranger)
    });
    assert_eq!(changed, DENIED);
}

#[test]
fn names_are_changed_and_nothing_is_replaced_unasked() {
    let mut world = World::new(false);
    assert_eq!(world.about(kind::MKDIR, b"/a"), OK);
    assert_eq!(world.about(kind::MKDIR, b"/a"), FAILED);
    fs::write(world.path("a/one"), "1").unwrap();
    fs::write(world.path("two"), "2").unwrap();
    assert_eq!(world.two(kind::RENAME, b"/a/one", b"/two"), FAILED);
    assert_eq!(world.about(kind::RMDIR, b"/a"), FAILED);
    assert_eq!(
        world.extended("posix-rename@openssh.com", b"/a/one", b"/two"),
        OK
    );
    assert_eq!(fs::read(world.path("two")).unwrap(), b"1");
    assert_eq!(
        world.extended("hardlink@openssh.com", b"/two", b"/a/three"),
        OK
    );
    assert_eq!(fs::metadata(world.path("two")).unwrap().nlink(), 2);
    assert_eq!(world.about(kind::REMOVE, b"/a/three"), OK);
    assert_eq!(world.about(kind::RMDIR, b"/a"), OK);
    assert_eq!(world.about(kind::RMDIR, b"/a"), NONE);
    assert_eq!(world.about(kind::RMDIR, b"/"), FAILED);
    assert_eq!(
        world.extended("lsetstat@openssh.com", b"/two", b""),
        Heard::Status(8)
    );
    assert_eq!(world.ask(99, |packet| packet), Heard::Status(8));
}

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

#[test]
fn what_may_only_be_read_is_not_changed() {
    let mut world = World::new(true);
    fs::write(world.path("file"), "content").unwrap();
    let before = fs::metadata(world.path("file")).unwrap();
    let file = world.opened(b"/file", open::READ);
    for flags in [
        open::WRITE,
        open::APPEND,
        open::READ | open::TRUNCATE,
        open::READ | open::CREATE,
        MAKE,
    ] {
        assert_eq!(world.open(b"/file", flags), DENIED);
    }
    let all = Attributes {
        size: Some(0),
        permissions: Some(0o777),
        times: Some((1, 1)),
        owner: None,
    };
    for heard in [
        world.write(&file, 0, b"x"),
        world.ask(kind::SETSTAT, |packet| {
            packet.string(b"/file").attributes(&all)
        }),
        world.ask(kind::FSETSTAT, |packet| {
            packet.string(&file).attributes(&all)
        }),
        world.about(kind::REMOVE, b"/file"),
        world.about(kind::MKDIR, b"/d"),
        world.about(kind::RMDIR, b"/d"),
        world.two(kind::RENAME, b"/file", b"/g"),
        world.two(kind::SYMLINK, b"x", b"/l"),
        world.extended("hardlink@openssh.com", b"/file", b"/g"),
        world.extended("posix-rename@openssh.com", b"/file", b"/g"),
    ] {
        assert_eq!(heard, DENIED);
    }
    let after = fs::metadata(world.path("file")).unwrap();
    assert_eq!(
        (before.mode(), before.mtime(), before.len()),
        (after.mode(), after.mtime(), after.len())
    );
    assert_eq!(world.read(&file, 0, 100), Heard::Data(b"content".to_vec()));
}

#[test]
fn greed_is_bounded() {
    let mut world = World::new(false);
    fs::File::create(world.path("big"))
        .unwrap()
        .set_len(10 << 20)
        .unwrap();
    let file = world.opened(b"/big", open::READ);
    let Heard::Data(bytes) = world.read(&file, 0, u32::MAX) else {
        panic!("no data");
    };
    assert_eq!(bytes.len(), 256 << 10);
    let mut handles = vec![file];
    // Every test of this process shares its limit of descriptors.
    loop {
        match world.open(b"/big", open::READ) {
            Heard::Handle(handle) => handles.push(handle),
            heard => {
                assert_eq!(heard, FAILED);
                break;
            }
        }
    }
    assert!(
        handles.len() > 500 && handles.len() <= 4096,
        "{}",
        handles.len()
    );
    for handle in handles {
        assert_eq!(world.ask(kind::CLOSE, |packet| packet.string(&handle)), OK);
    }
    world.opened(b"/big", open::READ);
    assert_eq!(world.about(kind::LSTAT, &[b'x'; 5000]), FAILED);
    assert_eq!(world.about(kind::LSTAT, b"a\0b"), FAILED);
}

#[test]
fn a_folder_with_many_files_comes_in_pieces() {
    let mut world = World::new(false);
    let mut made: Vec<Vec<u8>> = (0..1000)
        .map(|n| format!("{n:0100}").into_bytes())
        .collect();
    for name in &made {
        fs::write(world.path(std::str::from_utf8(name).unwrap()), "").unwrap();
    }
    made.sort();
    assert_eq!(world.names(b"/"), made);
}

/// What a client of [`serve`] is answered, and how serving ended.
async fn served(said: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let folder = tempfile::tempdir().unwrap();
    let export = Export {
        folder: folder.path().to_owned(),
        read_only: false,
        owner: OWNER,
    };
    let (client, server) = tokio::io::duplex(4096);
    let serving = tokio::spawn(async move { serve(server, &export).await });
    let (mut reader, mut writer) = tokio::io::split(client);
    let mut heard = Vec::new();
    let say = async {
        // A server that hung up reads no further.
        let _ = writer.write_all(said).await;
        let _ = writer.shutdown().await;
    };
    let ((), read) = tokio::join!(say, reader.read_to_end(&mut heard));
    read.unwrap();
    (heard, serving.await.unwrap())
}

#[tokio::test]
async fn whoever_does_not_speak_sftp_is_left() {
    for bad in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 0, 0, 0],
        &[255, 255, 255, 255, 1],
        &[0, 0, 0, 1, 1],
        &[0, 0, 0, 9, 1, 0],
    ] {
        let (heard, ended) = served(bad).await;
        assert!(heard.is_empty() && ended.is_err(), "{bad:?}: {ended:?}");
    }
}

#[tokio::test]
async fn a_client_that_ends_hears_all_answers_first() {
    let mut said = Writer::new(kind::INIT).u32(3).finish();
    for _ in 0..1000 {
        said.extend(Writer::new(kind::LSTAT).u32(7).string(b"/").finish());
    }
    let (heard, ended) = served(&said).await;
    assert!(ended.is_ok());
    let mut reader = Reader(&heard);
    let mut count = 0;
    while !reader.0.is_empty() {
        reader.string().unwrap();
        count += 1;
    }
    assert_eq!(count, 1001);
    let nowhere = Export {
        folder: "/nowhere".into(),
        read_only: true,
        owner: OWNER,
    };
    assert!(serve(tokio::io::empty(), &nowhere).await.is_err());
}
