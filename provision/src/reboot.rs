//! Rebooting a machine from inside, where nobody drives its power.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::facts::Facts;
use crate::ssh::{Session, Target};
use crate::{Error, Result};

/// Linux's name for one run of the system (random(4)): another one is another boot.
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

/// Between looks at a machine that has not gone down yet.
const PAUSE: Duration = Duration::from_secs(2);

/// Reboots a machine and returns a connection to it once it is up again.
///
/// # Errors
/// [`Error::Sudo`] if the user may not; [`Error::Timeout`] if it is not up again within `deadline`.
pub async fn reboot(session: &Session, target: &Target, deadline: Duration) -> Result<Session> {
    let end = Instant::now() + deadline;
    let prefix = Facts::gather(session).await?.prefix(session)?;
    let before = boot_id(session).await?;
    // It answers before it goes, where it can: sshd ends with the system.
    let command = format!("{prefix}sh -c 'systemctl reboot 2>/dev/null || reboot'");
    match session.exec(&command).await {
        Ok(output) if !output.success() && output.status < 128 => {
            return Err(Error::command(session.host(), "rebooting", &output));
        }
        // What ends under its own reboot leaves no status.
        _ => session.disconnect().await,
    }
    let back = async {
        loop {
            // Each attempt tries again by itself while the machine is away.
            let left = end.saturating_duration_since(Instant::now());
            let session = Session::connect(target, left).await?;
            if boot_id(&session).await.is_ok_and(|now| now != before) {
                return Ok(session);
            }
            session.disconnect().await;
            sleep(PAUSE).await;
        }
    };
    timeout_at(end, back).await.unwrap_or_else(|_| {
        Err(Error::Timeout {
            host: session.host().to_owned(),
            what: "a new boot".into(),
            after: deadline,
        })
    })
}

async fn boot_id(session: &Session) -> Result<Vec<u8>> {
    let id = session.run("asking which boot it is", BOOT_ID).await?;
    Ok(id.trim_ascii().to_vec())
}
