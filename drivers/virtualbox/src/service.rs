//! VirtualBox's service VBoxSVC, which keeps the user's list of VMs. It begins with the first VBoxManage and ends five
//! seconds after the last one.
//!
//! VBoxManage's start script removes the socket of a service that it does not see in the list of processes yet. Two
//! VBoxManage at once would begin two services then, each of which overwrites what the other one has written. So
//! whoever may be the first goes alone.
//!
//! And it loses one of two changes that are made to its list at once, so that they are made one after another.

use std::fs::File;
use std::future::Future;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use berth_driver_api::{Error, Result};
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// So long after a call the service is there for sure.
const STAYS: Duration = Duration::from_secs(3);

/// When the service was last heard of.
static HEARD: Mutex<Option<Instant>> = Mutex::const_new(None);

/// Held by whoever changes something.
static CHANGES: Mutex<()> = Mutex::const_new(());

/// Carries out a call of VBoxManage, alone if the service may not be there yet. `asks` tells whether this call begins it.
pub(crate) async fn call<T>(asks: bool, call: impl Future<Output = T>) -> T {
    let mut heard = HEARD.lock().await;
    if heard.is_some_and(|at| at.elapsed() < STAYS) {
        drop(heard);
        let outcome = call.await;
        if asks {
            *HEARD.lock().await = Some(Instant::now());
        }
        return outcome;
    }
    let _alone = among_processes().await;
    let outcome = call.await;
    if asks {
        *heard = Some(Instant::now());
    }
    outcome
}

/// Carries out a call that changes something: after every other one, and to its end even if nobody waits for it any
/// more, since the service goes on with what it was told.
///
/// # Errors
/// If the call panicked.
pub(crate) async fn change<T: Send + 'static>(
    change: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    let turn = async {
        let _turn = CHANGES.lock().await;
        let _turn_of_process = locked(changes()).await;
        call(true, change).await
    };
    tokio::spawn(turn)
        .await
        .map_err(|error| Error::failed("VirtualBox", error))
}

/// A lock that other processes of berth's heed: on VirtualBox's own folder of the user. Before VirtualBox has made it,
/// there is none.
async fn among_processes() -> Option<Flock<File>> {
    locked(File::open(folder()?).ok()).await
}

/// The file in VirtualBox's folder that whoever changes something has locked.
fn changes() -> Option<File> {
    File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(folder()?.join("berth.lock"))
        .ok()
}

async fn locked(file: Option<File>) -> Option<Flock<File>> {
    let file = file?;
    let lock = tokio::task::spawn_blocking(|| Flock::lock(file, FlockArg::LockExclusive));
    lock.await.ok()?.ok()
}

fn folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("VBOX_USER_HOME").filter(|folder| !folder.is_empty()) {
        return Some(folder.into());
    }
    let home = PathBuf::from(std::env::var_os("HOME")?);
    Some(home.join(match std::env::consts::OS {
        "macos" => "Library/VirtualBox",
        _ => ".config/VirtualBox",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn the_first_call_goes_alone_and_those_after_it_together() {
        let (under_way, most) = (AtomicU32::new(0), AtomicU32::new(0));
        let work = |asks| {
            call(asks, async {
                let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
                under_way.fetch_sub(1, Ordering::SeqCst);
            })
        };
        // What does not begin the service says nothing of it.
        tokio::join!(work(false), work(false));
        assert_eq!(most.load(Ordering::SeqCst), 1);
        tokio::join!(work(true), work(true), work(true));
        assert_eq!(most.load(Ordering::SeqCst), 2);
        a_change_that_nobody_waits_for_is_ended_before_the_next_one_begins().await;
    }

    async fn a_change_that_nobody_waits_for_is_ended_before_the_next_one_begins() {
        static DONE: AtomicU32 = AtomicU32::new(0);
        let slow = change(async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            DONE.fetch_add(1, Ordering::SeqCst)
        });
        let given_up = tokio::time::timeout(Duration::from_millis(20), slow).await;
        assert!(given_up.is_err());
        let before = change(async { DONE.load(Ordering::SeqCst) }).await;
        assert_eq!(before.unwrap(), 1);
    }
}
