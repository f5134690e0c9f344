//! From a request to a machine with an engine that answers.

use std::fs;
use std::path::Path;
use std::time::Duration;

use berth_driver_api::{Progress, Rest};

use super::engine::{check_engine, install_engine, take_ready_made};
use super::journal::{self, Journal};
use super::request::{Request, check_request, planned, settled};
use super::tls;
use super::{
    Berth, DISTRO, Error, Opened, Record, Result, adopt, clone, endpoint, identity, image, lost,
    pool, power, seed, template,
};
use crate::store::{self, Lock, create_private_folder};

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

pub(super) fn take_lock(berth: &Berth, name: &str) -> Result<Lock> {
    Lock::try_take(&berth.home.lock(name), &format!("create {name}"))?.map_err(|holder| {
        Error::Busy {
            name: name.to_owned(),
            holder,
        }
    })
}

/// What is to be made, and of which template. Makes nothing of the machine's own.
async fn plan(berth: &Berth, request: &Request, progress: &dyn Progress) -> Result<Record> {
    let (mut record, machine) = planned(berth, request, progress).await?;
    if !request.cold {
        record.template = template::choose(berth, &record, &machine, progress).await?;
    }
    Ok(record)
}

/// Makes the machine's folder with its record, its journal and what `more` puts there in it, in one rename: from then
/// on it exists.
pub(super) fn found_folder(
    berth: &Berth,
    record: &Record,
    more: impl FnOnce(&Path) -> store::Result<()>,
) -> Result<()> {
    if record.waits() {
        store::link(&berth.home, &record.name, record.id)?;
    }
    let folder = berth.home.machine(&record.name);
    let draft = berth.home.draft(&record.name);
    // A berth that was killed at this point left one.
    store::remove_folder(&draft)?;
    create_private_folder(&draft.join("vm"))?;
    let drafted = (|| {
        store::write_toml(&draft.join("machine.toml"), record)?;
        let origin = format!("{} {}\n", record.driver, record.id);
        store::write_private(&draft.join("origin"), origin.as_bytes())?;
        more(&draft)?;
        Journal::begin(&draft.join("journal"), "create")?;
        fs::rename(&draft, folder.path()).map_err(store::Error::io(folder.path()))
    })();
    if drafted.is_err() {
        let _ = store::remove_folder(&draft);
        if record.waits() {
            let _ = store::remove_entry(&berth.home.entry(&record.name));
        }
    }
    Ok(drafted?)
}

