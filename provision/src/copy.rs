//! Folders of small files, sent to a machine over SFTP. For what users copy, `berth cp` runs `scp`.

use std::path::Path;

use russh_sftp::client::SftpSession;
use russh_sftp::protocol::FileAttributes;

use crate::ssh::Session;
use crate::{Error, Result};

/// More than provisioning ever sends: a file is read into memory.
const FILE_LIMIT: u64 = 256 * 1024 * 1024;

/// Sends a file, or a folder with all that is in it, to `remote`, with the files' modes. Symbolic links are followed
/// here; a file that is there already is overwritten.
///
/// # Errors
/// [`Error::Io`] for what cannot be read here, [`Error::RemoteFile`] for what cannot be written there.
pub async fn send(session: &Session, local: &Path, remote: &str) -> Result<()> {
    let sending = Sending {
        host: session.host(),
        sftp: session.sftp().await?,
    };
    let mut waiting = vec![(local.to_owned(), remote.to_owned())];
    while let Some((local, remote)) = waiting.pop() {
        let metadata = tokio::fs::metadata(&local)
            .await
            .map_err(Error::io(&local))?;
        if !metadata.is_dir() {
            sending.file(&local, &metadata, &remote).await?;
            continue;
        }
        sending.folder(&remote).await?;
        let mut entries = tokio::fs::read_dir(&local)
            .await
            .map_err(Error::io(&local))?;
        while let Some(entry) = entries.next_entry().await.map_err(Error::io(&local))? {
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(Error::Io {
                    path: entry.path(),
                    source: std::io::Error::other("its name is not UTF-8"),
                });
            };
            waiting.push((
                entry.path(),
                format!("{}/{name}", remote.trim_end_matches('/')),
            ));
        }
    }
    Ok(())
}

struct Sending<'a> {
    host: &'a str,
    sftp: SftpSession,
}

impl Sending<'_> {
    async fn file(&self, local: &Path, metadata: &std::fs::Metadata, remote: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        if metadata.len() > FILE_LIMIT {
            return Err(Error::Io {
                path: local.to_owned(),
                source: std::io::Error::other("it is too large to be sent this way"),
            });
        }
        let bytes = tokio::fs::read(local).await.map_err(Error::io(local))?;
        let mode = FileAttributes {
            permissions: Some(metadata.permissions().mode() & 0o7777),
            ..FileAttributes::empty()
        };
        self.there(remote, self.sftp.create(remote).await.map(drop))?;
        // The mode comes before the content, which may be secret.
        self.there(remote, self.sftp.set_metadata(remote, mode).await)?;
        self.there(remote, self.sftp.write(remote, &bytes).await)
    }

    async fn folder(&self, remote: &str) -> Result<()> {
        match self.sftp.create_dir(remote).await {
            // One that is there already is all right.
            Err(_)
                if self
                    .sftp
                    .metadata(remote)
                    .await
                    .is_ok_and(|found| found.is_dir()) =>
            {
                Ok(())
            }
            made => self.there(remote, made),
        }
    }

    fn there<T>(&self, path: &str, done: Result<T, russh_sftp::client::error::Error>) -> Result<T> {
        done.map_err(|error| Error::RemoteFile {
            host: self.host.to_owned(),
            path: path.to_owned(),
            detail: berth_driver_api::process::last_lines(error.to_string().as_bytes(), 2),
        })
    }
}
