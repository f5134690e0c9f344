//! `cargo xtask bench`: what berth promises of its speed, measured.
//!
//! A bench is a name, what it measures, and a function; a new one is a file here and a line in [`BENCHES`].

mod cli;
mod clone;
mod cold;
mod exec;
mod first;
mod idle;
mod libvirt;
mod mounts;
mod plugin;
mod pool;
mod provision;
mod pull;
mod rollout;
mod socket;
mod stock;
mod suspend;
mod tls;
mod uml;
mod upgrade;
mod world;

use std::time::Instant;

use anyhow::{Result, bail};
use serde::Serialize;

/// All benches, in the order in which they run.
const BENCHES: &[Bench] = &[
    Bench {
        name: "cli",
        about: "commands with 1,000 machines on disk",
        run: cli::run,
    },
    Bench {
        name: "plugin",
        about: "a listing of 200 machines of one plugin",
        run: plugin::run,
    },
    Bench {
        name: "exec",
        about: "one command on 10 to 1,000 hosts, against ssh, parallel-ssh, pyinfra and Ansible",
        run: exec::run,
    },
    Bench {
        name: "rollout",
        about: "a rollout in batches, against its slowest machines' own times",
        run: rollout::run,
    },
    Bench {
        name: "cold",
        about: "a cold create against the bare floor, and the boot against Debian's own",
        run: cold::run,
    },
    Bench {
        name: "suspend",
        about: "suspending and resuming a machine against booting it",
        run: suspend::run,
    },
    Bench {
        name: "clone",
        about: "clones of a template against cold creates",
        run: clone::run,
    },
    Bench {
        name: "pool",
        about: "machines from a pool against cold creates",
        run: pool::run,
    },
    Bench {
        name: "socket",
        about: "the engine's socket, the supervisor and the program's size",
        run: socket::run,
    },
    Bench {
        name: "tls",
        about: "the TLS endpoint against the unix socket",
        run: tls::run,
    },
    Bench {
        name: "provision",
        about: "installing an engine in a bare machine, against doing it by hand",
        run: provision::run,
    },
    Bench {
        name: "upgrade",
        about: "how long an engine is away while it is upgraded, against the package manager alone",
        run: upgrade::run,
    },
    Bench {
        name: "pull",
        about: "taking an image from a server, against curl and sha512sum",
        run: pull::run,
    },
    Bench {
        name: "mounts",
        about: "folders of this computer in a machine, against its own disk and a plain sshfs",
        run: mounts::run,
    },
    Bench {
        name: "uml",
        about: "User Mode Linux against software emulation and the host",
        run: uml::run,
    },
    Bench {
        name: "libvirt",
        about: "a create by libvirt against the QEMU driver's",
        run: libvirt::run,
    },
    Bench {
        name: "idle",
        about: "what twenty idle machines cost",
        run: idle::run,
    },
    Bench {
        name: "first",
        about: "a newcomer's first command on a fresh clone",
        run: first::run,
    },
];

/// One bench.
pub struct Bench {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// Measures it.
    pub run: fn() -> Result<Vec<Figure>>,
}

/// One measured figure.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// How much.
    pub value: f64,
    /// Of what: `s`, `ms`, `MB`, `×`.
    pub unit: &'static str,
    /// The promise, such as `≤ 1.15`, if there is one.
    pub target: Option<String>,
    /// Whether it is kept.
    pub kept: Option<bool>,
}

/// A figure without a promise.
fn plain(what: impl Into<String>, value: f64, unit: &'static str) -> Figure {
    Figure {
        what: what.into(),
        value,
        unit,
        target: None,
        kept: None,
    }
}

/// A figure that must not be more than `bound`.
fn at_most(what: impl Into<String>, value: f64, unit: &'static str, bound: f64) -> Figure {
    Figure {
        target: Some(format!("≤ {bound}")),
        kept: Some(value <= bound),
        ..plain(what, value, unit)
    }
}

/// A figure that must not be less than `bound`.
fn at_least(what: impl Into<String>, value: f64, unit: &'static str, bound: f64) -> Figure {
    Figure {
        target: Some(format!("≥ {bound}")),
        kept: Some(value >= bound),
        ..plain(what, value, unit)
    }
}

/// What is to be measured.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One bench only
    name: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Measured {
    bench: &'static str,
    about: &'static str,
    seconds: f64,
    figures: Vec<Figure>,
}

/// Runs the benches and prints what they found.
///
/// # Errors
/// If there is no bench of that name, or one fails.
pub fn run(args: &Args) -> Result<()> {
    let mut measured = Vec::new();
    for bench in chosen(BENCHES, args.name.as_deref())? {
        eprintln!("==> {}: {}", bench.name, bench.about);
        let begun = Instant::now();
        let figures = (bench.run)()?;
        measured.push(Measured {
            bench: bench.name,
            about: bench.about,
            seconds: begun.elapsed().as_secs_f64(),
            figures,
        });
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&measured)?);
        return Ok(());
    }
    for bench in &measured {
        println!("{} ({:.0} s): {}", bench.bench, bench.seconds, bench.about);
        for figure in &bench.figures {
            println!("  {}", describe(figure));
        }
    }
    Ok(())
}

fn chosen<'a>(benches: &'a [Bench], name: Option<&str>) -> Result<Vec<&'a Bench>> {
    let chosen: Vec<&Bench> = benches
        .iter()
        .filter(|bench| name.is_none_or(|name| name == bench.name))
        .collect();
    match name {
        Some(name) if chosen.is_empty() => {
            let known: Vec<&str> = benches.iter().map(|bench| bench.name).collect();
            bail!("there is no bench {name}; there are: {}", known.join(", "))
        }
        _ => Ok(chosen),
    }
}

fn describe(figure: &Figure) -> String {
    let mut line = format!(
        "{:<40} {:>10.2} {:<4}",
        figure.what, figure.value, figure.unit
    );
    if let Some(target) = &figure.target {
        line.push_str(&format!(" {target}"));
    }
    match figure.kept {
        Some(true) => line.push_str("  ok"),
        Some(false) => line.push_str("  MISSED"),
        None => {}
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bench_is_found_by_its_name() -> Result<()> {
        let nothing = || Ok(Vec::new());
        let benches = ["one", "two"].map(|name| Bench {
            name,
            about: "",
            run: nothing,
        });
        assert_eq!(chosen(&benches, None)?.len(), 2);
        assert_eq!(chosen(&benches, Some("two"))?[0].name, "two");
        assert!(chosen(&benches, Some("three")).is_err());
        Ok(())
    }
}
