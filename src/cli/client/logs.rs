//! `berth logs --container`

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Context, Result};
use berth_provision::engine::{ContainerRow, Engine, LogWish};
use futures_util::future::join_all;
use tokio::io::duplex;

use super::super::error::NotFound;
use super::super::exec::lines::{self, Lines};
use super::super::exec::text::Shown;
use super::super::report;
use super::Asking;
use crate::fleet::{Stop, fits, is_pattern};
use crate::machine::{self, Berth, reach_engine};

/// What waits between an engine and the printing of lines, in bytes.
const PIPE: usize = 32 << 10;

/// Which containers, and which part of what they write.
pub struct Wish<'a> {
    /// A name, a pattern, or the beginning of an id.
    pub container: &'a str,
    /// Go on with what comes.
    pub follow: bool,
    /// The last so many lines.
    pub tail: Option<u32>,
}

/// Prints what containers of many machines write, each line behind its machine's and container's name.
pub async fn run(berth: &Berth, asking: &Asking, wish: &Wish<'_>) -> Result<ExitCode> {
    let names = asking.machines(berth).await?;
    let found = asking.ask(berth, &names, async |engine| {
        let mut all = engine.containers(true).await?;
        all.retain(|container| is_meant(wish.container, container));
        Ok(all)
    });
    let found = found.await;
    if found.rows.is_empty() && found.failures.is_empty() {
        let pattern = wish.container;
        return Err(NotFound(format!("no container {pattern} on {}", names.join(", "))).into());
    }
    let stop = Stop::default();
    let shown = (
        Shown {
            terminal: std::io::stdout().is_terminal(),
        },
        Shown {
            terminal: std::io::stderr().is_terminal(),
        },
    );
    let (lines, printing) = lines::printer(shown, stop.clone());
    let log = LogWish {
        follow: wish.follow,
        tail: wish.tail,
        patience: asking.timeout,
    };
    let one = async |machine: &str, container: &ContainerRow| {
        let engine = reach_engine(berth, machine, asking.timeout).await?;
        let copied = copy(&engine, machine, container, &log, &lines).await;
        copied.map_err(machine::Error::provision(machine))
    };
    let all = join_all(found.rows.iter().map(|of| async {
        let outcome = one(&of.machine, &of.row).await;
        // Told at once: the others may go on for days.
        outcome.err().inspect(|error| {
            report::print(&anyhow::anyhow!("{error}"));
        })
    }));
    let failed = tokio::select! {
        ended = all => ended.into_iter().flatten().count() > 0,
        // Nobody reads any more.
        () = stop.running.cancelled() => false,
    };
    drop(lines);
    let printed = printing.await.context("the printer of lines ended early")?;
    match printed {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    let code = found.end();
    Ok(match failed {
        true => ExitCode::from(super::PARTLY_FAILED),
        false => code,
    })
}

async fn copy(
    engine: &Engine,
    machine: &str,
    container: &ContainerRow,
    wish: &LogWish,
    lines: &Lines,
) -> berth_provision::Result<()> {
    let prefix = format!("{machine}/{}", container.name);
    let (stdout, out) = duplex(PIPE);
    let (stderr, err) = duplex(PIPE);
    let copying = engine.logs(&container.id, wish, stdout, stderr);
    let (copied, (), ()) = tokio::join!(
        copying,
        lines.pump(&prefix, false, out),
        lines.pump(&prefix, true, err)
    );
    copied
}

fn is_meant(wanted: &str, container: &ContainerRow) -> bool {
    match is_pattern(wanted) {
        true => fits(wanted, &container.name),
        false => {
            container.name == wanted || (wanted.len() >= 4 && container.id.starts_with(wanted))
        }
    }
}
