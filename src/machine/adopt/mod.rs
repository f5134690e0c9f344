//! Hosts that run already: who they are, how berth gets in, and what it leaves of itself there.

mod host_key;
mod login;
pub(super) mod power;

pub use host_key::{HostKeys, accept_host_key, host_keys};
pub(super) use login::{log_in, release};
pub(super) use power::state;

use std::time::Duration;

use berth_driver_api::{Access, Info, Progress};
use berth_provision::ssh::Session;
use berth_provision::{Kind, recognise, size};

use super::engine::{install_engine, wanted};
use super::journal::Journal;
use super::up::write_ssh_config;
use super::{Berth, DISTRO, Error, Installed, Opened, Request, Result};

/// How long a host that runs may take to show its key.
const HOST_KEY_DEADLINE: Duration = Duration::from_secs(20);

/// Refuses wishes that nobody can grant to a host that runs already.
///
/// # Errors
/// [`Error::BadRequest`] with the flag.
pub(super) fn check_wishes(request: &Request, info: &Info) -> Result<()> {
    if info.capabilities.images {
        return Ok(());
    }
    let asked = [
        ("--cpus", request.cpus.is_some()),
        ("--memory", request.memory.is_some()),
        ("--disk", request.disk.is_some()),
        ("--image", request.image.is_some()),
        ("--cloud-init", request.cloud_init.is_some()),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        None => Ok(()),
        Some((flag, _)) => Err(Error::BadRequest {
            what: flag.into(),
            reason: format!(
                "the {} driver adopts hosts that run already, as they are",
                info.name
            ),
        }),
    }
}

/// Gets to know a host, and brings its engine to what is asked for.
///
/// # Errors
/// Whatever a step fails with; the create is resumable.
pub(super) async fn adopt(
    berth: &Berth,
    opened: &mut Opened,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<()> {
    let name = opened.record.name.clone();
    let access = access(opened).await?;
    journal
        .once("host-key", async {
            host_key::pin(opened, &access, progress).await
        })
        .await?;
    let session = journal
        .always("connect", async {
            progress.phase("Connecting");
            log_in(berth, opened, &access, progress).await
        })
        .await?;
    write_ssh_config(opened).await?;
    let size = size(&session).await.map_err(Error::provision(&name))?;
    let record = &mut opened.record;
    (record.cpus, record.memory, record.disk) = (size.cpus, size.memory, size.disk);
    record.write(&berth.home)?;
    if !keep_engine(berth, opened, &session, journal, progress).await? {
        install_engine(berth, opened, &session, false, journal, progress).await?;
    }
    if opened.record.installed.is_none() {
        progress.note(&format!("{name} is adopted as it is, without an engine"));
    }
    session.disconnect().await;
    Ok(())
}

async fn access(opened: &Opened) -> Result<Access> {
    let name = &opened.record.name;
    let access = opened.driver.access(&opened.machine).await;
    access.map_err(Error::driver(name))?.ok_or_else(|| {
        Error::driver(name)(berth_driver_api::Error::failed(
            format!("the {} driver", opened.record.driver),
            "it neither makes machines nor tells how they are entered",
        ))
    })
}

/// Records an engine that the host has already, if the user asked for nothing else: nothing is installed, started or
/// configured. False if there is none, or it is not what was asked for.
async fn keep_engine(
    berth: &Berth,
    opened: &mut Opened,
    session: &Session,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<bool> {
    let wish = &opened.record.engine;
    let asked = wanted(wish)?;
    let as_it_is =
        wish.version.is_none() && wish.channel == DISTRO && opened.record.settings.is_empty();
    if asked.engine == Kind::None || !as_it_is {
        return Ok(false);
    }
    let kind = opened.record.engine_named.then_some(asked.engine);
    let name = opened.record.name.clone();
    let recognised = recognise(session, kind, progress)
        .await
        .map_err(Error::provision(&name))?;
    let Some(engine) = recognised.machine.engine else {
        return Ok(false);
    };
    progress.note(&format!(
        "{name} has {} {}, which is kept as it is",
        engine.kind, engine.version
    ));
    let record = &mut opened.record;
    record.engine.kind = engine.kind.to_string();
    if let Some(channel) = recognised.channel {
        record.engine.channel = channel.to_string();
    }
    record.limits = recognised.machine.limits;
    record.installed = Some(Installed {
        kind: engine.kind.to_string(),
        version: engine.version,
        socket: engine.socket,
        os: recognised.machine.os.pretty_name,
    });
    journal
        .always("record", async { record.write(&berth.home) })
        .await?;
    Ok(true)
}
