//! From a request to a machine with an engine that answers.

use std::time::Duration;

use berth_driver_api::Progress;

use super::engine::check_engine;
use super::founding::{found_folder, take_lock};
use super::making::carry_out;
use super::request::{Request, check_request, planned, settled};
use super::{Berth, Error, Record, Result, adopt, image, journal, pool, seed, template};
use crate::store::{self, Lock};

/// Makes a machine, boots it, installs its engine and points a context at it. Whatever fails leaves a machine that
/// [`resume_create`] continues and `remove` clears; a request that cannot be met leaves nothing.
///
/// # Errors
/// [`Error::Exists`], [`Error::Busy`], and whatever a step fails with.
pub async fn create(berth: &Berth, request: &Request, progress: &dyn Progress) -> Result<Record> {
    if let Some(record) = pool::take(berth, request, progress).await? {
        return Ok(record);
    }
    let (_lock, record) = found(berth, request, progress).await?;
    let record = carry_out(berth, record, request.boot_deadline, progress).await?;
    template::leave_behind(berth, request, &record, progress).await;
    Ok(record)
}

/// Checks the request and makes the machine's folder, with a create in it that has not got anywhere yet.
pub(super) async fn found(
    berth: &Berth,
    request: &Request,
    progress: &dyn Progress,
) -> Result<(Lock, Record)> {
    check_request(berth, request)?;
    check_engine(&request.engine).await?;
    let request = &settled(berth, request, progress).await?;
    let driver = berth.drivers.get(&request.driver).await?;
    adopt::check_wishes(request, driver.info())?;
    image::check_driver(berth, request, driver.info()).map_err(Error::driver(&request.name))?;
    let user_data = request.cloud_init.as_deref();
    let user_data = user_data.map(seed::user_data).transpose()?;
    berth.home.prepare()?;
    let lock = take_lock(berth, &request.name)?;
    if berth.home.machine(&request.name).path().exists() {
        return Err(Error::Exists(request.name.clone()));
    }
    let result = async {
        let record = plan(berth, request, progress).await?;
        found_folder(berth, &record, |draft| {
            match (
                &user_data,
                berth.home.machine(&record.name).user_data().file_name(),
            ) {
                (Some(text), Some(name)) => {
                    store::write_private(&draft.join(name), text.as_bytes())
                }
                _ => Ok(()),
            }
        })?;
        Ok(record)
    }
    .await;
    match result {
        Ok(record) => Ok((lock, record)),
        Err(error) => {
            // Nothing was made yet: leave no trace of the lock either.
            let _ = lock.remove();
            Err(error)
        }
    }
}

/// Continues a create that broke off.
///
/// # Errors
/// [`Error::NothingToResume`] if it did not; else as [`create`].
pub async fn resume_create(
    berth: &Berth,
    name: &str,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<Record> {
    let record = berth.record(name)?;
    let _lock = berth.still_there(name, take_lock(berth, name)?)?;
    match journal::pending(&berth.home.machine(name).journal())? {
        Some(pending) if pending.operation == "create" => {}
        Some(pending) if pending.operation == "rm" => {
            return Err(Error::Unfinished {
                name: name.to_owned(),
                operation: pending.operation,
            });
        }
        _ => return Err(Error::NothingToResume(name.to_owned())),
    }
    carry_out(berth, record, boot_deadline, progress).await
}

/// What is to be made, and of which template. Makes nothing of the machine's own.
async fn plan(berth: &Berth, request: &Request, progress: &dyn Progress) -> Result<Record> {
    let (mut record, machine) = planned(berth, request, progress).await?;
    if !request.cold {
        record.template = template::choose(berth, &record, &machine, progress).await?;
    }
    Ok(record)
}
