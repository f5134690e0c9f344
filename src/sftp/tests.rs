//! A server's tests: a client of it, and the folder that it serves.

mod bounds;
mod changes;
mod confined;

use std::fs;
use std::path::PathBuf;

use super::server::Server;
use super::tree::Tree;
use super::wire::{Attributes, Reader, Writer, kind, open};

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
