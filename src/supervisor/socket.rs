//! The engine's socket on this computer.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixListener;

use super::forward::Forwarder;

/// Listens at `path`, mode 0600 from birth: bound under another name and renamed.
///
/// # Errors
/// If the socket cannot be made.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let draft = path.with_extension("new");
    let _ = std::fs::remove_file(&draft);
    // The folder is 0700, so nobody else reaches the socket between bind and chmod either.
    let listener = UnixListener::bind(&draft)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&draft, path)?;
    Ok(listener)
}

/// Forwards every connection to the engine, for as long as it is polled.
pub async fn serve(listener: UnixListener, forwarder: Forwarder) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let forwarder = forwarder.clone();
                tokio::spawn(async move {
                    if let Err(error) = forwarder.forward(client).await {
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
