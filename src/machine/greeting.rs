//! Hearing from a guest that its SSH server listens.

use std::time::Duration;

use berth_driver_api::ready;
use tokio::time::sleep;

use super::Opened;

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
        if let Ok(address) = opened.address().await
            && ready::greets(&address).await
        {
            return;
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(2));
    }
}
