//! A machine of a pool gets its name when it is taken, and its supervisor stays: it hears of the name and has the guest
//! called by it.

use std::sync::Arc;

use berth_provision::hostname;
use tokio::sync::watch;

use super::link::Link;
use crate::machine::{Berth, Opened, Record};
use crate::store::Watch;

/// Sends the machine anew when it was taken; returns never.
pub async fn follow(berth: &Berth, renamed: &watch::Sender<Arc<Opened>>) {
    let folder = renamed.borrow().folder.clone();
    if !renamed.borrow().record.waits() {
        return std::future::pending().await;
    }
    let mut changes = Watch::new().ok();
    if let Some(watch) = &mut changes
        && let Err(error) = watch.folder(folder.path())
    {
        tracing::warn!(%error, "nobody will hear of its name");
    }
    loop {
        // What is in the record is its name only once it leads to this machine.
        if let Ok(Some(record)) = Record::read(&folder)
            && !record.waits()
            && berth.home.machine(&record.name).path() == folder.path()
        {
            match berth.open_record(record).await {
                Ok(opened) => {
                    tracing::info!(name = opened.record.name, "it was taken");
                    renamed.send_replace(Arc::new(opened));
                    return std::future::pending().await;
                }
                Err(error) => tracing::warn!(%error, "it was taken"),
            }
        }
        match &mut changes {
            Some(watch) => drop(watch.next().await),
            None => return std::future::pending().await,
        }
    }
}

/// Has the guest of a machine that was taken called by its name: when it was taken, and whenever the connection is made
/// anew, for a guest that boots is told again what it was called at first. Returns never.
pub async fn tell(mut current: watch::Receiver<Arc<Opened>>, mut link: Link) {
    loop {
        let opened = current.borrow_and_update().clone();
        let taken = opened.record.pool.is_some() && !opened.record.waits();
        if taken && let Some(session) = link.session().await {
            match hostname(&session, &opened.record.name).await {
                Ok(()) => tracing::info!(name = opened.record.name, "the guest has its name"),
                Err(error) => tracing::warn!(%error, "the guest has not got its name"),
            }
            link.lost().await;
        } else if current.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Does work that goes by the machine's name, and begins again when that is another. Returns when the work is done.
pub async fn with<F: Future<Output = ()>>(
    mut current: watch::Receiver<Arc<Opened>>,
    work: impl Fn(Arc<Opened>) -> F,
) {
    loop {
        let opened = current.borrow_and_update().clone();
        tokio::select! {
            () = work(opened) => return,
            changed = current.changed() => if changed.is_err() {
                return std::future::pending().await;
            },
        }
    }
}
