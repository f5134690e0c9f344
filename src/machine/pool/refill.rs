//! Keeping as many machines ready as a pool is to have.

use std::time::Duration;

use berth_driver_api::Progress;
use futures_util::StreamExt;

use super::fit::{connected, fit};
use super::notice::{REFILL, is_short};
use super::{Failure, Pool, clear_locks, lock_file, waiting};
use crate::machine::{Berth, Error, Request, Result, create, remove};
use crate::store::Lock;

/// How many machines of a pool are made at once: whoever filled it did not wait for them.
const AT_ONCE: usize = 2;

/// How often making a machine is tried by one process in the background.
const TRIES: u32 = 4;

/// How long a command waits for another one that fills the pool.
const LOCK_DEADLINE: Duration = Duration::from_secs(3600);

/// How long a new machine's supervisor may take to connect once its engine has answered.
const CONNECT_DEADLINE: Duration = Duration::from_secs(60);

/// Fills a pool: machines that are not fit are replaced, those that are too many go. `patient` is the background's way:
/// another process that fills it is left to it, and what fails is tried again later.
///
/// # Errors
/// What making a machine failed with; it is noted, too.
pub async fn refill(
    berth: &Berth,
    name: &str,
    patient: bool,
    progress: &dyn Progress,
) -> Result<()> {
    // Whoever took one while this one was about to end found it at work and went away: hence again.
    while let Some(pool) = Pool::read(&berth.home, name)? {
        let path = lock_file(&berth.home, name);
        let doing = format!("pool {REFILL} {name}");
        let lock = match patient {
            true => Lock::try_take(&path, &doing)?,
            false => {
                let on_wait = |_: &_| progress.note("waiting: another berth fills the pool");
                Lock::take(&path, &doing, LOCK_DEADLINE, on_wait).await?
            }
        };
        let Ok(_lock) = lock else {
            return Ok(());
        };
        fill(berth, name, patient, progress).await?;
        drop(_lock);
        if !is_short(berth, &pool)? {
            break;
        }
    }
    Ok(())
}

async fn fill(berth: &Berth, name: &str, patient: bool, progress: &dyn Progress) -> Result<()> {
    for tried in 1.. {
        let Some(pool) = Pool::read(&berth.home, name)? else {
            return Ok(());
        };
        let Err(error) = fill_once(berth, &pool, progress).await else {
            return Failure::forget(&berth.home, name);
        };
        let failure = Failure::note(&berth.home, name, &error.to_string())?;
        if !patient || tried == TRIES {
            return Err(error);
        }
        progress.note(&format!("{error}; tried again in {:#}", failure.pause()));
        let pause = Duration::try_from(failure.pause()).unwrap_or_default();
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

async fn fill_once(berth: &Berth, pool: &Pool, progress: &dyn Progress) -> Result<()> {
    clear_locks(berth, &pool.name)?;
    let wanted = pool.ready as usize;
    let mut ready = 0;
    for name in waiting(&berth.home, &pool.name)? {
        if ready < wanted && fit(berth, pool, &name).await.is_ok() {
            ready += 1;
        } else {
            ready += usize::from(!retire(berth, pool, &name, ready >= wanted, progress).await?);
        }
    }
    let missing = wanted.saturating_sub(ready);
    let made = futures_util::stream::iter((0..missing).map(|_| make(berth, pool, progress)));
    let made: Vec<Result<()>> = made.buffer_unordered(AT_ONCE).collect().await;
    made.into_iter().collect()
}

/// Removes a machine that is not fit, or that is one too many; false if it turns out to be fit. One that is being taken
/// is somebody's already.
async fn retire(
    berth: &Berth,
    pool: &Pool,
    name: &str,
    surplus: bool,
    progress: &dyn Progress,
) -> Result<bool> {
    let doing = format!("rm {name}");
    let Ok(lock) = Lock::try_take(&berth.home.lock(name), &doing)? else {
        return Ok(true);
    };
    let Ok(lock) = berth.still_there(name, lock) else {
        return Ok(true);
    };
    match fit(berth, pool, name).await {
        Ok(_) if !surplus => return Ok(false),
        Ok(_) => progress.note(&format!("{name} is one too many: it goes")),
        Err(why) => progress.note(&format!("{name} is replaced: {why}")),
    }
    remove::remove_locked(berth, name, false, lock, progress).await?;
    Ok(true)
}

async fn make(berth: &Berth, pool: &Pool, progress: &dyn Progress) -> Result<()> {
    let request = pool.request();
    let made = make_one(berth, &request, progress).await;
    if made.is_err() && berth.home.has_traces(&request.name) {
        // It would only be found unfit; what it failed with matters more than what its removal fails with.
        let _ = remove::remove(berth, &request.name, false, progress).await;
    }
    made
}

async fn make_one(berth: &Berth, request: &Request, progress: &dyn Progress) -> Result<()> {
    let record = Box::pin(create::create(berth, request, progress)).await?;
    let name = record.name.clone();
    let opened = berth.open_record(record).await?;
    let waited = tokio::time::timeout(CONNECT_DEADLINE, connected(&opened)).await;
    waited.map_err(|_| Error::Timeout {
        machine: name,
        what: "a connection of its supervisor".into(),
        after: CONNECT_DEADLINE,
    })?
}
