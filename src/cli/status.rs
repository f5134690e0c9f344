//! `berth status`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::output;
use crate::fleet::{Selection, select};
use crate::machine::{Berth, Expiry, Row, ask_all, show_size};
use crate::supervisor::Status;

/// Tell what machines do now: state, engine, endpoint, published ports
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth status web1\n  berth status -q web1      the state's word only"
)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Print JSON
    #[arg(long, conflicts_with = "quiet")]
    json: bool,

    /// Print the state's word only
    #[arg(short, long)]
    quiet: bool,

    /// How long a machine may take to answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    timeout: f64,
}

#[derive(Serialize)]
struct Full {
    #[serde(flatten)]
    row: Row,
    supervisor: Option<Status>,
    /// When it is removed by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry: Option<Expiry>,
}

/// Tells it.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    super::require_selection(&args.selection)?;
    let deadline = Duration::try_from_secs_f64(args.timeout)?;
    let names = select(berth, &args.selection, deadline).await?;
    let full: Vec<Full> = ask_all(berth, &names, deadline)
        .await
        .into_iter()
        .map(|row| Full {
            supervisor: Status::read(&berth.home.machine(&row.name)),
            expiry: berth.record(&row.name).ok().and_then(|it| it.expiry),
            row,
        })
        .collect();
    if args.json {
        output::line(&serde_json::to_string_pretty(&full)?)?;
    } else if args.quiet {
        output::lines(full.iter().map(|full| full.row.state.to_string()))?;
    } else {
        output::lines(full.iter().map(describe))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(full: &Full) -> String {
    let row = &full.row;
    let mut lines = vec![format!("{}: {}", row.name, row.state)];
    let mut add = |what: &str, value: String| lines.push(format!("  {what:<10} {value}"));
    if let Some(error) = &row.error {
        add("trouble", error.clone());
    }
    add(
        "machine",
        format!(
            "{}, {} {}, {} memory, {} disk",
            row.driver,
            row.cpus,
            if row.cpus == 1 { "CPU" } else { "CPUs" },
            show_size(row.memory),
            show_size(row.disk)
        ),
    );
    if let Some(address) = &row.address
        && row.ssh.as_ref().is_some_and(|ssh| ssh.host != *address)
    {
        add("address", address.clone());
    }
    if let Some(engine) = &row.engine {
        let version = match (&engine.version, engine.kind.as_str()) {
            (Some(version), _) => format!(" {version}"),
            (None, "none") => String::new(),
            (None, _) => " (not installed yet)".into(),
        };
        add("engine", format!("{}{version}", engine.kind));
    }
    if let Some(endpoint) = &row.endpoint {
        add("endpoint", endpoint.clone());
    }
    if let Some(ssh) = &row.ssh {
        add(
            "ssh",
            format!("{}@{} port {}", ssh.user, ssh.host, ssh.port),
        );
    }
    if let Some(expiry) = &full.expiry {
        let at = expiry.at.map(|at| format!("at {at:.0}"));
        let off = expiry.when_off.then(|| "as soon as it is off".to_owned());
        let told: Vec<String> = at.into_iter().chain(off).collect();
        add("goes", format!("by itself, {}", told.join(" or ")));
    }
    if let Some(status) = &full.supervisor {
        if let Some(trouble) = &status.trouble {
            add("link", trouble.clone());
        }
        if let Some(tls) = &status.tls {
            let address = tls.address.map(|address| format!("tcp://{address}"));
            let told = [address, tls.error.clone()].into_iter().flatten();
            add("tls", told.collect::<Vec<_>>().join(": "));
        }
        for mount in &status.mounts {
            let fate = match (&mount.transport, &mount.error) {
                (Some(transport), _) => format!("by {transport}"),
                (None, Some(error)) => format!("not mounted: {error}"),
                (None, None) => "not mounted yet".into(),
            };
            add("mount", format!("{} {fate}", mount.guest));
        }
        for port in &status.ports {
            let fate = match &port.error {
                Some(error) => format!("not forwarded: {error}"),
                None => format!("{} → {}", port.host, port.container),
            };
            add(
                "port",
                format!("{}/{} {fate}", port.guest_port, port.protocol),
            );
        }
    }
    lines.join("\n")
}
