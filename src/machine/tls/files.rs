//! The files of a TLS endpoint.
//!
//! In the machine's `tls` folder lie `ca.pem`, `cert.pem` and `key.pem`, the client's files under the names that docker
//! looks for (`DOCKER_CERT_PATH`), and `server.pem` with the server's certificate and key.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use berth_provision::certs::{self, Certificate, Pair};

use crate::machine::Result;
use crate::store::{self, MachineFolder};

/// The four files as they are.
#[derive(Debug, Clone)]
pub struct Files {
    /// What is trusted.
    pub ca: String,
    /// The client's certificate and key.
    pub client: Pair,
    /// The server's certificate and key.
    pub server: Pair,
}

impl Files {
    /// Reads them; `None` if they are not all there.
    ///
    /// # Errors
    /// If one is there but cannot be read.
    pub fn read(folder: &MachineFolder) -> Result<Option<Self>> {
        let folder = folder.tls();
        let [Some(ca), Some(certificate), Some(key), Some(server)] = [
            text(&folder.join("ca.pem"))?,
            text(&folder.join("cert.pem"))?,
            text(&folder.join("key.pem"))?,
            text(&folder.join("server.pem"))?,
        ] else {
            return Ok(None);
        };
        // One file, so that a reader never has a key beside another key's certificate.
        let (certificate_of_server, key_of_server) = match server.find("-----BEGIN PRIVATE KEY") {
            Some(at) => server.split_at(at),
            None => (server.as_str(), ""),
        };
        Ok(Some(Files {
            ca,
            client: Pair { certificate, key },
            server: Pair {
                certificate: certificate_of_server.to_owned(),
                key: key_of_server.to_owned(),
            },
        }))
    }

    /// Writes them. The CA comes first: with both CAs in it, every mixture of old and new is trusted.
    pub(super) fn write(&self, folder: &MachineFolder) -> Result<()> {
        let folder = folder.tls();
        // Not its parents: a machine that is being removed must not come back.
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(store::Error::io(&folder)(error).into());
            }
            _ => {}
        }
        let server = format!("{}{}", self.server.certificate, self.server.key);
        for (name, content) in [
            ("ca.pem", &self.ca),
            ("server.pem", &server),
            ("key.pem", &self.client.key),
            ("cert.pem", &self.client.certificate),
        ] {
            store::write_private(&folder.join(name), content.as_bytes())?;
        }
        Ok(())
    }
}

/// The certificate of a pair; `None` if it is damaged.
pub fn certificate(pair: &Pair) -> Option<Certificate> {
    let mut found = certs::read(pair.certificate.as_bytes()).ok()?;
    (found.len() == 1).then(|| found.swap_remove(0))
}

fn text(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(store::Error::io(path)(error).into()),
    }
}
