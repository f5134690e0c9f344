//! The engine's socket on this computer.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use super::link::Link;

/// A client waits this long for a machine that is rebooting.
const PATIENCE: Duration = Duration::from_secs(180);

/// Listens at `path`, mode 0600 from birth: bound under another name and renamed.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let draft = path.with_extension("new");
    let _ = std::fs::remove_file(&draft);
    // The folder is 0700, so nobody else reaches the socket between bind and chmod either.
    let listener = UnixListener::bind(&draft)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&draft, path)?;
    Ok(listener)
}

/// Forwards every connection to `socket` inside the machine, for as long as it is polled.
pub async fn serve(listener: UnixListener, link: Link, socket: String) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let (link, socket) = (link.clone(), socket.clone());
                tokio::spawn(async move {
                    if let Err(error) = forward(client, link, &socket).await {
                        tracing::debug!(%error, "a connection ended");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors: the connections that are open give some back.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Copies both ways; the end of one direction is passed on and the other goes on, as `attach` and `build` need.
async fn forward(mut client: UnixStream, mut link: Link, socket: &str) -> io::Result<()> {
    let session = tokio::time::timeout(PATIENCE, link.session())
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        .ok_or(io::ErrorKind::NotConnected)?;
    let mut engine = session.open_unix(socket).await.map_err(io::Error::other)?;
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut engine, 32 << 10, 32 << 10)
        .await
        .map(drop)
}
