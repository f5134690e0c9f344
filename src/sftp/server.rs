//! What is answered to each request.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, ReadDir};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;

use super::tree::{Result, Tree, errno};
use super::wire::{Attributes, Malformed, Reader, Writer, kind};

/// The version that is spoken; clients that know later ones know it too.
const VERSION: u32 = 3;

/// What one read gives at most (bytes): clients that ask for more ask again.
const MAX_READ: u32 = 256 << 10;

/// Files and folders that a guest has open at once.
const MAX_HANDLES: usize = 4096;

/// Entries of a folder in one answer, and the bytes after which one ends.
const ENTRIES: usize = 128;
const ENTRIES_SIZE: usize = 64 << 10;

/// What is offered beyond version 3, as OpenSSH names it (its PROTOCOL, section 4).
const RENAME: &[u8] = b"posix-rename@openssh.com";
const LINK: &[u8] = b"hardlink@openssh.com";
const SYNC: &[u8] = b"fsync@openssh.com";
const SPACE: &[u8] = b"statvfs@openssh.com";

/// Status codes.
mod status {
    pub const OK: u32 = 0;
    pub const EOF: u32 = 1;
    pub const NO_SUCH_FILE: u32 = 2;
    pub const PERMISSION_DENIED: u32 = 3;
    pub const FAILURE: u32 = 4;
    pub const BAD_MESSAGE: u32 = 5;
    pub const UNSUPPORTED: u32 = 8;
}

/// One client's view of a folder.
pub struct Server {
    tree: Tree,
    handles: HashMap<u32, Handle>,
    next: u32,
}

enum Handle {
    File(File),
    Folder(OwnedFd, ReadDir),
}

/// Why a request has no answer but a status.
enum Refusal {
    End,
    Malformed,
    Unsupported,
    Failed(Errno),
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        Refusal::Failed(error)
    }
}

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        Refusal::Malformed
    }
}

impl Server {
    /// Serves a folder.
    pub fn new(tree: Tree) -> Self {
        Server {
            tree,
            handles: HashMap::new(),
            next: 0,
        }
    }

    /// The answer to a packet, both without and with its length; none if the client does not speak SFTP.
    pub fn answer(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut reader = Reader(packet);
        let kind = reader.byte().ok()?;
        let number = reader.u32().ok()?;
        if kind == kind::INIT {
            return Some(greeting());
        }
        let answer = match self.carry_out(kind, number, &mut reader) {
            Ok(Some(answer)) => answer,
            Ok(None) => told(number, status::OK, "done"),
            Err(Refusal::End) => told(number, status::EOF, "that is all"),
            Err(Refusal::Malformed) => told(number, status::BAD_MESSAGE, "malformed"),
            Err(Refusal::Unsupported) => told(number, status::UNSUPPORTED, "not supported"),
            Err(Refusal::Failed(error)) => told(number, code(error), error.desc()),
        };
        Some(answer.finish())
    }

    fn carry_out(
        &mut self,
        kind: u8,
        number: u32,
        packet: &mut Reader,
    ) -> std::result::Result<Option<Writer>, Refusal> {
        let reply = |kind: u8| Writer::new(kind).u32(number);
        match kind {
            kind::OPEN => {
                let (path, flags) = (packet.string()?, packet.u32()?);
                let wanted = packet.attributes()?;
                self.has_room()?;
                let file = self.tree.open_file(path, flags, &wanted)?;
                let handle = self.keep(Handle::File(file));
                return Ok(Some(reply(kind::HANDLE).string(&handle)));
            }
            kind::OPENDIR => {
                let path = packet.string()?;
                self.has_room()?;
                let (folder, entries) = self.tree.open_folder(path)?;
                let handle = self.keep(Handle::Folder(folder, entries));
                return Ok(Some(reply(kind::HANDLE).string(&handle)));
            }
            kind::CLOSE => {
                let id = handle_id(packet)?;
                self.handles.remove(&id).ok_or(Errno::EBADF)?;
            }
            kind::READ => {
                let id = handle_id(packet)?;
                let (offset, count) = (packet.u64()?, packet.u32()?);
                let bytes = read(self.file(id)?, offset, count.min(MAX_READ))?;
                if bytes.is_empty() && count > 0 {
                    return Err(Refusal::End);
                }
                return Ok(Some(reply(kind::DATA).string(&bytes)));
            }
            kind::WRITE => {
                let id = handle_id(packet)?;
                let (offset, bytes) = (packet.u64()?, packet.string()?);
                self.tree.writable()?;
                self.file(id)?.write_all_at(bytes, offset).map_err(errno)?;
            }
            kind::READDIR => {
                let id = handle_id(packet)?;
                return self.entries(id, number).map(Some);
            }
            kind::LSTAT | kind::STAT => {
                let found = self.tree.stat(packet.string()?, kind == kind::STAT)?;
                return Ok(Some(reply(kind::ATTRS).attributes(&found)));
            }
            kind::FSTAT => {
                let id = handle_id(packet)?;
                let found = self.tree.stat_of(self.file(id)?)?;
                return Ok(Some(reply(kind::ATTRS).attributes(&found)));
            }
            kind::SETSTAT => {
                let path = packet.string()?;
                self.tree.change(path, &packet.attributes()?)?;
            }
            kind::FSETSTAT => {
                let id = handle_id(packet)?;
                let wanted = packet.attributes()?;
                self.tree.change_of(self.file(id)?, &wanted)?;
            }
            kind::REMOVE => self.tree.remove(packet.string()?)?,
            kind::RMDIR => self.tree.remove_folder(packet.string()?)?,
            kind::MKDIR => {
                let path = packet.string()?;
                self.tree.make_folder(path, &packet.attributes()?)?;
            }
            kind::RENAME => {
                let (from, to) = (packet.string()?, packet.string()?);
                self.tree.rename(from, to, false)?;
            }
            kind::REALPATH => {
                let path = plain(packet.string()?);
                return Ok(Some(one_name(reply(kind::NAME), &path)));
            }
            kind::READLINK => {
                let target = self.tree.read_link(packet.string()?)?;
                return Ok(Some(one_name(reply(kind::NAME), &target)));
            }
            kind::SYMLINK => {
                // The other way round than the draft says, as every server and client has it since OpenSSH.
                let (target, path) = (packet.string()?, packet.string()?);
                self.tree.make_link(path, target)?;
            }
            kind::EXTENDED => return self.extended(number, packet),
            _ => return Err(Refusal::Unsupported),
        }
        Ok(None)
    }

