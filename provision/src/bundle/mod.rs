//! Bundles: files from which an engine is installed in machines that have no network. A folder, or an archive, of
//! packages; or a static release of Docker's, which is an archive of programs.

mod fetch;
mod make;
mod manifest;
pub(crate) mod names;
mod programs;
#[cfg(test)]
mod tests;
mod unpack;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use fetch::from_url;
pub use make::from_machine;
pub use manifest::{Listed, Manifest};
pub use names::{Format, PackageFile};
pub(crate) use programs::{MARK as PROGRAMS_MARK, keep_script, remove_script, restore_script};

use crate::family::{Family, is_version};
use crate::wanted::{Kind, Version};
use crate::{Error, Result};

/// More than any bundle holds: the engines of all distributions have fewer dependencies.
const FILES_LIMIT: usize = 1000;

/// More than any bundle weighs, in bytes.
const SIZE_LIMIT: u64 = 4 << 30;

/// The longest manifest that is read.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// A bundle on this computer, looked through.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    folder: PathBuf,
    /// Where an archive was unpacked.
    _unpacked: Option<tempfile::TempDir>,
    manifest: Option<Manifest>,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    Packages(Vec<PackageFile>),
    Programs(programs::Programs),
}

impl Bundle {
    /// Looks through the folder or archive at `path`.
    ///
    /// # Errors
    /// [`Error::Bundle`] if there is none, it holds no packages, or a file is not what its manifest says;
    /// [`Error::Io`].
    pub async fn open(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        let opening = tokio::task::spawn_blocking(move || Self::look(&path));
        opening
            .await
            .map_err(|error| Error::io("(looking through a bundle)")(io::Error::other(error)))?
    }

    fn look(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refused(path, "there is no such file or folder"),
            _ => Error::io(path)(error),
        })?;
        let unpacked = match metadata.is_dir() {
            true => None,
            false => {
                let folder = tempfile::Builder::new().prefix("berth-bundle-").tempdir();
                let folder = folder.map_err(Error::io(std::env::temp_dir()))?;
                unpack::unpack(path, folder.path())?;
                Some(folder)
            }
        };
        let folder = unpacked.as_ref().map_or(path, |folder| folder.path());
        let names = file_names(path, folder)?;
        let manifest = read_manifest(path, folder, &names)?;
        Ok(Bundle {
            contents: contents(path, folder, &names)?,
            path: path.to_owned(),
            folder: folder.to_owned(),
            _unpacked: unpacked,
            manifest,
        })
    }

    /// Refuses a bundle that is not for machines of this family and architecture, or has no engine of this kind and
    /// version.
    ///
    /// # Errors
    /// [`Error::Bundle`], [`Error::VersionNotOffered`].
    pub(crate) fn check(
        &self,
        host: &str,
        family: &dyn Family,
        arch: &str,
        kind: Kind,
        version: &Version,
    ) -> Result<()> {
        let wrong = |what: String| Err(refused(&self.path, &what));
        if let Some(manifest) = &self.manifest
            && (manifest.family != family.name() || manifest.arch != arch)
        {
            return wrong(format!(
                "it is for {} on {}, and {host} is of the family {} on {arch}",
                manifest.distro,
                manifest.arch,
                family.name()
            ));
        }
        match &self.contents {
            Contents::Programs(programs) => {
                if kind != Kind::Docker {
                    return wrong(format!("it is a release of docker, not of {kind}"));
                }
                if programs.arch != arch {
                    return wrong(format!("it is for {}, and {host} is {arch}", programs.arch));
                }
            }
            Contents::Packages(packages) => {
                let format = family.format();
                if !packages.iter().any(|package| package.format == format) {
                    return wrong(format!(
                        "it has no {} packages, which {host} needs",
                        format.name()
                    ));
                }
                if let Some(other) = packages
                    .iter()
                    .find(|package| package.format == format && !package.fits(arch))
                {
                    return wrong(format!("{} is not for {arch}, as {host} is", other.file));
                }
            }
        }
        let Some(found) = self.version(family, kind) else {
            return wrong(format!("it has no package of {kind} itself"));
        };
        match version {
            Version::Pinned(wanted) if !is_version(&found, wanted) => {
                Err(Error::VersionNotOffered {
                    host: self.path.display().to_string(),
                    engine: kind.to_string(),
                    wanted: wanted.clone(),
                    offered: vec![found],
                })
            }
            _ => Ok(()),
        }
    }

    /// The version of the engine in it.
    pub(crate) fn version(&self, family: &dyn Family, kind: Kind) -> Option<String> {
        match &self.contents {
            Contents::Programs(programs) => Some(programs.version.clone()),
            Contents::Packages(packages) => {
                let names = family.engine_names(kind);
                packages
                    .iter()
                    .filter(|package| package.format == family.format())
                    .find(|package| names.contains(&&*package.package))
                    .map(|package| package.version.clone())
            }
        }
    }

    /// What it is made for, where it says so: `debian 13`.
    pub(crate) fn distro(&self) -> Option<&str> {
        self.manifest.as_ref().map(|manifest| &*manifest.distro)
    }

    /// The files that a machine needs of it.
    pub(crate) fn files(&self, family: &dyn Family) -> Vec<PathBuf> {
        match &self.contents {
            Contents::Programs(programs) => match &programs.archive {
                Some(archive) => vec![archive.clone()],
                None => {
                    let files = programs.files.iter();
                    files.map(|name| self.folder.join(name)).collect()
                }
            },
            Contents::Packages(packages) => packages
                .iter()
                .filter(|package| package.format == family.format())
                .map(|package| self.folder.join(&package.file))
                .collect(),
        }
    }

    /// A script that installs what was sent into `folder`, without a network.
    pub(crate) fn install_script(&self, family: &dyn Family, folder: &str) -> String {
        match &self.contents {
            Contents::Programs(programs) => programs.install_script(folder),
            Contents::Packages(_) => family.install_files_script(folder),
        }
    }

    /// True if it is a static release, which no package manager knows of.
    pub(crate) fn is_programs(&self) -> bool {
        matches!(self.contents, Contents::Programs(_))
    }
}

