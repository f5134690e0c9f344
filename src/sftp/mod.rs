//! A folder of this computer, served over SFTP to somebody who is not trusted beyond that folder.
//!
//! The client is `sshfs` in a machine, or whatever a hostile machine runs in its place. So what it can reach is
//! confined by the kernel (see `tree`), what it can make us keep is bounded, and names are bytes: a folder with a name
//! that is not UTF-8 is served as it is.

mod server;
mod tree;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use server::Server;
use tree::Tree;

/// The longest request (bytes): a write of 256 KiB, as OpenSSH's server takes it.
const MAX_REQUEST: u32 = (256 << 10) + 1024;

/// Requests that wait to be carried out, and answers that wait to be sent.
const WAITING: usize = 16;

/// What is served, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The folder.
    pub folder: PathBuf,
    /// Whether every change is refused.
    pub read_only: bool,
    /// The user and the group in the guest that all files seem to belong to.
    pub owner: (u32, u32),
}

/// Serves one client to its end.
///
/// # Errors
/// If the folder is not there, the client breaks off in the middle of a request, or what it says is not SFTP.
pub async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, export: &Export) -> io::Result<()> {
    let tree = Tree::open(&export.folder, export.read_only, export.owner)?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (asked, mut to_answer) = mpsc::channel::<Vec<u8>>(WAITING);
    let (answered, mut to_send) = mpsc::channel::<Vec<u8>>(WAITING);
    // Disks may be slow, and the supervisor has other things to do meanwhile.
    let work = tokio::task::spawn_blocking(move || {
        let mut server = Server::new(tree);
        while let Some(request) = to_answer.blocking_recv() {
            let Some(answer) = server.answer(&request) else {
                return io::Result::Err(io::ErrorKind::InvalidData.into());
            };
            if answered.blocking_send(answer).is_err() {
                break;
            }
        }
        Ok(())
    });
    let take = async move {
        while let Some(request) = next(&mut reader).await? {
            if asked.send(request).await.is_err() {
                break;
            }
        }
        io::Result::Ok(())
    };
    let give = async move {
        while let Some(answer) = to_send.recv().await {
            writer.write_all(&answer).await?;
            if to_send.is_empty() {
                writer.flush().await?;
            }
        }
        io::Result::Ok(())
    };
    let outcome = {
        let (mut take, mut give) = (std::pin::pin!(take), std::pin::pin!(give));
        tokio::select! {
            taken = &mut take => match taken {
                Ok(()) => give.await,
                broken => broken,
            },
            // No answer can be sent any more, or there is none.
            given = &mut give => given,
        }
    };
    // What was wrong with a request is more than that its answer could not be sent.
    work.await.map_err(io::Error::other)??;
    outcome
}

async fn next(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let count = match reader.read_u32().await {
        Ok(count) => count,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if !(1..=MAX_REQUEST).contains(&count) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut request = vec![0; usize::try_from(count).unwrap_or_default()];
    reader.read_exact(&mut request).await?;
    Ok(Some(request))
}
