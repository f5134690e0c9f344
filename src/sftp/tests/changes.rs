//! Files and names that are changed, and what of them is not.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::{DENIED, EOF, FAILED, Heard, MAKE, NONE, OK, OWNER, World};
use crate::sftp::wire::{Attributes, kind, open};

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
