//! What the images of a store are called: a file a name, with the digest in it.

use std::path::PathBuf;
use std::{fs, io};

use super::intake::sync;
use super::nearest;
use crate::{Catalog, Digest, Error, Reference, Result, Store};

impl Store {
    /// Makes `name` mean `digest`.
    pub(crate) fn name(&self, name: &str, digest: &Digest) -> Result<()> {
        let refs = self.folder.join("refs");
        let path = self.name_file(name);
        if self.target(name)?.as_ref() == Some(digest) {
            return Ok(());
        }
        let mut file = tempfile::Builder::new()
            // Not a name that a reference can have.
            .prefix(".new-")
            .tempfile_in(&refs)
            .map_err(Error::io(&refs))?;
        io::Write::write_all(&mut file, format!("{digest}\n").as_bytes())
            .map_err(Error::io(&path))?;
        file.as_file().sync_all().map_err(Error::io(&path))?;
        file.persist(&path)
            .map_err(|error| Error::io(&path)(error.error))?;
        sync(&refs)
    }

    /// Where a name's digest is.
    pub(super) fn name_file(&self, name: &str) -> PathBuf {
        // No name has a % in it.
        self.folder.join("refs").join(name.replace('/', "%"))
    }

    pub(super) fn target(&self, name: &str) -> Result<Option<Digest>> {
        let path = self.name_file(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Digest::try_from(text.trim().to_owned()).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&path)(error)),
        }
    }

    /// Every name in the store with its digest, sorted.
    pub(super) fn names(&self) -> Result<Vec<(String, Digest)>> {
        let refs = self.folder.join("refs");
        let mut names = Vec::new();
        for entry in fs::read_dir(&refs).map_err(Error::io(&refs))? {
            let entry = entry.map_err(Error::io(&refs))?;
            let Some(name) = entry
                .file_name()
                .to_str()
                .map(|name| name.replace('%', "/"))
            else {
                continue;
            };
            // What is in another form than names are has no part in this.
            if matches!(name.parse(), Ok(Reference::Name(parsed)) if parsed == name)
                && let Some(digest) = self.target(&name)?
            {
                names.push((name, digest));
            }
        }
        names.sort();
        Ok(names)
    }

    /// What to say of a reference that means nothing that is stored, with the stored names that look like it.
    pub fn unknown_here(&self, reference: &Reference) -> Error {
        nearest::unknown(
            reference,
            self.names()
                .unwrap_or_default()
                .into_iter()
                .map(|(name, _)| name),
        )
    }

    /// What to say of a reference that means nothing here, with the names that look like it.
    pub fn unknown(&self, catalog: &Catalog, reference: &Reference) -> Error {
        let stored = self
            .names()
            .unwrap_or_default()
            .into_iter()
            .map(|(name, _)| name);
        nearest::unknown(reference, stored.chain(catalog.names().map(str::to_owned)))
    }
}
