//! Changing the version of a machine's engine, with a way back.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use berth_driver_api::{Progress, process};
use berth_provision::upgrade::{self, Plan, Verdict, Watch};
use berth_provision::{Channel, EngineInfo, Kind, Version, Wanted};

use super::engine::{EngineChange, check_engine, wanted};
use super::journal::{Journal, pending};
use super::operation::log_in;
use super::up::publish;
use super::{Berth, DISTRO, EngineWish, Error, Opened, Record, Result};

/// How long a gate may take.
const GATE: Duration = Duration::from_secs(600);

/// What an upgrade is to do.
#[derive(Debug, Clone, Default)]
pub struct UpgradeRequest {
    /// The version: one that begins with this, or `latest`. Without one the newest that the machine's own wish allows.
    pub to: Option<String>,
    /// Another channel from now on.
    pub channel: Option<String>,
    /// A command of this computer's shell that has to succeed on the upgraded machine.
    pub gate: Option<String>,
    /// The package version that comes of it: another one is refused.
    pub exactly: Option<String>,
}

impl UpgradeRequest {
    fn change(&self, record: &Record) -> EngineChange {
        EngineChange {
            engine: self
                .to
                .as_ref()
                .map(|to| format!("{}@{to}", record.engine.kind)),
            channel: self.channel.clone(),
        }
    }

    fn takes_what_is_there(&self, channel: &Channel) -> bool {
        self.to.is_none() && matches!(channel, Channel::Bundle(_))
    }

    async fn wanted(&self, record: &Record) -> Result<Wanted> {
        let wish = self.change(record).of(&record.engine);
        check_engine(&wish).await?;
        let wanted = wanted(&wish)?;
        if wanted.engine == Kind::None {
            return Err(Error::NoEngine(record.name.clone()));
        }
        Ok(Wanted {
            version: match wanted.version {
                // A bundle has one.
                _ if self.takes_what_is_there(&wanted.channel) => Version::Any,
                Version::Any => Version::Latest,
                version => version,
            },
            settings: record.settings.resolve()?,
            ..wanted
        })
    }
}

/// Tells what an upgrade of a running machine would do.
///
/// # Errors
/// What stands in its way.
pub async fn plan_upgrade(
    berth: &Berth,
    name: &str,
    request: &UpgradeRequest,
    progress: &dyn Progress,
) -> Result<Plan> {
    let opened = berth.open(name).await?;
    let wanted = request.wanted(&opened.record).await?;
    let session = log_in(&opened).await?;
    upgrade::plan(&session, &wanted, progress)
        .await
        .map_err(Error::provision(name))
}

