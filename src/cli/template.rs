//! `berth template`

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Subcommand, ValueHint};
use jiff::Timestamp;
use serde::Serialize;

use super::error::Usage;
use super::output::{self, Format};
use super::pair::pair;
use super::progress::{Screen, print_timings};
use crate::machine::template::{self, Template};
use crate::machine::{self, Berth, Request, parse_size, show_size};

/// Freeze booted machines, so that `berth create` clones one in seconds instead of booting
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A template fits machines of the same image, CPUs, memory, disk, driver and hypervisor. `berth create` \
                        takes one that fits by itself; `create --cold` never does. Each clone gets randomness, SSH keys, a \
                        machine id, a host name, an engine id and a network address of its own before it is on its network; \
                        if that fails, the machine is booted.\n\n\
                        What clones of one template share: where programs lie in memory (one layout of address space \
                        randomisation, the kernel's too), and pages of this computer's memory, by whose timing one clone may \
                        learn what another one reads. Use --cold for machines whose users must not learn of each other.\n\n\
                        In ~/.config/berth/config.toml:\n  template = \"auto\"          a create that booted a machine leaves a \
                        template of it behind, made in the background at a low priority, where guests run on the CPU \
                        itself [default]\n  template = \"background\"    there too where guests' code is translated, which \
                        takes minutes of the whole computer\n  template = \"always\"        create makes a template that is \
                        missing first, then clones\n  template = \"never\"         only `berth template build` makes them\n  template-space = \"10G\"     what templates may take on disk together \
                        [default: 10G]\n\n\
                        Examples:\n  berth template build -d qemu\n  berth template build -d qemu --image debian-12 --cpus 1 \
                        --memory 1G\n  berth create -d qemu web1 web2 web3\n  berth template ls\n  berth template rm 3f2a"
)]
pub struct Args {
    #[command(subcommand)]
    command: TemplateCommand,
}

#[derive(Debug, Subcommand)]
enum TemplateCommand {
    /// Make the template that machines of this size and image are cloned from, unless it is there
    Build(BuildArgs),
    /// List the templates, the one that was used last at the end
    Ls {
        #[command(flatten)]
        format: Format,
    },
    /// Remove templates that no machine was cloned from
    Rm {
        /// Templates, or the beginnings of their names
        #[arg(required = true, value_name = "TEMPLATE")]
        templates: Vec<String>,
    },
    /// Remove the templates that no machine was cloned from, and what commands left that were killed
    Prune {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,

        /// Keep as much as fits into this, the ones used last
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        keep: Option<u64>,
    },
}

#[derive(Debug, clap::Args)]
struct BuildArgs {
    /// The driver that makes it; auto takes the one under which guests run best here
    #[arg(short, long, env = "BERTH_DRIVER", default_value = machine::AUTO)]
    driver: String,

    /// Virtual CPUs [default: up to 4 of this computer's]
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,

    /// Memory, such as 2G or 512M [default: 2G]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,

    /// Disk, such as 40G [default: the image's own size]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    disk: Option<u64>,

    /// A name from `berth image ls`, or the path of a disk [default: debian-13-docker]
    #[arg(long, value_name = "REF", value_hint = ValueHint::FilePath)]
    image: Option<String>,

    /// A driver option (repeatable); `berth driver ls` lists them
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,

    /// Show where the time went
    #[arg(long)]
    timings: bool,

    /// Nobody waits for it; berth says so itself
    #[arg(long, hide = true)]
    unasked: bool,

    /// Print the template as JSON
    #[arg(long)]
    json: bool,
}

/// A template, as `--json` tells it.
#[derive(Serialize)]
struct Listed {
    id: String,
    image: String,
    engine: Option<String>,
    driver: String,
    cpus: u32,
    memory: u64,
    disk: u64,
    host: BTreeMap<String, String>,
    size: u64,
    created: String,
    used: String,
    clones: Vec<String>,
}

impl Listed {
    fn of(berth: &Berth, template: &Template) -> Result<Self> {
        let manifest = &template.manifest;
        Ok(Listed {
            id: template.id.clone(),
            image: manifest.image.clone(),
            engine: manifest.engine.clone(),
            driver: manifest.key.driver.clone(),
            cpus: manifest.key.cpus,
            memory: manifest.key.memory,
            disk: manifest.key.disk,
            host: manifest.key.host.clone(),
            size: template.size,
            created: manifest.created.to_string(),
            used: Timestamp::try_from(template.used)
                .unwrap_or(manifest.created)
                .to_string(),
            clones: template::users(berth, &template.id)?,
        })
    }
}

/// Carries the subcommand out.
pub async fn run(berth: &Berth, args: Args, screen: &Screen) -> Result<ExitCode> {
    match args.command {
        TemplateCommand::Build(args) => build(berth, args, screen).await?,
        TemplateCommand::Ls { format } => list(berth, &format)?,
        TemplateCommand::Rm { templates } => {
            for id in templates {
                let template = template::find(&berth.home, &id)?;
                template::remove(berth, &template).await?;
                output::line(&template.id)?;
            }
        }
        TemplateCommand::Prune { yes, keep } => {
            if !yes && !confirmed()? {
                eprintln!("nothing was removed");
                return Ok(ExitCode::from(1));
            }
            let removed = template::prune(berth, keep.unwrap_or(0)).await?;
            output::lines(removed.into_iter().map(|template| template.id))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn build(berth: &Berth, args: BuildArgs, screen: &Screen) -> Result<()> {
    let task = screen.task("template");
    let request = Request {
        cpus: args.cpus,
        memory: args.memory,
        disk: args.disk,
        image: args.image,
        options: args.options.into_iter().collect(),
        boot_deadline: super::ASK_DEADLINE,
        cold: true,
        ..Request::plain("template", &args.driver)
    };
    let template = match args.unasked {
        false => template::build(berth, &request, &*task).await?,
        true => template::build_unasked(berth, &request, &*task).await?,
    };
    let times = task.finish();
    screen.clear();
    if args.timings {
        print_timings(&template.id, &times);
    }
    match args.json {
        true => output::line(&serde_json::to_string_pretty(&Listed::of(
            berth, &template,
        )?)?),
        false => output::line(&template.id),
    }
}

fn list(berth: &Berth, format: &Format) -> Result<()> {
    let templates = template::list(&berth.home)?;
    for (id, failure) in template::failures(&berth.home)? {
        eprintln!(
            "template {id} of {} was not made at {}: {}",
            failure.of, failure.at, failure.error
        );
    }
    let listed: Result<Vec<Listed>> = templates
        .iter()
        .map(|template| Listed::of(berth, template))
        .collect();
    format.print(
        &listed?,
        |template| template.id.clone(),
        |templates| {
            let mut table = output::table([
                "TEMPLATE", "DRIVER", "IMAGE", "ENGINE", "CPUS", "MEMORY", "SIZE", "USED", "CLONES",
            ]);
            for template in templates {
                table.add_row([
                    template.id.clone(),
                    template.driver.clone(),
                    template.image.clone(),
                    template.engine.clone().unwrap_or_default(),
                    template.cpus.to_string(),
                    show_size(template.memory),
                    show_size(template.size),
                    // The day is enough for people.
                    template.used.chars().take(10).collect(),
                    template.clones.join(" "),
                ]);
            }
            table
        },
    )
}

fn confirmed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Usage("there is no terminal to ask on: say --yes".into()).into());
    }
    eprint!("Remove the templates that no machine was cloned from? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
