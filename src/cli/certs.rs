//! `berth certs`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Result, bail};
use berth_provision::certs::Certificate;
use clap::Subcommand;
use comfy_table::Table;
use jiff::Timestamp;
use serde::Serialize;

use super::each::each;
use super::error::Usage;
use super::output::{self, Format};
use super::progress::Screen;
use crate::fleet::{Selection, pick, select};
use crate::machine::tls::{self, Files, Trust};
use crate::machine::{Berth, TlsWish};
use crate::supervisor;

/// TLS endpoints of machines, and their certificates
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth certs enable web1\n  eval \"$(berth env web1 --tls)\"\n  berth certs ls\n\n\
                        Certificates renew themselves when less than a third of their life is left."
)]
pub struct Args {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// List the CA's certificates and those of machines
    Ls {
        #[command(flatten)]
        selection: Selection,

        #[command(flatten)]
        format: Format,
    },
    /// Open a TLS endpoint for machines' engines, on loopback unless told otherwise
    Enable(EnableArgs),
    /// Close machines' TLS endpoints and remove their certificates
    Disable {
        #[command(flatten)]
        selection: Selection,
    },
    /// Make certificates and keys anew; endpoints serve them at once
    Renew {
        #[command(flatten)]
        selection: Selection,

        /// The CA too, and with it all machines; the old one stays trusted until what it signed has ended
        #[arg(long)]
        ca: bool,

        /// Trust nothing that the old CA signed: for keys that others may have
        #[arg(long, requires = "ca")]
        revoke: bool,
    },
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Only clients with a certificate of the machine are let in.\n\nExamples:\n  berth certs enable web1\n  \
                        berth certs enable web1 --address 0.0.0.0:2376 --host build.example.org\n  \
                        berth certs enable old1 --by-engine --address 10.3.0.7 --host old1.example.org"
)]
struct EnableArgs {
    #[command(flatten)]
    selection: Selection,

    /// Where to listen [default: 127.0.0.1 and a port of berth's choice]
    #[arg(long, value_name = "IP[:PORT]", value_parser = address)]
    address: Option<SocketAddr>,

    /// A name or address that clients reach it by, for the certificate (repeatable); the first is in its URL
    #[arg(long = "host", value_name = "HOST", value_parser = host)]
    hosts: Vec<String>,

    /// Let the engine of an adopted host end TLS itself, on the host [default address: 0.0.0.0:2376]; the engine is
    /// restarted, its containers too unless it has live-restore, and its certificates do not renew themselves
    #[arg(long)]
    by_engine: bool,

    /// Let docker's context of the machine go over TLS too
    #[arg(long)]
    context: bool,
}

/// A certificate as it is listed.
#[derive(Serialize)]
struct Listed {
    /// The machine's name; none for a CA.
    machine: Option<String>,
    /// `ca`, `old ca`, `server` or `client`.
    role: &'static str,
    subject: String,
    issuer: String,
    serial: String,
    names: Vec<String>,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    days_left: u64,
    file: std::path::PathBuf,
}

/// Carries the subcommand out.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    match &args.command {
        CertsCommand::Ls { selection, format } => {
            let names = pick(berth, selection, super::ASK_DEADLINE).await?;
            format.print(&listed(berth, &names)?, |each| each.subject.clone(), table)?;
            Ok(ExitCode::SUCCESS)
        }
        CertsCommand::Enable(args) => enable(berth, args, screen).await,
        CertsCommand::Disable { selection } => {
            super::require_selection(selection)?;
            let names = select(berth, selection, super::ASK_DEADLINE).await?;
            let (done, code) = each(&names, screen, async |name: String, task| {
                tls::disable(berth, &name, &*task).await?;
                settled(berth, &name).await
            })
            .await;
            output::lines(done.into_iter().map(|(name, ())| name))?;
            Ok(code)
        }
        CertsCommand::Renew {
            selection,
            ca,
            revoke,
        } => renew(berth, selection, *ca, *revoke, screen).await,
    }
}

async fn enable(berth: &Berth, args: &EnableArgs, screen: &Screen) -> Result<ExitCode> {
    super::require_selection(&args.selection)?;
    let names = select(berth, &args.selection, super::ASK_DEADLINE).await?;
    if names.len() > 1 && args.address.is_some_and(|address| address.port() != 0) {
        return Err(Usage("one port is for one machine only".into()).into());
    }
    let wish = TlsWish {
        listen: args.address.unwrap_or(match args.by_engine {
            true => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            false => TlsWish::default().listen,
        }),
        hosts: args.hosts.clone(),
        by_engine: args.by_engine,
        context: args.context,
    };
    let (done, code) = each(&names, screen, async |name: String, task| {
        let record = tls::enable(berth, &name, wish.clone(), &*task).await?;
        settled(berth, &name).await?;
        Ok(tls::wish(&record)?.url())
    })
    .await;
    output::lines(done.into_iter().map(|(_, url)| url))?;
    Ok(code)
}

