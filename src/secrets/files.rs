//! Secrets as files of mode 0600 in a folder of mode 0700.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use super::Result;
use crate::store::{self, create_private_folder};

/// No secret is longer (bytes).
const MAX_SIZE: u64 = 1 << 20;

#[derive(Debug, Clone)]
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(super) fn new(folder: PathBuf) -> Self {
        Files { folder }
    }

    pub(super) fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.folder.join(name);
        let mut secret = Vec::new();
        match File::open(&path) {
            Ok(file) => file
                .take(MAX_SIZE)
                .read_to_end(&mut secret)
                .map_err(store::Error::io(&path))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(store::Error::io(&path)(error).into()),
        };
        Ok(Some(secret))
    }

    pub(super) fn put(&self, name: &str, secret: &[u8]) -> Result<()> {
        create_private_folder(&self.folder)?;
        Ok(store::write_private(&self.folder.join(name), secret)?)
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        Ok(store::remove_file(&self.folder.join(name))?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_its_users_alone_and_goes_without_a_trace() {
        let home = tempfile::tempdir().unwrap();
        let files = Files::new(home.path().join("secrets"));
        assert_eq!(files.get("ca").unwrap(), None);
        files.put("ca", b"first").unwrap();
        files.put("ca", b"\0second").unwrap();
        assert_eq!(files.get("ca").unwrap().unwrap(), b"\0second");
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(home.path().join("secrets")), 0o700);
        assert_eq!(mode(home.path().join("secrets/ca")), 0o600);
        files.remove("ca").unwrap();
        files.remove("ca").unwrap();
        assert_eq!(
            fs::read_dir(home.path().join("secrets")).unwrap().count(),
            0
        );
    }

    #[test]
    fn a_name_is_never_a_path() {
        for name in [
            "",
            "../ca",
            "a/b",
            ".hidden",
            "UPPER",
            "a b",
            &"x".repeat(65),
        ] {
            assert!(super::super::check(name).is_err(), "{name:?}");
        }
        assert!(super::super::check("ca-0123abcd").is_ok());
    }
}
