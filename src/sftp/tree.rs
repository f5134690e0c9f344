//! A folder of this computer as a whole world of its own.
//!
//! Whoever names a path here may be hostile, and may exchange folders for symbolic links while it is looked up. So
//! every path is looked up by the kernel from the folder downwards (openat2(2), `RESOLVE_BENEATH`) and no symbolic link
//! on the way is followed: the guest's own kernel follows those, and asks for what it found.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, ReadDir};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{
    AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag, openat2, readlinkat, renameat, renameat2,
};
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstat, fstatat, futimens, mkdirat, utimensat,
};
use nix::sys::statvfs::{Statvfs, fstatvfs};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, ftruncate, linkat, symlinkat, unlinkat};

use super::wire::{Attributes, open};

/// The longest path that Linux takes (bytes).
const MAX_PATH: usize = 4096;

/// What the guest may set: no file of this computer becomes one that runs as its owner for whoever starts it.
const MODE: u32 = 0o1777;

/// A call's outcome.
pub type Result<T> = std::result::Result<T, Errno>;

/// The folder, and who its files are said to belong to.
pub struct Tree {
    root: OwnedFd,
    read_only: bool,
    owner: (u32, u32),
}

/// The folder that a name is in, and the name.
struct Place<'a> {
    folder: OwnedFd,
    name: &'a OsStr,
}