/// Waits until the machine's supervisor, if it has one, does as the record and the files say.
async fn settled(berth: &Berth, name: &str) -> Result<()> {
    let folder = berth.home.machine(name);
    let wanted = match berth.record(name)?.tls {
        Some(wish) if !wish.by_engine => {
            let shown = Files::read(&folder)?.and_then(|files| tls::certificate(&files.server));
            shown.map(|shown| (wish.listen, shown.serial))
        }
        _ => None,
    };
    if let Err(trouble) = supervisor::tls_settles(&folder, wanted).await {
        bail!("machine {name}: {trouble}");
    }
    Ok(())
}

async fn renew(
    berth: &Berth,
    selection: &Selection,
    ca: bool,
    revoke: bool,
    screen: &Screen,
) -> Result<ExitCode> {
    let names = if ca {
        if !selection.is_empty() {
            return Err(Usage("a CA is renewed for all machines: name none".into()).into());
        }
        tls::replace_ca(berth, revoke).await?;
        with_tls(berth, berth.home.machine_names()?)
    } else {
        super::require_selection(selection)?;
        select(berth, selection, super::ASK_DEADLINE).await?
    };
    let (done, code) = each(&names, screen, async |name: String, task| {
        tls::renew(berth, &berth.record(&name)?, &*task).await?;
        settled(berth, &name).await
    })
    .await;
    output::lines(done.into_iter().map(|(name, ())| name))?;
    Ok(code)
}

fn with_tls(berth: &Berth, mut names: Vec<String>) -> Vec<String> {
    names.retain(|name| berth.record(name).is_ok_and(|record| record.tls.is_some()));
    names
}

fn listed(berth: &Berth, names: &[String]) -> Result<Vec<Listed>> {
    let mut listed = Vec::new();
    if let Some(trust) = Trust::read(&berth.home)? {
        let file = berth.home.ca().join("ca.pem");
        for (at, certificate) in trust.certificates().iter().enumerate() {
            let role = if at == 0 { "ca" } else { "old ca" };
            listed.push(row(None, role, certificate, &file));
        }
    }
    for name in with_tls(berth, names.to_vec()) {
        let folder = berth.home.machine(&name);
        let Some(files) = Files::read(&folder)? else {
            continue;
        };
        for (role, pair, file) in [
            ("server", &files.server, "server.pem"),
            ("client", &files.client, "cert.pem"),
        ] {
            if let Some(certificate) = tls::certificate(pair) {
                let file = folder.tls().join(file);
                listed.push(row(Some(&name), role, &certificate, &file));
            }
        }
    }
    Ok(listed)
}

fn row(
    machine: Option<&str>,
    role: &'static str,
    certificate: &Certificate,
    file: &std::path::Path,
) -> Listed {
    let left = certificate.not_after.duration_since(SystemTime::now());
    Listed {
        machine: machine.map(str::to_owned),
        role,
        subject: certificate.common_name().to_owned(),
        issuer: certificate.issuer.clone(),
        serial: certificate.serial.clone(),
        names: certificate.names.clone(),
        not_before: certificate.not_before.try_into().ok(),
        not_after: certificate.not_after.try_into().ok(),
        days_left: left.unwrap_or_default().as_secs() / (24 * 3600),
        file: file.to_owned(),
    }
}

fn table(rows: &[Listed]) -> Table {
    let mut table = output::table(["MACHINE", "ROLE", "SUBJECT", "UNTIL", "DAYS"]);
    for row in rows {
        let until = row.not_after.map(|until| until.strftime("%F").to_string());
        table.add_row([
            row.machine.clone().unwrap_or_default(),
            row.role.to_owned(),
            row.subject.clone(),
            until.unwrap_or_default(),
            row.days_left.to_string(),
        ]);
    }
    table
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let ip = text.trim_start_matches('[').trim_end_matches(']');
    match (text.parse(), ip.parse::<IpAddr>()) {
        (Ok(address), _) => Ok(address),
        (_, Ok(ip)) => Ok(SocketAddr::new(ip, 0)),
        _ => Err("write an IP address, with a port if you like: 127.0.0.1, [::1]:2376".into()),
    }
}

/// What a certificate can name: an IP address or a DNS name.
fn host(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.len() <= 63 && label.chars().all(plain)
    };
    let name = text.len() <= 253 && text.split('.').all(label);
    match text.parse::<IpAddr>() {
        Ok(ip) => Ok(ip.to_string()),
        Err(_) if name => Ok(text.to_ascii_lowercase()),
        Err(_) => Err("write a DNS name or an IP address".into()),
    }
}
