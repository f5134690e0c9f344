//! Asking a machine what it is like now, where its record only tells what it was last.

use std::time::Duration;

use berth_driver_api::{Size, State};
use berth_provision::engine::Engine;

use super::status::{ask, supervised};
use super::{Berth, Error, Opened, Record, Result, journal};
use crate::supervisor;

/// What a machine turned out to be.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What it does; `None` if that could not be told.
    pub state: Option<State>,
    /// `create` or `rm`, if one broke off.
    pub unfinished: Option<String>,
    /// How large it is, by its hypervisor's word, where its driver could change that.
    pub size: Option<Size>,
    /// The version of the engine that answers, or why none does; `None` if it is not to have one or was not asked.
    pub engine: Option<Result<String, String>>,
    /// What its files lack of the engine's settings in its record; values are not told.
    pub lacking: Vec<String>,
    /// Mounts that it should have and has not, and why.
    pub unmounted: Vec<(String, String)>,
    /// Whether the process beside it is gone.
    pub supervisor_gone: bool,
    /// Why it could not be asked.
    pub trouble: Option<String>,
}

/// Looks at a machine over one connection, within `deadline`. One that does not run is not asked.
pub async fn observe(berth: &Berth, record: &Record, deadline: Duration) -> Seen {
    let mut seen = Seen::default();
    match tokio::time::timeout(deadline, look(berth, record, deadline, &mut seen)).await {
        Ok(()) => {}
        Err(_) => seen.trouble = Some(format!("no answer within {} s", deadline.as_secs_f32())),
    }
    seen
}

async fn look(berth: &Berth, record: &Record, deadline: Duration, seen: &mut Seen) {
    let name = &record.name;
    let folder = berth.home.machine(name);
    match journal::pending(&folder.journal()) {
        Ok(pending) => {
            let operation = pending.map(|pending| pending.operation);
            seen.unfinished = operation.filter(|name| matches!(name.as_str(), "create" | "rm"));
        }
        Err(error) => return seen.trouble = Some(error.to_string()),
    }
    let row = ask(berth, name, deadline).await;
    if matches!(row.state, State::Error | State::Unreachable) {
        return seen.trouble = Some(row.error.unwrap_or_else(|| row.state.to_string()));
    }
    seen.state = Some(row.state);
    if seen.unfinished.is_some() || !matches!(row.state, State::Running | State::Stopped) {
        return;
    }
    let asked = async {
        let opened = berth.open_record(record.clone()).await?;
        seen.size = size(&opened).await?;
        match row.state {
            State::Running => talk(&opened, deadline, seen).await,
            _ => Ok(()),
        }
    };
    if let Err(error) = asked.await {
        return seen.trouble = Some(error.to_string());
    }
    if row.state != State::Running {
        return;
    }
    seen.supervisor_gone = record.is_supervised() && !supervised(&folder);
    let status = supervisor::Status::read(&folder).unwrap_or_default();
    for mount in record.mounts.iter().filter(|_| !seen.supervisor_gone) {
        let row = status.mounts.iter().find(|row| row.guest == mount.guest);
        if row.is_none_or(|row| row.transport.is_none()) {
            let why = row.and_then(|row| row.error.clone());
            let why = why.unwrap_or_else(|| "not mounted".into());
            seen.unmounted.push((mount.guest.clone(), why));
        }
    }
}

async fn size(opened: &Opened) -> Result<Option<Size>> {
    if !opened.driver.info().capabilities.resize {
        return Ok(None);
    }
    let size = opened.driver.size(&opened.machine).await;
    size.map(Some).map_err(Error::driver(&opened.record.name))
}

async fn talk(opened: &Opened, deadline: Duration, seen: &mut Seen) -> Result<()> {
    let record = &opened.record;
    let session = opened.connect(deadline).await?;
    let failed = Error::provision(&record.name);
    if let Some(installed) = &record.installed {
        let version = match Engine::over_ssh(&session, &installed.socket) {
            Ok(engine) => engine.version().await,
            Err(error) => Err(error),
        };
        seen.engine = Some(match version {
            Ok(version) => Ok(version.engine),
            Err(error) => Err(error.to_string()),
        });
        let settings = record.settings.resolve()?;
        if !settings.is_empty() {
            seen.lacking = berth_provision::drift(&session, &settings)
                .await
                .map_err(failed)?;
        }
    }
    session.disconnect().await;
    Ok(())
}
