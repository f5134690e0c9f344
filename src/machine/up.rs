//! A machine's way up: powered on, answering, published on this computer.

use std::time::Duration;

use berth_driver_api::{Progress, State};
use berth_provision::ssh::Session;
use tokio::time::Instant;

use super::adopt::power as adopted;
use super::journal::Journal;
use super::operation::SSH_DEADLINE;
use super::{Berth, Error, Opened, Result, endpoint, greeting, mounts, note};
use crate::context::ssh_config;
use crate::store;

/// How long an engine may take to answer once SSH does; under emulation it starts in half a minute.
const ENGINE_DEADLINE: Duration = Duration::from_secs(180);

/// Powers a machine on, or has one that runs already answer, and brings what this computer has of it up with it.
///
/// # Errors
/// If a step fails.
pub(super) async fn bring_up(
    berth: &Berth,
    opened: &Opened,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<()> {
    let mut journal = Journal::begin(&opened.folder.journal(), "start")?;
    let until = match opened.driver.info().capabilities.power {
        true => power_on(opened, &mut journal, boot_deadline, progress).await?,
        false => adopted::answers(opened, &mut journal, progress).await?,
    };
    if opened.record.installed.is_none() {
        // Otherwise the supervisor's connection is the proof that the machine answers: a handshake costs seconds
        // under emulation.
        let session =
            first_connection(opened, &mut journal, until, boot_deadline, progress).await?;
        session.disconnect().await;
    }
    publish(berth, opened, &mut journal, progress).await?;
    Ok(journal.end()?)
}

/// Starts the VM and waits until the guest says that it listens; returns when it has to answer at the latest.
pub(super) async fn power_on(
    opened: &Opened,
    journal: &mut Journal,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<Instant> {
    let until = Instant::now() + boot_deadline;
    switch_on(opened, journal, progress).await?;
    let Err(error) = wait_ready(opened, journal, until, boot_deadline, progress).await else {
        return Ok(until);
    };
    // Hypervisors have faults that strike once in many boots, such as QEMU's issue 1921 under emulation: a VM that
    // died while it booted, without anybody asking it to, is given one more try.
    let state = opened.driver.state(&opened.machine).await;
    if !matches!(error, Error::Driver { .. }) || !matches!(state, Ok(State::Stopped)) {
        return Err(error);
    }
    progress.note(&format!("{error}; it is started once more"));
    switch_on(opened, journal, progress).await?;
    wait_ready(opened, journal, until, boot_deadline, progress).await?;
    Ok(until)
}

async fn switch_on(opened: &Opened, journal: &mut Journal, progress: &dyn Progress) -> Result<()> {
    journal
        .always("power", async {
            progress.phase("Starting");
            opened
                .driver
                .start(&opened.machine, progress)
                .await
                .map_err(Error::driver(&opened.record.name))
        })
        .await
}

async fn wait_ready(
    opened: &Opened,
    journal: &mut Journal,
    until: Instant,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<()> {
    let name = &opened.record.name;
    journal
        .always("boot", async {
            progress.phase("Booting");
            tokio::time::timeout_at(until, greeting::ready(opened))
                .await
                .map_err(|_| Error::NoAnswer {
                    machine: name.clone(),
                    deadline: boot_deadline,
                    last: "the guest never said that its SSH server listens".into(),
                    console: opened.console_tail(),
                })?
                .map_err(Error::driver(name))
        })
        .await
}

/// Connects to a machine that was just powered on.
pub(super) async fn first_connection(
    opened: &Opened,
    journal: &mut Journal,
    until: Instant,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<Session> {
    journal
        .always("connect", async {
            progress.phase("Connecting");
            let left = until.saturating_duration_since(Instant::now());
            // The guest said that it listens: it is not refused for having said so late.
            let deadline = left.max(SSH_DEADLINE.min(boot_deadline));
            // From now on `berth ssh` can look into what fails.
            write_ssh_config(opened).await?;
            let target = opened.target().await?;
            tokio::select! {
                session = Session::connect(&target, deadline) => {
                    session.map_err(|source| match source {
                        // It is not the machine that did not let us in.
                        source @ berth_provision::Error::JumpHost { .. } => {
                            Error::provision(&opened.record.name)(source)
                        }
                        source => Error::NoAnswer {
                            machine: opened.record.name.clone(),
                            deadline: boot_deadline,
                            last: source.to_string(),
                            console: opened.console_tail(),
                        },
                    })
                }
                died = death(opened) => Err(Error::driver(&opened.record.name)(died)),
            }
        })
        .await
}

/// Returns if the machine stops: nobody has to wait for an answer of one that is off.
async fn death(opened: &Opened) -> berth_driver_api::Error {
    match opened.driver.wait_stopped(&opened.machine).await {
        Ok(why) => berth_driver_api::Error::failed(
            "the machine stopped before it was ready",
            why.unwrap_or_else(|| opened.console_tail()),
        ),
        // What becomes of the machine cannot be told, so whether it answers is all that counts.
        Err(_) => std::future::pending().await,
    }
}

/// Writes the machine's part of ssh's configuration.
pub(super) async fn write_ssh_config(opened: &Opened) -> Result<()> {
    let block = ssh_config::block(&opened.record.name, &opened.target().await?);
    Ok(store::write_private(
        &opened.folder.ssh_config(),
        block.as_bytes(),
    )?)
}

/// The endpoint on this computer, the docker context, and the ssh configuration.
pub(super) async fn publish(
    berth: &Berth,
    opened: &Opened,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<()> {
    write_ssh_config(opened).await?;
    note::keep(opened, progress).await;
    if opened.record.installed.is_some() {
        open_endpoint(opened, journal, progress).await?;
        journal
            .always("context", async { berth.write_contexts(&opened.record) })
            .await?;
        journal
            .always("engine", async {
                progress.phase("Waiting for the engine");
                endpoint::engine_answers(opened, ENGINE_DEADLINE).await
            })
            .await?;
    } else if opened.record.is_supervised() {
        open_endpoint(opened, journal, progress).await?;
    }
    if !opened.record.mounts.is_empty() {
        let mounting = mounts::bring_up(berth, opened, progress);
        journal.always("mounts", mounting).await?;
    }
    Ok(())
}

/// Starts the supervisor, which connects while other things go on.
pub(super) async fn open_endpoint(
    opened: &Opened,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<()> {
    journal
        .always("endpoint", async {
            progress.phase("Opening the endpoint");
            endpoint::ensure(opened).await
        })
        .await
}
