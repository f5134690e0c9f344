//! Hearing from a guest that its SSH server listens.

use std::time::Duration;

use berth_driver_api::ready;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::Opened;

/// How long an SSH server may take to greet; emulated ones take seconds.
const GREETING: Duration = Duration::from_secs(10);

/// Returns when the guest has said that its SSH server listens. Images that berth did not build say nothing: theirs is
/// tried until it greets.
pub(super) async fn ready(opened: &Opened) -> berth_driver_api::Result<()> {
    let said = opened.driver.ready(&opened.machine, ready::SSH);
    if opened.record.cloud_init.is_none() {
        return said.await;
    }
    tokio::select! {
        said = said => said,
        () = greeting(opened) => Ok(()),
    }
}

/// Returns when an SSH server has greeted at the machine's address.
async fn greeting(opened: &Opened) {
    let mut pause = Duration::from_millis(200);
    loop {
        let attempt = async {
            let address = opened.address().await.ok()?;
            let host = (address.host.as_str(), address.port);
            let mut stream = TcpStream::connect(host).await.ok()?;
            let mut start = [0; 4];
            stream.read_exact(&mut start).await.ok()?;
            (start == *b"SSH-").then_some(())
        };
        // A forwarded port takes connections before the guest does, and keeps them waiting.
        if let Ok(Some(())) = timeout(GREETING, attempt).await {
            return;
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(2));
    }
}