pub(super) async fn carry_out(
    berth: &Berth,
    record: Record,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<Record> {
    let mut opened = berth.open_record(record).await?;
    opened.machine = berth
        .machine(&opened.record, opened.driver.info(), progress)
        .await?;
    let name = opened.record.name.clone();
    if opened.record.pool.as_ref().is_some_and(|pool| pool.taken) {
        return pool::finish_taking(berth, opened, boot_deadline, progress).await;
    }
    let mut journal = Journal::begin(&opened.folder.journal(), "create")?;

    journal
        .once("keys", async {
            safe_sockets(&opened.machine.sockets)?;
            match opened.driver.info().capabilities.images {
                true => identity::make(&opened.folder, &name),
                // What runs already has keys of its own.
                false => Ok(()),
            }
        })
        .await?;
    let mut rest = None;
    journal
        .once("disk", async {
            // Until the machine is whole, the guest leaves undone what nobody waits for.
            rest = cloned(berth, &mut opened, progress).await?;
            if rest.is_some() {
                return Ok(());
            }
            progress.phase("Creating the machine");
            if opened.record.cloud_init.is_some() {
                seed::write(&opened.folder, &opened.record)?;
            }
            let credentials = match &opened.record.cloud_init {
                _ if !opened.driver.info().capabilities.images => Vec::new(),
                Some(cloud_init) if !cloud_init.credentials => Vec::new(),
                _ => identity::credentials(&opened.folder, &name)?,
            };
            if opened.record.recovered.is_some() {
                lost::power_off(&opened, boot_deadline, progress).await?;
                let key = identity::public_key(&opened.folder)?;
                let credentials = lost::credentials(credentials, &key);
                let made = opened
                    .driver
                    .create(&opened.machine, &credentials, progress);
                return made.await.map_err(Error::driver(&name));
            }
            let Some(origin) = &opened.record.origin else {
                let created = opened
                    .driver
                    .create(&opened.machine, &credentials, progress);
                return created.await.map_err(Error::driver(&name));
            };
            let key = identity::public_key(&opened.folder)?;
            let credentials = clone::first_credentials(credentials, &opened.record, &key);
            clone::copy_disk(berth, origin, &opened.machine, &credentials, progress).await
        })
        .await?;
    lost::keep_note(&opened, progress).await;
    if opened.record.tls.is_some() {
        journal
            .once("tls", tls::prepare(berth, &mut opened.record))
            .await?;
    }
    if !opened.driver.info().capabilities.images {
        adopt::adopt(berth, &mut opened, &mut journal, progress).await?;
        return finish(berth, opened, journal, progress).await;
    }
    let until = power::power_on(&opened, &mut journal, boot_deadline, progress).await?;
    // Not before the end where the engine is still to be installed, and a user to be let in to its group.
    let copy = opened.record.origin.is_some();
    // Its engine is the one that it had.
    let as_it_was = opened.record.recovered.is_some() && opened.record.installed.is_some();
    if !copy && opened.record.engine_socket().is_some() && opened.record.cloud_init.is_none() {
        power::open_endpoint(&opened, &mut journal, progress).await?;
    }
    if !copy && !as_it_was && take_ready_made(berth, &mut opened, &mut journal, progress).await? {
        handed_over(&opened);
    } else {
        let session =
            power::first_connection(&opened, &mut journal, until, boot_deadline, progress).await?;
        if copy {
            let renewing = clone::renew_guest(&opened, &session, progress);
            journal.once("renew", renewing).await?;
        }
        handed_over(&opened);
        if opened.record.cloud_init.is_some() {
            let work = seed::carried_out(&session, &name, boot_deadline, progress);
            journal.once("cloud-init", work).await?;
        }
        // What an image or a computer brought is not replaced by what is only the default.
        let replace = opened.record.engine.channel != DISTRO;
        if !as_it_was {
            install_engine(
                berth,
                &mut opened,
                &session,
                replace,
                &mut journal,
                progress,
            )
            .await?;
        }
        session.disconnect().await;
    }
    finish(berth, opened, journal, progress).await
}

/// Makes the machine from its template, if it has one; `None` if it has none, or had to give it up: then nothing is left
/// of that.
async fn cloned(
    berth: &Berth,
    opened: &mut Opened,
    progress: &dyn Progress,
) -> Result<Option<Rest>> {
    let Some(id) = opened.record.template.clone() else {
        return Ok(None);
    };
    let name = opened.record.name.clone();
    // A create that broke off may have left a guest that is not yet one of its own.
    let removed = opened.driver.remove(&opened.machine).await;
    removed.map_err(Error::driver(&name))?;
    endpoint::gone(opened).await?;
    let credentials = identity::credentials(&opened.folder, &name)?;
    let made = template::clone(berth, opened, &id, &credentials, progress).await;
    let error = match made {
        Ok(rest) => return Ok(Some(rest)),
        Err(error) => error,
    };
    progress.note(&format!("{error}; it is booted instead of cloned"));
    let removed = opened.driver.remove(&opened.machine).await;
    removed.map_err(Error::driver(&name))?;
    endpoint::gone(opened).await?;
    opened.record.template = None;
    opened.record.write(&berth.home)?;
    Ok(None)
}

/// Points this computer's clients at the machine.
async fn finish(
    berth: &Berth,
    opened: Opened,
    mut journal: Journal,
    progress: &dyn Progress,
) -> Result<Record> {
    power::publish(berth, &opened, &mut journal, progress).await?;
    journal.end()?;
    Ok(opened.record)
}

/// The guest has its host key: nothing else needs it any more.
fn handed_over(opened: &Opened) {
    identity::handed_over(&opened.folder);
    if opened.record.cloud_init.is_some()
        && let Err(error) = seed::write(&opened.folder, &opened.record)
    {
        // A key that stays is no harm: the folder is private.
        tracing::debug!("{error}");
    }
}

/// A folder for sockets outside the home lies where others can write: it must be ours alone.
pub(super) fn safe_sockets(folder: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    create_private_folder(folder)?;
    let meta = fs::symlink_metadata(folder).map_err(store::Error::io(folder))?;
    let ours =
        meta.is_dir() && meta.uid() == nix::unistd::getuid().as_raw() && meta.mode() & 0o077 == 0;
    if ours {
        Ok(())
    } else {
        Err(Error::UnsafeFolder(folder.to_owned()))
    }
}
