//! Copies of a user's machine, each with an identity of its own.
//!
//! A copy is made as any machine is, with another disk: what broke off is finished by `create --resume`. Its guest takes
//! its host key, its name and its machine id from credentials while it boots, before it listens.

use std::time::Duration;

use berth_driver_api::Progress;

use super::founding::{found_folder, take_lock};
use super::making::carry_out;
use super::operation::{complete, must_be_able};
use super::{Berth, Error, Opened, Origin, Record, Result, check_name};
use crate::store;

/// Makes machine `name` with the disk of `source`, boots it as a machine of its own and points a context at it. Of a
/// machine that runs it is the disk of one moment.
///
/// # Errors
/// [`Error::NoSuchMachine`], [`Error::Exists`], and whatever a step fails with.
pub async fn clone(
    berth: &Berth,
    source: &str,
    name: &str,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<Record> {
    check_name(name)?;
    let original = complete(berth, source, progress).await?;
    let can = original.driver.info().capabilities.clone;
    must_be_able(&original, can, "copy machines")?;
    berth.check_contexts_free(name, &original.record.engine.kind)?;
    berth.home.prepare()?;
    let lock = take_lock(berth, name)?;
    if berth.home.machine(name).path().exists() {
        return Err(Error::Exists(name.to_owned()));
    }
    let founded = (|| {
        let record = record(&original, name)?;
        let own = original.folder.user_data();
        found_folder(berth, &record, |draft| match own.file_name() {
            Some(file) if own.exists() => {
                let text = std::fs::read(&own).map_err(store::Error::io(&own))?;
                store::write_private(&draft.join(file), &text)
            }
            _ => Ok(()),
        })?;
        Ok(record)
    })();
    match founded {
        Ok(record) => carry_out(berth, record, boot_deadline, progress).await,
        Err(error) => {
            // Nothing was made yet: leave no trace of the lock either.
            let _ = lock.remove();
            Err(error)
        }
    }
}

fn record(original: &Opened, name: &str) -> Result<Record> {
    let key = original.folder.key().with_extension("pub");
    let key = std::fs::read_to_string(&key).ok();
    Ok(original.record.copy(
        name,
        Origin {
            name: original.record.name.clone(),
            id: original.record.id,
            key: key.map(|line| line.trim().to_owned()),
        },
    ))
}
