//! How a machine is made once it has a folder: step by step, each in its journal.

use std::time::Duration;

use berth_driver_api::{Progress, Rest};

use super::engine::{install_engine, take_ready_made};
use super::founding::safe_sockets;
use super::journal::Journal;
use super::{
    Berth, DISTRO, Error, Opened, Record, Result, adopt, copy, endpoint, identity, note, pool,
    seed, template, tls, up,
};

/// Makes what the record says, or what is left to make of it.
///
/// # Errors
/// What a step fails with; the same call goes on from there.
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
                power_off(&opened, boot_deadline, progress).await?;
                let key = identity::public_key(&opened.folder)?;
                // It keeps the keys that it let in, in a file of its own.
                let credentials = identity::with_lines(credentials, &identity::lets_in(&key));
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
            let credentials = copy::first_credentials(credentials, &opened.record, &key);
            copy::copy_disk(berth, origin, &opened.machine, &credentials, progress).await
        })
        .await?;
    note::keep(&opened, progress).await;
    if opened.record.tls.is_some() {
        journal
            .once("tls", tls::prepare(berth, &mut opened.record))
            .await?;
    }
    if !opened.driver.info().capabilities.images {
        adopt::adopt(berth, &mut opened, &mut journal, progress).await?;
        return finish(berth, opened, journal, progress).await;
    }
    let until = up::power_on(&opened, &mut journal, boot_deadline, progress).await?;
    // Not before the end where the engine is still to be installed, and a user to be let in to its group.
    let copy = opened.record.origin.is_some();
    // Its engine is the one that it had.
    let as_it_was = opened.record.recovered.is_some() && opened.record.installed.is_some();
    if !copy && opened.record.engine_socket().is_some() && opened.record.cloud_init.is_none() {
        up::open_endpoint(&opened, &mut journal, progress).await?;
    }
    if !copy && !as_it_was && take_ready_made(berth, &mut opened, &mut journal, progress).await? {
        handed_over(&opened);
    } else {
        let session =
            up::first_connection(&opened, &mut journal, until, boot_deadline, progress).await?;
        if copy {
            let renewing = copy::renew_guest(&opened, &session, progress);
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
    up::publish(berth, &opened, &mut journal, progress).await?;
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

/// Powers a machine off that runs since it was lost, so that its guest boots with the new keys.
async fn power_off(opened: &Opened, deadline: Duration, progress: &dyn Progress) -> Result<()> {
    let name = &opened.record.name;
    let failed = || Error::driver(name);
    let state = opened
        .driver
        .state(&opened.machine)
        .await
        .map_err(failed())?;
    if state.is_up() {
        progress.phase("Shutting it down");
        match opened.driver.stop(&opened.machine, deadline).await {
            Err(berth_driver_api::Error::Timeout { .. }) => {
                progress.note("it did not shut down in time and is powered off");
            }
            stopped => return stopped.map_err(failed()),
        }
    }
    opened.driver.kill(&opened.machine).await.map_err(failed())
}
