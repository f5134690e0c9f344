//! Whether a machine that waits can be handed out.

use std::time::Duration;

use berth_driver_api::State;
use tokio::time::timeout;

use super::Pool;
use crate::machine::{Berth, Opened, Record, Result, endpoint, journal};
use crate::store::Watch;
use crate::supervisor::Status;

/// How long a machine that waits may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The machine, if it is what the pool's file asks for now and its engine answers; otherwise why it is not handed out.
pub async fn fit(berth: &Berth, pool: &Pool, name: &str) -> Result<Opened, String> {
    let record = berth.record(name).map_err(|error| error.to_string())?;
    let opened = berth.open_record(record).await;
    let opened = opened.map_err(|error| error.to_string())?;
    is_as_asked(berth, pool, &opened.record)?;
    match journal::pending(&opened.folder.journal()) {
        Ok(None) => {}
        Ok(Some(pending)) => return Err(format!("its {} broke off", pending.operation)),
        Err(error) => return Err(error.to_string()),
    }
    match timeout(PATIENCE, opened.driver.state(&opened.machine)).await {
        Ok(Ok(State::Running)) => {}
        Ok(Ok(state)) => return Err(format!("it is {state}")),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("its driver does not tell its state".into()),
    }
    match Status::read(&opened.folder) {
        Some(status) if status.connected => {}
        Some(status) => return Err(status.trouble.unwrap_or_else(|| "it is not reached".into())),
        None => return Err("its supervisor is gone".into()),
    }
    if opened.record.installed.is_some() {
        let answered = endpoint::engine_answers(&opened, PATIENCE).await;
        answered.map_err(|error| error.to_string())?;
    }
    Ok(opened)
}

fn is_as_asked(berth: &Berth, pool: &Pool, record: &Record) -> Result<(), String> {
    match &record.pool {
        Some(pooled) if pooled.taken => return Err("it was taken, and that broke off".into()),
        Some(pooled) if pooled.name == pool.name && pooled.key == pool.key.id() => {}
        _ => return Err(format!("pool {} has other machines now", pool.name)),
    }
    // A name can stand for another image by now; what lies at a path or an address is not read again.
    if !pool.key.image.contains('/') {
        let image = berth.stored_image(&pool.key.image);
        let digest = image.map(|image| image.digest.to_string());
        let same = record.image.as_ref().map(|image| &image.digest) == digest.as_ref().ok();
        if !same {
            return Err(format!("{} is another image by now", pool.key.image));
        }
    }
    Ok(())
}

/// Returns when the supervisor of a machine that was just made has its connection.
///
/// # Errors
/// If the machine's folder cannot be watched.
pub(super) async fn connected(opened: &Opened) -> Result<()> {
    let mut watch = Watch::new()?;
    watch.folder(opened.folder.path())?;
    while !Status::read(&opened.folder).is_some_and(|status| status.connected) {
        watch.next().await;
    }
    Ok(())
}