    fn extended(
        &mut self,
        number: u32,
        packet: &mut Reader,
    ) -> std::result::Result<Option<Writer>, Refusal> {
        match packet.string()? {
            RENAME => {
                let (from, to) = (packet.string()?, packet.string()?);
                self.tree.rename(from, to, true)?;
            }
            LINK => {
                let (from, to) = (packet.string()?, packet.string()?);
                self.tree.link(from, to)?;
            }
            SYNC => {
                let id = handle_id(packet)?;
                self.file(id)?.sync_all().map_err(errno)?;
            }
            SPACE => {
                let space = self.tree.space(packet.string()?)?;
                let read_only = u64::from(self.tree.writable().is_err());
                let numbers = [
                    space.block_size(),
                    space.fragment_size(),
                    space.blocks(),
                    space.blocks_free(),
                    space.blocks_available(),
                    space.files(),
                    space.files_free(),
                    space.files_available(),
                    space.filesystem_id(),
                    // SSH_FXE_STATVFS_ST_RDONLY.
                    read_only,
                    space.name_max(),
                ];
                let reply = Writer::new(kind::EXTENDED_REPLY).u32(number);
                return Ok(Some(numbers.into_iter().fold(reply, Writer::u64)));
            }
            _ => return Err(Refusal::Unsupported),
        }
        Ok(None)
    }

    fn entries(&mut self, id: u32, number: u32) -> std::result::Result<Writer, Refusal> {
        let Some(Handle::Folder(folder, entries)) = self.handles.get_mut(&id) else {
            return Err(Errno::EBADF.into());
        };
        let mut count = 0;
        let mut names: Vec<u8> = Vec::new();
        while count < ENTRIES && names.len() < ENTRIES_SIZE {
            let name: OsString = match entries.next() {
                Some(entry) => entry.map_err(errno)?.file_name(),
                None => break,
            };
            // What was removed just now is no longer there.
            let Ok(found) = self.tree.stat_in(folder, &name) else {
                continue;
            };
            let name = name.as_bytes();
            let entry = Writer::bare().string(name).string(name).attributes(&found);
            names.extend(entry.into_bytes());
            count += 1;
        }
        if count == 0 {
            return Err(Refusal::End);
        }
        let reply = Writer::new(kind::NAME).u32(number);
        Ok(reply
            .u32(u32::try_from(count).unwrap_or_default())
            .append(&names))
    }

    fn has_room(&self) -> Result<()> {
        match self.handles.len() < MAX_HANDLES {
            true => Ok(()),
            false => Err(Errno::EMFILE),
        }
    }

    fn keep(&mut self, handle: Handle) -> [u8; 4] {
        while self.handles.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        self.handles.insert(id, handle);
        id.to_be_bytes()
    }

    fn file(&self, id: u32) -> Result<&File> {
        match self.handles.get(&id) {
            Some(Handle::File(file)) => Ok(file),
            _ => Err(Errno::EBADF),
        }
    }
}

fn greeting() -> Vec<u8> {
    let offers: [(&[u8], &[u8]); 4] = [(RENAME, b"1"), (LINK, b"1"), (SYNC, b"1"), (SPACE, b"2")];
    offers
        .into_iter()
        .fold(
            Writer::new(kind::VERSION).u32(VERSION),
            |writer, (name, version)| writer.string(name).string(version),
        )
        .finish()
}

fn handle_id(packet: &mut Reader) -> std::result::Result<u32, Refusal> {
    match packet.string()?.try_into() {
        Ok(bytes) => Ok(u32::from_be_bytes(bytes)),
        Err(_) => Err(Errno::EBADF.into()),
    }
}

fn read(file: &File, offset: u64, count: u32) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(count).unwrap_or_default()];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(filled as u64);
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(errno(error)),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn one_name(reply: Writer, name: &[u8]) -> Writer {
    reply
        .u32(1)
        .string(name)
        .string(name)
        .attributes(&Attributes::default())
}

/// A path without `.` and `..`, by its words alone.
fn plain(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    [b"/", parts.join(&b'/').as_slice()].concat()
}

fn told(number: u32, code: u32, words: &str) -> Writer {
    Writer::new(kind::STATUS)
        .u32(number)
        .u32(code)
        .string(words.as_bytes())
        .string(b"en")
}

fn code(error: Errno) -> u32 {
    match error {
        Errno::ENOENT | Errno::ENOTDIR => status::NO_SUCH_FILE,
        Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::EXDEV | Errno::ELOOP => {
            status::PERMISSION_DENIED
        }
        _ => status::FAILURE,
    }
}
