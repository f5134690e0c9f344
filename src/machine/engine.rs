//! A machine's engine: taken as the image brought it, or brought to what is asked for over SSH.

use std::time::Duration;

use berth_driver_api::Progress;
use berth_provision::ssh::Session;

use super::journal::Journal;
use super::{Berth, EngineWish, Error, Installed, Opened, Record, Result, endpoint, power};

/// How long an engine that the image brought may take to answer, from the moment that the guest's SSH server listens.
const READY_MADE_DEADLINE: Duration = Duration::from_secs(60);

/// Brings a machine's engine to what its record asks for, or to `engine` from now on; what is done already is left
/// alone.
///
/// # Errors
/// If the machine does not run or a step fails.
pub async fn provision(
    berth: &Berth,
    name: &str,
    engine: Option<EngineWish>,
    progress: &dyn Progress,
) -> Result<Record> {
    berth.record(name)?;
    let doing = format!("provision {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let mut opened = berth.open(name).await?;
    power::must_run(&opened).await?;
    if let Some(engine) = engine {
        check_engine(&engine)?;
        opened.record.engine = engine;
        opened.record.write(&berth.home)?;
    }
    let mut journal = Journal::begin(&opened.folder.journal(), "provision")?;
    let session = opened.connect(power::SSH_DEADLINE).await?;
    install_engine(berth, &mut opened, &session, &mut journal, progress).await?;
    power::publish(berth, &opened, &mut journal, progress).await?;
    journal.end()?;
    Ok(opened.record)
}

pub(super) fn check_engine(engine: &EngineWish) -> Result<()> {
    let bad = |what: &str, reason: String| {
        Err(Error::BadRequest {
            what: what.to_owned(),
            reason,
        })
    };
    match (engine.kind.as_str(), engine.channel.as_str()) {
        ("docker" | "none", "distro") => Ok(()),
        ("docker" | "none", channel) => bad(
            "--channel",
            format!("{channel:?} is no channel: use distro"),
        ),
        (kind, _) => bad(
            "--engine",
            format!("{kind:?} is no engine: use docker or none"),
        ),
    }
}

/// Records the engine that the image brought; false if there is none, or it is not what was asked for.
pub(super) async fn take_ready_made(
    berth: &Berth,
    opened: &mut Opened,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<bool> {
    let Some(installed) = ready_made(berth, opened, progress).await? else {
        return Ok(false);
    };
    opened.record.installed = Some(installed);
    opened.record.limits = kernel_limits(berth, &opened.record)?;
    journal
        .always("record", async { opened.record.write(&berth.home) })
        .await?;
    Ok(true)
}

/// The engine that the image brought, if that is what was asked for and it answers: then there is nothing to look at in
/// the guest and nothing to do there, and the supervisor's connection is the only one.
async fn ready_made(
    berth: &Berth,
    opened: &Opened,
    progress: &dyn Progress,
) -> Result<Option<Installed>> {
    let record = &opened.record;
    let (Some(image), Some(socket)) = (&record.image, record.engine_socket()) else {
        return Ok(None);
    };
    let image = berth.stored_image(&image.digest)?;
    let wish = &record.engine;
    let brings = |engine: &berth_images::Engine| engine.kind == wish.kind;
    let as_it_is = wish.version.is_none() && wish.channel == "distro" && record.settings.is_empty();
    if !as_it_is || !image.engine.as_ref().is_some_and(brings) {
        return Ok(None);
    }
    progress.phase("Starting the engine");
    // An engine that does not come up by itself is provisioning's business: it finds out why.
    let answer = tokio::time::timeout(READY_MADE_DEADLINE, endpoint::first_version(opened)).await;
    let Ok(Ok(version)) = answer else {
        return Ok(None);
    };
    Ok(Some(Installed {
        kind: wish.kind.clone(),
        version,
        socket: socket.to_owned(),
        os: image.os,
    }))
}

/// What a driver's own kernel cannot do, as the image store knows.
fn kernel_limits(berth: &Berth, record: &Record) -> Result<Vec<String>> {
    let Some(kernel) = &record.kernel else {
        return Ok(Vec::new());
    };
    let kernel = berth.stored_image(&kernel.digest)?.kernel;
    Ok(kernel.map(|kernel| kernel.limits).unwrap_or_default())
}

pub(super) async fn install_engine(
    berth: &Berth,
    opened: &mut Opened,
    session: &Session,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<()> {
    let name = opened.record.name.clone();
    let wanted = wanted(&opened.record)?;
    let reached = |title: &str| {
        // A journal that cannot be written fails at the next step's own entry.
        let _ = journal.reached(&format!("provision: {title}"));
    };
    let outcome = berth_provision::provision(session, &wanted, progress, &reached)
        .await
        .map_err(Error::provision(&name));
    let installed = outcome.inspect_err(|error| journal.failed("provision", error))?;
    opened.record.limits = installed.limits;
    opened.record.installed = installed.engine.map(|engine| Installed {
        kind: engine.kind.to_string(),
        version: engine.version,
        socket: engine.socket,
        os: installed.os.pretty_name,
    });
    journal
        .always("record", async { opened.record.write(&berth.home) })
        .await
}

fn wanted(record: &Record) -> Result<berth_provision::Wanted> {
    let wish = &record.engine;
    Ok(berth_provision::Wanted {
        engine: match wish.kind.as_str() {
            "none" => berth_provision::Kind::None,
            _ => berth_provision::Kind::Docker,
        },
        version: wish.version.clone(),
        channel: berth_provision::Channel::Distro,
        settings: record.settings.resolve()?,
    })
}
