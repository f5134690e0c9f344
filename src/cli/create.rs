//! `berth create`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use berth_images::Checksum;
use clap::ValueHint;
use serde::Serialize;

use super::each::each;
use super::error::Usage;
use super::output;
use super::pair::pair;
use super::progress::{Screen, Timing, print_timings};
use super::settings::SettingsArgs;
use crate::machine::{
    self, Berth, EngineWish, Expiry, MOST_TTL, Mount, Request, TlsWish, check_name, parse_size,
};

/// Make machines: boot them, install an engine, write a docker context for each
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth create web1\n  berth create ci1 ci2 ci3 --cpus 4 --memory 8G -l role=ci\n  \
                        berth create bare --image debian-13 --engine none\n  berth create u1 --image ubuntu-24.04 --cloud-init mine.yaml\n  \
                        berth create old1 -d ssh -o host=old1.example.org       adopt a host that runs already\n  \
                        berth create dev --mount ~/src\n  berth create job7 --ephemeral --ttl 30m                 gone by itself\n  berth create web1 --resume"
)]
pub struct Args {
    /// Names of the machines; several are made in parallel
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,

    #[command(flatten)]
    spec: SpecArgs,

    /// Continue a create that broke off
    #[arg(long)]
    resume: bool,

    /// Print the result as JSON, timings included
    #[arg(long)]
    json: bool,
}

/// What a machine is to be, for `create` and `up`.
#[derive(Debug, Clone, clap::Args)]
pub struct SpecArgs {
    /// The driver that makes it; auto takes the one under which guests run best here
    #[arg(short, long, env = "BERTH_DRIVER", default_value = machine::AUTO)]
    driver: String,

    /// Virtual CPUs [default: up to 4 of this computer's]
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,

    /// Memory, such as 2G or 512M [default: 2G]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,

    /// Disk, such as 40G [default: the image's own size, at least 20G where berth can grow it]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    disk: Option<u64>,

    /// A name from `berth image ls`, the path or https address of a disk such as ./my.qcow2, or an image in a registry such
    /// as oci://ghcr.io/acme/web:1 [default:
    /// debian-13-docker]
    #[arg(long, value_name = "REF", value_hint = ValueHint::FilePath)]
    image: Option<String>,

    /// What the disk at that path or address must be: sha256:… or sha512:…
    #[arg(long, value_name = "DIGEST", requires = "image")]
    digest: Option<Checksum>,

    /// Your own user data for cloud-init, for images that have it, such as a file that begins with #cloud-config
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    cloud_init: Option<PathBuf>,

    /// The container engine: docker, docker@VERSION (26.1: the newest 26.1, held), docker@latest, podman or none
    /// [default: docker, or what an adopted host has]
    #[arg(long, value_name = "KIND[@VERSION]")]
    engine: Option<String>,

    /// Where the engine comes from: distro, upstream (Docker's repositories) or bundle:PATH (files; no network needed)
    /// [default: distro]
    #[arg(long)]
    channel: Option<String>,

    /// Open a TLS endpoint on loopback too, for clients that cannot use a unix socket; `berth certs` has more
    #[arg(long)]
    tls: bool,

    /// A label (repeatable)
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,

    /// A folder of this computer that the machine sees, under the same path if GUEST is not given (repeatable); `berth
    /// mount --help` has more
    #[arg(long = "mount", value_name = "HOST[:GUEST][:ro]", value_hint = ValueHint::DirPath)]
    mounts: Vec<String>,

    /// A driver option (repeatable); `berth driver ls` lists them
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,

    #[command(flatten)]
    settings: SettingsArgs,

    /// How long the guest may take to answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,

    /// Remove it by itself after this time, running or not: 45s, 30m, 12h or 7d
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<Duration>,

    /// Remove it by itself as soon as it is off
    #[arg(long)]
    ephemeral: bool,

    /// Boot it, even if there is a template that it could be cloned from; `berth template --help` has more
    #[arg(long)]
    cold: bool,

    /// Make it, even if one like it waits in a pool; `berth pool --help` has more
    #[arg(long)]
    no_pool: bool,

    /// Show where the time went
    #[arg(long)]
    pub timings: bool,
}

impl SpecArgs {
    /// The request for machine `name`.
    ///
    /// # Errors
    /// If a file of the engine's settings cannot be read.
    pub fn request(&self, name: &str) -> Result<Request> {
        Ok(Request {
            name: name.to_owned(),
            driver: self.driver.clone(),
            cpus: self.cpus,
            memory: self.memory,
            disk: self.disk,
            image: self.image.clone(),
            digest: self.digest.clone(),
            cloud_init: self.cloud_init.clone(),
            engine: EngineWish::parse(
                self.engine.as_deref().unwrap_or("docker"),
                self.channel.as_deref().unwrap_or(machine::DISTRO),
            ),
            engine_named: self.engine.is_some() || self.channel.is_some(),
            tls: self.tls.then(TlsWish::default),
            labels: self.labels.iter().cloned().collect(),
            mounts: self
                .mounts
                .iter()
                .map(|mount| Mount::parse(mount))
                .collect::<Result<_, _>>()?,
            options: self.options.iter().cloned().collect::<BTreeMap<_, _>>(),
            boot_deadline: self.boot_deadline(),
            settings: self.settings.settings()?,
            expiry: Expiry::of(self.ttl, self.ephemeral),
            cold: self.cold,
            no_pool: self.no_pool,
            pool: None,
        })
    }

    /// How long the guest may take to answer.
    pub fn boot_deadline(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// What `create --json` prints for each machine.
#[derive(Serialize)]
struct Made {
    name: String,
    driver: String,
    endpoint: Option<String>,
    seconds: f64,
    timings: Vec<Timing>,
}

/// Makes the machines.
pub async fn run(berth: &Berth, args: Args, screen: &Screen) -> Result<ExitCode> {
    for (at, name) in args.names.iter().enumerate() {
        check_name(name)?;
        if args.names[..at].contains(name) {
            return Err(Usage(format!("{name} is named twice")).into());
        }
    }
    let (made, code) = each(&args.names, screen, |name, task| {
        let args = &args;
        async move {
            let deadline = args.spec.boot_deadline();
            let record = if args.resume {
                machine::resume_create(berth, &name, deadline, &*task).await?
            } else {
                machine::create(berth, &args.spec.request(&name)?, &*task).await?
            };
            let timings = task.finish();
            Ok(Made {
                endpoint: record.installed.as_ref().map(|_| {
                    format!(
                        "unix://{}",
                        berth.home.machine(&name).engine_socket().display()
                    )
                }),
                driver: record.driver,
                seconds: timings.iter().map(|timing| timing.seconds).sum(),
                timings,
                name,
            })
        }
    })
    .await;
    let made: Vec<Made> = made.into_iter().map(|(_, made)| made).collect();
    if args.spec.timings {
        for made in &made {
            print_timings(&made.name, &made.timings);
        }
    }
    if args.json {
        output::line(&serde_json::to_string_pretty(&made)?)?;
    } else {
        output::lines(made.into_iter().map(|made| made.name))?;
    }
    Ok(code)
}

/// Reads a time such as 45s, 30m, 12h or 7d.
fn ttl(text: &str) -> Result<Duration, String> {
    let wrong = || "write 45s, 30m, 12h or 7d, a year at most".to_owned();
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 24 * 3600)];
    let read = units.iter().find_map(|(unit, seconds)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(*seconds)
    });
    match read.map(Duration::from_secs) {
        Some(ttl) if !ttl.is_zero() && ttl <= MOST_TTL => Ok(ttl),
        _ => Err(wrong()),
    }
}