/// Upgrades the engine of a running machine, up or down; if it is not well afterwards, the old version is put back. One
/// that broke off is finished.
///
/// # Errors
/// What stood in its way, or why it was taken back.
pub async fn upgrade(
    berth: &Berth,
    name: &str,
    request: &UpgradeRequest,
    progress: &dyn Progress,
) -> Result<Plan> {
    berth.record(name)?;
    let doing = format!("upgrade {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let opened = berth.open(name).await?;
    let wanted = request.wanted(&opened.record).await?;
    let session = log_in(&opened).await?;
    let journal = Journal::begin(&opened.folder.journal(), "upgrade")?;
    // The first step only looks.
    let steps = AtomicUsize::new(0);
    let reached = |title: &str| {
        steps.fetch_add(1, Ordering::Relaxed);
        // A journal that cannot be written fails at the next step's own entry.
        let _ = journal.reached(&format!("upgrade: {title}"));
    };
    let gate = request.gate.clone().map(|command| gate(&opened, command));
    let watch = Watch {
        progress,
        on_step: &reached,
        exactly: request.exactly.as_deref(),
        gate: gate.as_ref().map(|gate| gate as _),
    };
    let outcome = upgrade::upgrade(&session, &wanted, &watch).await;
    let upgraded = match outcome {
        Ok(upgraded) => upgraded,
        Err(error) => {
            let back = matches!(error, berth_provision::Error::RolledBack { .. });
            journal.failed("upgrade", &error);
            if back || steps.into_inner() < 2 {
                journal.end()?;
            }
            return Err(Error::provision(name)(error));
        }
    };
    let plan = upgraded.plan;
    let mut wish = request.change(&opened.record).of(&opened.record.engine);
    if request.takes_what_is_there(&wanted.channel) {
        wish.version = plan.held.then(|| plan.to.clone());
    }
    settle(berth, opened, wish, &upgraded.engine, journal, progress).await?;
    Ok(plan)
}

/// Brings a machine back to the package version that it had before its last upgrade, from what it has kept, and to what was
/// asked for then.
///
/// # Errors
/// If the machine has not kept that version; as [`upgrade`].
pub async fn go_back(
    berth: &Berth,
    name: &str,
    version: &str,
    wish: &EngineWish,
    progress: &dyn Progress,
) -> Result<Plan> {
    berth.record(name)?;
    let doing = format!("upgrade {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let opened = berth.open(name).await?;
    let wanted = wanted_of_kept(&opened.record, wish)?;
    let session = log_in(&opened).await?;
    let journal = Journal::begin(&opened.folder.journal(), "upgrade")?;
    let reached = |title: &str| {
        let _ = journal.reached(&format!("upgrade: {title}"));
    };
    let watch = Watch {
        progress,
        on_step: &reached,
        exactly: None,
        gate: None,
    };
    match upgrade::go_back(&session, &wanted, version, &watch).await {
        Ok(upgraded) => {
            let (wish, engine) = (wish.clone(), &upgraded.engine);
            settle(berth, opened, wish, engine, journal, progress).await?;
            Ok(upgraded.plan)
        }
        Err(error) => {
            journal.failed("upgrade", &error);
            if matches!(
                error,
                berth_provision::Error::RolledBack { .. }
                    | berth_provision::Error::VersionNotOffered { .. }
            ) {
                journal.end()?;
            }
            Err(Error::provision(name)(error))
        }
    }
}

/// What provisioning is to be told of a wish that is met by what the machine has kept: the bundle that it came from need
/// not be there any more.
fn wanted_of_kept(record: &Record, wish: &EngineWish) -> Result<Wanted> {
    Ok(Wanted {
        settings: record.settings.resolve()?,
        ..wanted(&EngineWish {
            channel: DISTRO.to_owned(),
            ..wish.clone()
        })?
    })
}

/// Records what the machine has now, and has clients reach it.
async fn settle(
    berth: &Berth,
    mut opened: Opened,
    wish: EngineWish,
    engine: &EngineInfo,
    mut journal: Journal,
    progress: &dyn Progress,
) -> Result<()> {
    opened.record.engine = wish;
    note(&mut opened.record, engine);
    journal
        .always("record", async { opened.record.write(&berth.home) })
        .await?;
    publish(berth, &opened, &mut journal, progress).await?;
    Ok(journal.end()?)
}

/// True if an upgrade of the machine broke off.
///
/// # Errors
/// If there is no such machine, or its journal cannot be read.
pub fn upgrade_broke_off(berth: &Berth, name: &str) -> Result<bool> {
    berth.record(name)?;
    let pending = pending(&berth.home.machine(name).journal())?;
    Ok(pending.is_some_and(|pending| pending.operation == "upgrade"))
}

/// Takes an upgrade back that broke off; `None` if there is none.
///
/// # Errors
/// If the old version cannot be put back.
pub async fn roll_back(berth: &Berth, name: &str, progress: &dyn Progress) -> Result<Option<Plan>> {
    berth.record(name)?;
    let doing = format!("upgrade {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let opened = berth.open(name).await?;
    let wanted = wanted_of_kept(&opened.record, &opened.record.engine)?;
    let session = log_in(&opened).await?;
    let journal = Journal::begin(&opened.folder.journal(), "upgrade")?;
    let reached = |title: &str| {
        let _ = journal.reached(&format!("upgrade: {title}"));
    };
    let watch = Watch {
        progress,
        on_step: &reached,
        exactly: None,
        gate: None,
    };
    let plan = upgrade::roll_back(&session, &wanted, &watch)
        .await
        .map_err(Error::provision(name))?;
    journal.end()?;
    Ok(plan)
}

fn note(record: &mut Record, engine: &EngineInfo) {
    if let Some(installed) = &mut record.installed {
        installed.version.clone_from(&engine.version);
        installed.socket.clone_from(&engine.socket);
    }
}

/// Asks a command of this computer's shell whether a machine is well.
///
/// # Errors
/// [`berth_provision::Error::Unhealthy`] if it says no.
pub async fn ask_gate(berth: &Berth, name: &str, command: &str) -> Result<()> {
    let opened = berth.open(name).await?;
    let verdict = gate(&opened, command.to_owned())().await;
    verdict
        .map_err(|detail| berth_provision::Error::Unhealthy {
            host: name.to_owned(),
            detail: format!("the gate says no: {detail}"),
        })
        .map_err(Error::provision(name))
}

/// The user's command, told which machine it is about.
fn gate(opened: &Opened, command: String) -> impl Fn() -> Verdict + Send + Sync + use<> {
    let name = opened.record.name.clone();
    let socket = opened.folder.engine_socket();
    move || {
        let mut shell = tokio::process::Command::new("sh");
        shell
            .args(["-c", &command])
            .env("BERTH_MACHINE", &name)
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            .env_remove("DOCKER_CONTEXT")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Box::pin(async move {
            match tokio::time::timeout(GATE, shell.output()).await {
                Ok(Ok(output)) if output.status.success() => Ok(()),
                Ok(Ok(output)) => {
                    let words = process::last_lines(&output.stderr, 4);
                    let status = output.status;
                    Err(if words.is_empty() {
                        status.to_string()
                    } else {
                        format!("{words} ({status})")
                    })
                }
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {} s", GATE.as_secs())),
            }
        })
    }
}
