//! Handing a waiting machine to whoever asks for one like it.

use std::time::Duration;

use berth_driver_api::Progress;

use super::fit::fit;
use super::notice::start;
use super::{Key, Pool, forget_lock, names, waiting};
use crate::machine::engine::check_engine;
use crate::machine::founding::take_lock;
use crate::machine::journal::Journal;
use crate::machine::request::{check_request, settled};
use crate::machine::up::{bring_up, write_ssh_config};
use crate::machine::{Berth, Error, Opened, Record, Request, Result, identity};
use crate::store::{self, Lock};

/// A machine of a pool that has what the request asks for, under the name that is asked for; `None` if no pool has one
/// ready. Has the pool filled again, in the background.
///
/// # Errors
/// If the request is refused, the name is taken, or a step fails: then `create --resume` goes on, or the machine waits
/// no more and the pool makes another.
pub(in crate::machine) async fn take(
    berth: &Berth,
    request: &Request,
    progress: &dyn Progress,
) -> Result<Option<Record>> {
    if !can_wait(request) || names(&berth.home)?.is_empty() {
        return Ok(None);
    }
    check_request(berth, request)?;
    check_engine(&request.engine).await?;
    let request = settled(berth, request, progress).await?;
    let Some(pool) = of(berth, &request).await? else {
        return Ok(None);
    };
    progress.phase(&format!("Taking a machine of pool {}", pool.name));
    berth.home.prepare()?;
    let lock = take_lock(berth, &request.name)?;
    if berth.home.has_traces(&request.name) {
        return match berth.home.machine(&request.name).path().exists() {
            true => Err(Error::Exists(request.name)),
            // What a killed berth left is for a create to clear.
            false => Ok(None),
        };
    }
    for name in waiting(&berth.home, &pool.name)? {
        let doing = format!("create {}", request.name);
        // Another create has it, or it is only being made.
        let Ok(waits) = Lock::try_take(&berth.home.lock(&name), &doing)? else {
            continue;
        };
        let Ok(waits) = berth.still_there(&name, waits) else {
            continue;
        };
        match fit(berth, &pool, &name).await {
            Ok(opened) => {
                let handed_over = hand_over(berth, opened, &request, waits).await;
                start(berth, &pool.name);
                if handed_over.is_err() && !berth.home.has_traces(&request.name) {
                    lock.remove()?;
                }
                return handed_over.map(Some);
            }
            // The pool replaces it.
            Err(why) => tracing::debug!(name, why, "not handed out"),
        }
    }
    lock.remove()?;
    progress.note(&format!(
        "pool {} has no machine ready: one is made",
        pool.name
    ));
    start(berth, &pool.name);
    Ok(None)
}

/// Whether machines of a pool could be what is asked for. Mounts and TLS are a machine's own from its first moment on.
pub(super) fn can_wait(request: &Request) -> bool {
    !request.no_pool
        && !request.cold
        && request.pool.is_none()
        && request.tls.is_none()
        && request.mounts.is_empty()
        && request.cloud_init.is_none()
}

/// The pool whose machines are what is asked for.
async fn of(berth: &Berth, request: &Request) -> Result<Option<Pool>> {
    let key = Key::of(berth, request).await?;
    for name in names(&berth.home)? {
        match Pool::read(&berth.home, &name) {
            Ok(Some(pool)) if pool.key == key && pool.ready > 0 => return Ok(Some(pool)),
            Ok(_) => {}
            // A pool that cannot be read keeps nobody from making a machine; `berth pool ls` tells of it.
            Err(error) => tracing::warn!(%error, "passed over"),
        }
    }
    Ok(None)
}

/// Makes the machine the user's. Its record says first that it is; from the moment that it has its name, it is.
async fn hand_over(
    berth: &Berth,
    opened: Opened,
    request: &Request,
    waits: Lock,
) -> Result<Record> {
    let mut record = opened.record.clone();
    record.name.clone_from(&request.name);
    record.created = jiff::Timestamp::now();
    record.labels.clone_from(&request.labels);
    record.expiry.clone_from(&request.expiry);
    record.engine_named = request.engine_named;
    if let Some(pool) = &mut record.pool {
        pool.taken = true;
    }
    let first_name = record.first_name().to_owned();
    let mut journal = Journal::begin(&opened.folder.journal(), "create")?;
    journal
        .once("claim", async { record.write_in(&opened.folder) })
        .await?;
    journal
        .once("name", async {
            store::give_name(&berth.home, &first_name, &record.name)
        })
        .await?;
    waits.remove()?;
    let opened = berth.open_record(record).await?;
    journal
        .once("identity", async {
            identity::rename(&opened.folder, &opened.record.name)
        })
        .await?;
    // The supervisor sees it, and has the guest called by its name.
    journal
        .once("ssh", async { write_ssh_config(&opened).await })
        .await?;
    if opened.record.installed.is_some() {
        journal
            .once("hand over", async { berth.write_contexts(&opened.record) })
            .await?;
    }
    journal.end()?;
    Ok(opened.record)
}

/// Goes on where a create broke off that took a waiting machine: what became of it meanwhile is mended as `start` does.
pub(in crate::machine) async fn finish_taking(
    berth: &Berth,
    opened: Opened,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<Record> {
    let mut journal = Journal::begin(&opened.folder.journal(), "create")?;
    forget_lock(berth, opened.record.first_name())?;
    journal
        .once("identity", async {
            identity::rename(&opened.folder, &opened.record.name)
        })
        .await?;
    journal.end()?;
    bring_up(berth, &opened, boot_deadline, progress).await?;
    Ok(opened.record)
}
