//! Files in the machine.

use std::path::Path;
use std::time::Duration;

use russh_sftp::client::{Config, SftpSession};
use tokio::time::timeout;

use super::{Output, Session, quote};
use crate::{Error, Result};

/// How long one SFTP request may take. Emulated guests on a busy computer are slow.
const REQUEST: Duration = Duration::from_secs(120);

impl Session {
    /// Writes a file in one step: it appears complete and with its mode, or not at all.
    ///
    /// # Errors
    /// [`Error::Command`] if the machine cannot write it; [`Error::Lost`].
    pub async fn write_file(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        self.write_file_as("", path, bytes, mode).await
    }

    /// As [`Session::write_file`], with a command before the shell: `sudo -n `.
    pub(crate) async fn write_file_as(
        &self,
        prefix: &str,
        path: &str,
        bytes: &[u8],
        mode: u32,
    ) -> Result<()> {
        // The count of bytes guards against a connection that ends in the middle of the input.
        let script = format!(
            "umask 077; set -C; f={path}; t=$f.berth.$$; trap 'rm -f \"$t\"' EXIT; \
             cat >\"$t\" && [ \"$(wc -c <\"$t\")\" -eq {count} ] && chmod {mode:o} \"$t\" \
             && sync \"$t\" && mv -f \"$t\" \"$f\"",
            path = quote(path),
            count = bytes.len(),
        );
        let command = format!("{prefix}sh -c {}", quote(&script));
        let output = self.exec_input(&command, bytes).await?;
        match output.success() {
            true => Ok(()),
            false => Err(Error::command(
                self.host(),
                &format!("writing {path}"),
                &output,
            )),
        }
    }

    /// Sends a file of any size, with a command before the shell. It appears complete and with its mode, or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] for what cannot be read here, [`Error::Command`] for what cannot be written there.
    pub(crate) async fn send_file_as(
        &self,
        prefix: &str,
        local: &Path,
        remote: &str,
        mode: u32,
    ) -> Result<()> {
        let file = tokio::fs::File::open(local)
            .await
            .map_err(Error::io(local))?;
        let count = file.metadata().await.map_err(Error::io(local))?.len();
        let script = format!(
            "umask 077; f={remote}; cat >\"$f.part\" && [ \"$(wc -c <\"$f.part\")\" -eq {count} ] && \
             chmod {mode:o} \"$f.part\" && mv -f \"$f.part\" \"$f\"",
            remote = quote(remote),
        );
        let command = format!("{prefix}sh -c {}", quote(&script));
        let mut output = Output {
            status: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        output.status = self
            .exec_streams(&command, file, &mut output.stdout, &mut output.stderr)
            .await?;
        match output.success() {
            true => Ok(()),
            false => Err(Error::command(
                self.host(),
                &format!("sending {}", local.display()),
                &output,
            )),
        }
    }

    /// An SFTP client on this connection.
    ///
    /// # Errors
    /// [`Error::Refused`] if the machine has no SFTP server; [`Error::Lost`].
    pub async fn sftp(&self) -> Result<SftpSession> {
        let refused = |detail: String| Error::Refused {
            host: self.host().to_owned(),
            what: "SFTP".into(),
            detail,
        };
        let (channel, permit) = self.open_session().await?;
        let asked = channel.request_subsystem(true, "sftp").await;
        asked.map_err(|error| self.lost(&error.to_string()))?;
        let config = Config {
            request_timeout_secs: REQUEST.as_secs(),
            ..Config::default()
        };
        let stream = super::stream::Held::new(super::Stream::new(channel), permit);
        let starting = timeout(REQUEST, SftpSession::new_with_config(stream, config)).await;
        match starting {
            Ok(Ok(sftp)) => Ok(sftp),
            Ok(Err(error)) => Err(refused(error.to_string())),
            Err(_) => Err(refused("it does not answer".into())),
        }
    }
}
