//! Archives: tar, plain or compressed.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{FILES_LIMIT, SIZE_LIMIT, refused};
use crate::{Error, Result};

/// Unpacks the plain files of an archive into a folder, flat: packages have no folders. Whatever else it holds, links
/// above all, is left out.
///
/// # Errors
/// [`Error::Bundle`] if it is damaged, larger than any bundle, or has two files of one name; [`Error::Io`].
pub(super) fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let mut unpacker = Unpacker::of(archive)?;
    let unpacked = files(&mut unpacker.stream, archive, folder);
    let ended = unpacker.end();
    unpacked?;
    match ended.map_err(Error::io(archive))? {
        true => Ok(()),
        false => Err(refused(archive, "it is damaged")),
    }
}

fn files(stream: &mut dyn Read, archive: &Path, folder: &Path) -> Result<()> {
    let damaged = |error: io::Error| refused(archive, &format!("it is no archive: {error}"));
    let mut left = SIZE_LIMIT;
    let mut count = 0;
    let mut tar = tar::Archive::new(stream);
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        count += 1;
        if count > FILES_LIMIT {
            return Err(refused(archive, "it holds too many files"));
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        left = left
            .checked_sub(entry.size())
            .ok_or_else(|| refused(archive, "it is larger than any bundle"))?;
        let path = entry.path().map_err(damaged)?.into_owned();
        let Some(name) = path.file_name().and_then(super::plain_name) else {
            continue;
        };
        let target = folder.join(name);
        let mut file = File::create_new(&target).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => refused(archive, &format!("it has {name} twice")),
            _ => Error::io(&target)(error),
        })?;
        io::copy(&mut entry, &mut file).map_err(damaged)?;
    }
    // A program that decompresses is not to be cut off before its own check of the end.
    io::copy(&mut tar.into_inner().take(SIZE_LIMIT), &mut io::sink()).map_err(damaged)?;
    Ok(())
}

/// An archive's plain bytes.
struct Unpacker {
    stream: Box<dyn Read>,
    program: Option<std::process::Child>,
}

impl Unpacker {
    fn of(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let mut magic = Vec::new();
        let begun = file.by_ref().take(6).read_to_end(&mut magic);
        begun.and_then(|_| file.rewind()).map_err(Error::io(path))?;
        match magic.as_slice() {
            [0x1f, 0x8b, ..] => Ok(Unpacker {
                stream: Box::new(flate2::read::MultiGzDecoder::new(file)),
                program: None,
            }),
            b"\xfd7zXZ\0" => Self::by_program("xz", file, path),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::by_program("zstd", file, path),
            _ => Ok(Unpacker {
                stream: Box::new(file),
                program: None,
            }),
        }
    }

    fn by_program(program: &str, file: File, path: &Path) -> Result<Self> {
        let started = Command::new(program)
            .arg("-dc")
            .stdin(Stdio::from(file))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = started.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refused(
                path,
                &format!("the program {program}, which unpacks it, is not installed here"),
            ),
            _ => Error::io(PathBuf::from(program))(error),
        })?;
        let stdout = child.stdout.take();
        Ok(Unpacker {
            stream: stdout.map_or_else(|| Box::new(io::empty()) as Box<dyn Read>, |s| Box::new(s)),
            program: Some(child),
        })
    }

    /// True if all of it could be decompressed.
    fn end(self) -> io::Result<bool> {
        drop(self.stream);
        match self.program {
            Some(mut child) => Ok(child.wait()?.success()),
            None => Ok(true),
        }
    }
}