/// The names of the files in a folder, in order.
fn file_names(path: &Path, folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut size = 0_u64;
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let file = entry.path();
        let metadata = fs::metadata(&file).map_err(Error::io(&file))?;
        let name = entry.file_name();
        let Some(name) = plain_name(&name).filter(|_| metadata.is_file()) else {
            continue;
        };
        names.push(name.to_owned());
        size = size.saturating_add(metadata.len());
        if names.len() > FILES_LIMIT || size > SIZE_LIMIT {
            return Err(refused(path, "it is larger than any bundle"));
        }
    }
    names.sort();
    Ok(names)
}

fn contents(path: &Path, folder: &Path, names: &[String]) -> Result<Contents> {
    let packages: Vec<PackageFile> = names
        .iter()
        .filter_map(|name| PackageFile::parse(name))
        .collect();
    for package in &packages {
        let mut magic = Vec::new();
        let file = folder.join(&package.file);
        let read = File::open(&file).and_then(|file| file.take(32).read_to_end(&mut magic));
        read.map_err(Error::io(&file))?;
        if !package.format.begins(&magic) {
            return Err(refused(
                path,
                &format!("{} is not a package, whatever its name", package.file),
            ));
        }
    }
    let programs = programs::Programs::find(path, folder, names)?;
    match programs {
        Some(programs) if packages.is_empty() => Ok(Contents::Programs(programs)),
        Some(_) => Err(refused(
            path,
            "it holds packages and a static release: one of them is too much",
        )),
        None if packages.is_empty() => Err(refused(
            path,
            "it holds neither packages nor a static release of docker",
        )),
        None => Ok(Contents::Packages(packages)),
    }
}

/// Reads the manifest, if there is one, and compares the files with it.
fn read_manifest(path: &Path, folder: &Path, names: &[String]) -> Result<Option<Manifest>> {
    if !names.iter().any(|name| name == manifest::FILE) {
        return Ok(None);
    }
    let file = folder.join(manifest::FILE);
    let mut bytes = Vec::new();
    File::open(&file)
        .and_then(|file| file.take(MANIFEST_LIMIT).read_to_end(&mut bytes))
        .map_err(Error::io(&file))?;
    let damaged = |what: String| refused(path, &what);
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| damaged(format!("{} is damaged: {error}", manifest::FILE)))?;
    if manifest.bundle != 1 {
        return Err(damaged(format!(
            "it was made by a later berth (version {} of bundles)",
            manifest.bundle
        )));
    }
    for name in names.iter().filter(|name| *name != manifest::FILE) {
        let Some(listed) = manifest.packages.iter().find(|listed| listed.file == *name) else {
            return Err(damaged(format!("{name} is not in its manifest")));
        };
        let file = folder.join(name);
        if sha256(&file).map_err(Error::io(&file))? != listed.sha256 {
            return Err(damaged(format!("{name} is not the file that was bundled")));
        }
    }
    let missing = |listed: &&Listed| !names.contains(&listed.file);
    if let Some(listed) = manifest.packages.iter().find(missing) {
        return Err(damaged(format!("{} is missing", listed.file)));
    }
    Ok(Some(manifest))
}

/// The SHA-256 of a file, in hexadecimal digits.
fn sha256(file: &Path) -> io::Result<String> {
    use std::fmt::Write as _;
    let mut hash = Sha256::new();
    let mut file = File::open(file)?;
    let mut piece = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut piece)?;
        let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else {
            break;
        };
        hash.update(read);
    }
    let mut digits = String::new();
    for byte in hash.finalize() {
        let _ = write!(digits, "{byte:02x}");
    }
    Ok(digits)
}

/// A name that is safe as a file's and as a word in a shell; others are no package's.
fn plain_name(name: &OsStr) -> Option<&str> {
    let name = name.to_str()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-~:%^".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    (begins && name.len() <= 200 && name.chars().all(plain)).then_some(name)
}

fn refused(path: &Path, why: &str) -> Error {
    Error::Bundle {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}