impl Tree {
    /// The world below `folder`, whose files all seem to be `owner`'s.
    ///
    /// # Errors
    /// If it is not there or is no folder.
    pub fn open(folder: &Path, read_only: bool, owner: (u32, u32)) -> std::io::Result<Self> {
        let root = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits())
            .open(folder)?;
        Ok(Tree {
            root: root.into(),
            read_only,
            owner,
        })
    }

    /// A file's attributes; of what a symbolic link leads to, if that is below the folder and `follow` is wanted.
    pub fn stat(&self, path: &[u8], follow: bool) -> Result<Attributes> {
        let file = match follow {
            true => self.look_up(path, OFlag::O_PATH, ResolveFlag::empty())?,
            false => self.find(path)?,
        };
        Ok(self.attributes(&fstat(file)?))
    }

    /// The attributes of a file that is open.
    pub fn stat_of(&self, file: &File) -> Result<Attributes> {
        Ok(self.attributes(&fstat(file)?))
    }

    /// Opens a file, or makes it. Nothing but ordinary files is opened: a pipe would wait, a device would act.
    pub fn open_file(&self, path: &[u8], flags: u32, wanted: &Attributes) -> Result<File> {
        let writes = flags & (open::WRITE | open::APPEND) != 0;
        if writes || flags & (open::CREATE | open::TRUNCATE) != 0 {
            self.writable()?;
        }
        if flags & open::CREATE != 0 {
            let place = self.place(path)?;
            match self.make(&place, flags, wanted) {
                Err(Errno::EEXIST) if flags & open::EXCLUSIVE == 0 => {}
                made => return made.map(File::from),
            }
        }
        let found = self.find(path)?;
        match kind(&fstat(&found)?) {
            SFlag::S_IFREG => {}
            SFlag::S_IFDIR => return Err(Errno::EISDIR),
            SFlag::S_IFLNK => return Err(Errno::ELOOP),
            _ => return Err(Errno::EACCES),
        }
        let opened = OpenOptions::new()
            .read(flags & open::READ != 0)
            .write(flags & open::WRITE != 0)
            .append(flags & open::APPEND != 0)
            .truncate(flags & open::TRUNCATE != 0 && flags & open::APPEND == 0)
            .open(by_descriptor(&found));
        opened.map_err(errno)
    }

    fn make(&self, place: &Place, flags: u32, wanted: &Attributes) -> Result<OwnedFd> {
        let access = match (flags & open::READ != 0, flags & open::WRITE != 0) {
            (true, true) => OFlag::O_RDWR,
            (false, true) => OFlag::O_WRONLY,
            (_, false) if flags & open::APPEND != 0 => OFlag::O_WRONLY,
            (_, false) => OFlag::O_RDONLY,
        };
        let append = match flags & open::APPEND != 0 {
            true => OFlag::O_APPEND,
            false => OFlag::empty(),
        };
        let how = OpenHow::new()
            .flags(access | append | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC)
            .mode(mode(wanted.permissions.unwrap_or(0o644)))
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let made = openat2(&place.folder, place.name, how)?;
        // The guest has applied a umask already; this process's own is not its business.
        if let Some(permissions) = wanted.permissions {
            fchmod(&made, mode(permissions))?;
        }
        Ok(made)
    }

    /// What a folder has in it.
    pub fn open_folder(&self, path: &[u8]) -> Result<(OwnedFd, ReadDir)> {
        let folder = self.look_up(
            path,
            OFlag::O_RDONLY | OFlag::O_DIRECTORY,
            ResolveFlag::RESOLVE_NO_SYMLINKS,
        )?;
        let entries = std::fs::read_dir(by_descriptor(&folder)).map_err(errno)?;
        Ok((folder, entries))
    }

    /// The attributes of what is called `name` in an open folder.
    pub fn stat_in(&self, folder: &OwnedFd, name: &OsStr) -> Result<Attributes> {
        let found = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        Ok(self.attributes(&found))
    }

    /// Changes a file's attributes by its name.
    pub fn change(&self, path: &[u8], wanted: &Attributes) -> Result<()> {
        self.writable()?;
        self.is_owner(wanted)?;
        let found = self.find(path)?;
        let is_link = kind(&fstat(&found)?) == SFlag::S_IFLNK;
        if let Some(size) = wanted.size {
            let flags = open::WRITE;
            resize(&self.open_file(path, flags, &Attributes::default())?, size)?;
        }
        if let Some(permissions) = wanted.permissions
            && !is_link
        {
            let permissions = std::fs::Permissions::from_mode(permissions & MODE);
            std::fs::set_permissions(by_descriptor(&found), permissions).map_err(errno)?;
        }
        if let Some((access, change)) = wanted.times {
            let (access, change) = (time(access), time(change));
            if is_link {
                let Place { folder, name } = self.place(path)?;
                let flag = UtimensatFlags::NoFollowSymlink;
                utimensat(folder, name, &access, &change, flag)?;
            } else {
                let flag = UtimensatFlags::FollowSymlink;
                utimensat(&self.root, &by_descriptor(&found), &access, &change, flag)?;
            }
        }
        Ok(())
    }

    /// Changes the attributes of a file that is open.
    pub fn change_of(&self, file: &File, wanted: &Attributes) -> Result<()> {
        self.writable()?;
        self.is_owner(wanted)?;
        if let Some(size) = wanted.size {
            resize(file, size)?;
        }
        if let Some(permissions) = wanted.permissions {
            fchmod(file, mode(permissions))?;
        }
        if let Some((access, change)) = wanted.times {
            futimens(file, &time(access), &time(change))?;
        }
        Ok(())
    }

    pub fn remove(&self, path: &[u8]) -> Result<()> {
        self.writable()?;
        let Place { folder, name } = self.place(path)?;
        unlinkat(folder, name, UnlinkatFlags::NoRemoveDir)
    }

    pub fn remove_folder(&self, path: &[u8]) -> Result<()> {
        self.writable()?;
        let Place { folder, name } = self.place(path)?;
        unlinkat(folder, name, UnlinkatFlags::RemoveDir)
    }

    pub fn make_folder(&self, path: &[u8], wanted: &Attributes) -> Result<()> {
        self.writable()?;
        let Place { folder, name } = self.place(path)?;
        mkdirat(folder, name, mode(wanted.permissions.unwrap_or(0o755)))?;
        match wanted.permissions {
            Some(_) => self.change(
                path,
                &Attributes {
                    permissions: wanted.permissions,
                    ..Attributes::default()
                },
            ),
            None => Ok(()),
        }
    }

    /// Renames; without `replace`, nothing that is there already is replaced.
    pub fn rename(&self, from: &[u8], to: &[u8], replace: bool) -> Result<()> {
        self.writable()?;
        let (from, to) = (self.place(from)?, self.place(to)?);
        match replace {
            true => renameat(from.folder, from.name, to.folder, to.name),
            false => renameat2(
                from.folder,
                from.name,
                to.folder,
                to.name,
                RenameFlags::RENAME_NOREPLACE,
            ),
        }
    }

    /// A second name for a file; of a symbolic link, for the link itself.
    pub fn link(&self, from: &[u8], to: &[u8]) -> Result<()> {
        self.writable()?;
        let (from, to) = (self.place(from)?, self.place(to)?);
        linkat(from.folder, from.name, to.folder, to.name, AtFlags::empty())
    }

    /// What a symbolic link says, wherever that may lead.
    pub fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        let Place { folder, name } = self.place(path)?;
        Ok(readlinkat(folder, name)?.into_vec())
    }

    /// Makes a symbolic link that says `target`.
    pub fn make_link(&self, path: &[u8], target: &[u8]) -> Result<()> {
        self.writable()?;
        let Place { folder, name } = self.place(path)?;
        symlinkat(OsStr::from_bytes(target), folder, name)
    }

    /// How full the file system is on which a path lies.
    pub fn space(&self, path: &[u8]) -> Result<Statvfs> {
        fstatvfs(self.find(path)?)
    }

    /// Refuses all changes of what may only be read.
    pub fn writable(&self) -> Result<()> {
        match self.read_only {
            true => Err(Errno::EROFS),
            false => Ok(()),
        }
    }

    /// Giving a file to whom it seems to belong to already is all right.
    fn is_owner(&self, wanted: &Attributes) -> Result<()> {
        match wanted.owner {
            Some(owner) if owner != self.owner => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }

    /// What `path` names, without following it if it is a symbolic link.
    fn find(&self, path: &[u8]) -> Result<OwnedFd> {
        self.look_up(
            path,
            OFlag::O_PATH | OFlag::O_NOFOLLOW,
            ResolveFlag::RESOLVE_NO_SYMLINKS,
        )
    }

    fn look_up(&self, path: &[u8], flags: OFlag, resolve: ResolveFlag) -> Result<OwnedFd> {
        let relative = below(path)?;
        let resolve = resolve | ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(resolve);
        openat2(&self.root, OsStr::from_bytes(&relative), how)
    }

    fn place<'a>(&self, path: &'a [u8]) -> Result<Place<'a>> {
        let trimmed = match path.iter().rposition(|byte| *byte != b'/') {
            Some(last) => path.get(..=last).unwrap_or_default(),
            None => return Err(Errno::EBUSY),
        };
        let (parent, name) = match trimmed.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (
                trimmed.get(..slash).unwrap_or_default(),
                trimmed.get(slash + 1..).unwrap_or_default(),
            ),
            None => (&[][..], trimmed),
        };
        if matches!(name, b"." | b"..") {
            return Err(Errno::EACCES);
        }
        let folder = self.look_up(
            parent,
            OFlag::O_PATH | OFlag::O_DIRECTORY,
            ResolveFlag::RESOLVE_NO_SYMLINKS,
        )?;
        Ok(Place {
            folder,
            name: OsStr::from_bytes(name),
        })
    }

    fn attributes(&self, found: &FileStat) -> Attributes {
        let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
        Attributes {
            size: Some(u64::try_from(found.st_size).unwrap_or_default()),
            owner: Some(self.owner),
            permissions: Some(found.st_mode),
            times: Some((seconds(found.st_atime), seconds(found.st_mtime))),
        }
    }
}

/// A path of the guest's, which begins at the folder, as one that can be looked up from there.
fn below(path: &[u8]) -> Result<Vec<u8>> {
    if path.len() >= MAX_PATH {
        return Err(Errno::ENAMETOOLONG);
    }
    let mut relative = Vec::with_capacity(path.len() + 1);
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            // The guest's kernel resolves these itself.
            b".." => return Err(Errno::EACCES),
            _ => {}
        }
        if !relative.is_empty() {
            relative.push(b'/');
        }
        relative.extend(part);
    }
    if relative.is_empty() {
        relative.push(b'.');
    }
    Ok(relative)
}

/// What an open descriptor leads to, whatever became of its name.
fn by_descriptor(file: &impl AsFd) -> std::path::PathBuf {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).into()
}

fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits())
}

fn mode(permissions: u32) -> Mode {
    Mode::from_bits_truncate(permissions & MODE)
}

fn time(seconds: u32) -> TimeSpec {
    TimeSpec::new(i64::from(seconds), 0)
}

fn resize(file: &File, size: u64) -> Result<()> {
    ftruncate(file, i64::try_from(size).map_err(|_| Errno::EFBIG)?)
}

/// The number of an error of the standard library's.
pub fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
