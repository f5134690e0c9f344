//! Asking machines what they do. Nothing of the answer is ever stored.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_driver_api::State;
use futures_util::future::join_all;
use jiff::Timestamp;
use serde::Serialize;

use super::journal::{self, Pending};
use super::{Berth, EngineWish, Record, Result, adopt};
use crate::store;

/// One machine as `ls` shows it. The field names are those of `berth ls --json` and stable.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The machine's name.
    pub name: String,
    /// Its driver's name.
    pub driver: String,
    /// What it does now.
    pub state: State,
    /// The image's reference.
    pub image: Option<String>,
    /// The engine it has, or is to have.
    pub engine: Option<EngineRow>,
    /// How a client reaches the engine.
    pub endpoint: Option<String>,
    /// Its address: its own one where other machines reach it there, otherwise that at which this computer does.
    pub address: Option<String>,
    /// How ssh reaches it.
    pub ssh: Option<SshRow>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Disk in bytes.
    pub disk: u64,
    /// When it was asked for.
    pub created: Option<Timestamp>,
    /// True if docker's current context is this machine's.
    pub active: bool,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// The engine of a row.
#[derive(Debug, Clone, Serialize)]
pub struct EngineRow {
    /// `docker` or `none`.
    pub kind: String,
    /// The version found last.
    pub version: Option<String>,
}

/// How ssh reaches a machine.
#[derive(Debug, Clone, Serialize)]
pub struct SshRow {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The user that is let in.
    pub user: String,
}

/// What the machine does now, by its driver and by the operation that is under way on it.
///
/// # Errors
/// None are returned as such: trouble is in the row's `error`.
pub async fn ask(berth: &Berth, name: &str, deadline: Duration) -> Row {
    let active = berth.docker.current().ok().flatten();
    ask_one(berth, name, deadline, active.as_deref()).await
}

/// [`ask`] for many, all at once, under one deadline.
pub async fn ask_all(berth: &Berth, names: &[String], deadline: Duration) -> Vec<Row> {
    let active = berth.docker.current().ok().flatten();
    let active = active.as_deref();
    join_all(
        names
            .iter()
            .map(|name| ask_one(berth, name, deadline, active)),
    )
    .await
}

async fn ask_one(berth: &Berth, name: &str, deadline: Duration, active: Option<&str>) -> Row {
    let record = match berth.record(name) {
        Ok(record) => record,
        Err(error) => return unreadable(name, &error),
    };
    let mut row = blank(&record);
    if record.installed.is_some() {
        let socket = berth.home.machine(name).engine_socket();
        row.endpoint = Some(format!("unix://{}", socket.display()));
    }
    row.active = active == Some(name)
        && berth
            .docker
            .find(name)
            .is_ok_and(|context| context.is_some_and(|c| c.machine == Some(record.id)));
    let pending = journal::pending(&berth.home.machine(name).journal());
    match tokio::time::timeout(deadline, power_state(berth, record, deadline, &mut row)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            row.state = State::Error;
            row.error = Some(error.to_string());
        }
        Err(_) => {
            row.state = State::Unreachable;
            row.error = Some(format!("no answer within {} s", deadline.as_secs_f32()));
        }
    }
    match pending {
        Ok(pending) => apply_operations(berth, &mut row, pending.as_ref()),
        Err(error) => row.error = Some(error.to_string()),
    }
    row
}

async fn power_state(
    berth: &Berth,
    record: Record,
    deadline: Duration,
    row: &mut Row,
) -> Result<()> {
    let opened = berth.open_record(record).await?;
    row.state = opened
        .driver
        .state(&opened.machine)
        .await
        .map_err(super::Error::driver(&row.name))?;
    if row.state.is_up()
        && let Ok(address) = opened.address().await
    {
        row.address = Some(address.own.unwrap_or_else(|| address.host.clone()));
        row.ssh = Some(SshRow {
            host: address.host,
            port: address.port,
            user: address.user,
        });
    }
    if row.state == State::Running && !opened.driver.info().capabilities.power {
        (row.state, row.error) = adopt::state(&opened, deadline).await;
    }
    if row.state == State::Running && row.endpoint.is_some() && !supervised(&opened.folder) {
        row.error = Some("its supervisor is gone: `berth start` mends it".into());
    }
    Ok(())
}

pub(super) fn supervised(folder: &crate::store::MachineFolder) -> bool {
    store::holder(&folder.supervisor_lock()).is_some()
}

/// What a living process does to the machine shows as its verb; an operation that broke off shows what it left.
fn apply_operations(berth: &Berth, row: &mut Row, pending: Option<&Pending>) {
    if let Some(holder) = store::holder(&berth.home.lock(&row.name)) {
        match holder.doing.split(' ').next() {
            Some("create") => row.state = State::Creating,
            Some("start" | "restart") => row.state = State::Starting,
            Some("resume") => row.state = State::Starting,
            Some("stop" | "kill" | "suspend") => row.state = State::Stopping,
            // Its hypervisor answers to that process only.
            Some("snapshot" | "clone") if row.state == State::Unreachable => {
                (row.state, row.error) = (State::Running, None);
            }
            Some("rm") => row.error = Some("being removed".into()),
            _ => {}
        }
        return;
    }
    // A start that broke off left the machine in a state that the driver told truly.
    if let Some(pending) = pending
        && matches!(
            pending.operation.as_str(),
            "create" | "rm" | "upgrade" | "suspend" | "restore" | "resize"
        )
    {
        if pending.operation == "create" {
            row.state = State::Creating;
        }
        row.error = Some(broke_off(pending));
    }
}

fn broke_off(pending: &Pending) -> String {
    let operation = &pending.operation;
    let step = pending.step.as_deref().unwrap_or("its beginning");
    match &pending.failure {
        Some(failure) => format!("{operation} failed at {step}: {failure}"),
        None => format!("{operation} broke off at {step}"),
    }
}

fn blank(record: &Record) -> Row {
    let EngineWish { kind, .. } = &record.engine;
    let installed = record.installed.as_ref();
    Row {
        name: record.name.clone(),
        driver: record.driver.clone(),
        state: State::Stopped,
        image: record.image.as_ref().map(|image| image.reference.clone()),
        engine: Some(EngineRow {
            kind: installed.map_or(kind, |i| &i.kind).clone(),
            version: installed.map(|i| i.version.clone()),
        }),
        endpoint: None,
        address: None,
        ssh: None,
        labels: record.labels.clone(),
        cpus: record.cpus,
        memory: record.memory,
        disk: record.disk,
        created: Some(record.created),
        active: false,
        error: None,
    }
}

fn unreadable(name: &str, error: &super::Error) -> Row {
    Row {
        name: name.to_owned(),
        driver: String::new(),
        state: State::Error,
        image: None,
        engine: None,
        endpoint: None,
        address: None,
        ssh: None,
        labels: BTreeMap::new(),
        cpus: 0,
        memory: 0,
        disk: 0,
        created: None,
        active: false,
        error: Some(error.to_string()),
    }
}
