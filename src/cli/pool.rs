//! `berth pool`

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use futures_util::future::join_all;
use serde::Serialize;

use super::create::SpecArgs;
use super::each::each;
use super::output::{self, Format};
use super::progress::Screen;
use crate::machine::pool::{self, Failure, Pool, REFILL};
use crate::machine::{Berth, show_size};
use crate::store;

/// Keep machines ready, so that `berth create` only has to name one
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A `berth create` that asks for what a pool's machines are (the same driver, image, CPUs, memory, disk, \
                        engine and its settings, and options) takes one that waits there: it gets its name, its contexts \
                        and its labels, and nothing is booted. Another is made in its place, in the background. Where no \
                        machine is ready, or one does not answer, the create makes its own as ever; `create --cold` and \
                        `create --no-pool` always do. Machines with --mount, --tls or --cloud-init are not taken from pools.\n\n\
                        Machines that wait have host keys, machine ids and engines of their own. They are called wt--POOL-…, \
                        which no machine of yours can be, and only `berth ls --waiting` lists them. Memory and disk are taken \
                        all the while: `berth pool ls` tells how much.\n\n\
                        Examples:\n  berth pool set ci --ready 2\n  berth pool set ci --ready 4 -d uml --cpus 2 --memory 1G --wait\n  \
                        berth create job1 -d uml --cpus 2 --memory 1G --ephemeral\n  berth pool ls\n  berth pool rm ci"
)]
pub struct Args {
    #[command(subcommand)]
    command: PoolCommand,
}

#[derive(Debug, Subcommand)]
enum PoolCommand {
    /// Make a pool or change it; its machines are made in the background
    Set(Box<SetArgs>),
    /// List the pools, and what their machines cost while they wait
    Ls {
        #[command(flatten)]
        format: Format,
    },
    /// Remove pools with the machines that wait in them; those that were taken stay
    Rm {
        /// Pools
        #[arg(required = true, value_name = "POOL")]
        pools: Vec<String>,
    },
    /// Fill a pool; berth starts it itself.
    #[command(hide = true, name = REFILL)]
    Refill { pool: String },
}

#[derive(Debug, clap::Args)]
struct SetArgs {
    /// What it is called
    pool: String,

    /// How many machines are to wait, 64 at most; 0 keeps none
    #[arg(long, value_name = "N")]
    ready: u32,

    #[command(flatten)]
    spec: SpecArgs,

    /// Come back when they do; a machine that cannot be made is then an error
    #[arg(long)]
    wait: bool,
}

/// A pool, as `--json` tells it.
#[derive(Serialize)]
struct Listed {
    name: String,
    driver: Option<String>,
    image: Option<String>,
    engine: Option<String>,
    cpus: Option<u32>,
    memory: Option<u64>,
    disk: Option<u64>,
    options: BTreeMap<String, String>,
    wanted: u32,
    ready: usize,
    making: usize,
    idle_memory: u64,
    idle_disk: u64,
    machines: Vec<String>,
    error: Option<String>,
}

/// Carries the subcommand out.
pub async fn run(berth: &Berth, args: Args, screen: &Screen) -> Result<ExitCode> {
    match args.command {
        PoolCommand::Set(args) => set(berth, &args, screen).await?,
        PoolCommand::Ls { format } => list(berth, &format).await?,
        PoolCommand::Rm { pools } => {
            let (done, code) = each(&pools, screen, async |name: String, task| {
                Ok(pool::remove(berth, &name, &*task).await?)
            })
            .await;
            output::lines(done.into_iter().map(|(name, ())| name))?;
            return Ok(code);
        }
        PoolCommand::Refill { pool } => {
            let task = screen.task(&pool);
            pool::refill(berth, &pool, true, &*task).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn set(berth: &Berth, args: &SetArgs, screen: &Screen) -> Result<()> {
    let task = screen.task(&args.pool);
    let request = args.spec.request(&args.pool)?;
    pool::set(berth, &args.pool, &request, args.ready, &*task).await?;
    match args.wait {
        true => pool::refill(berth, &args.pool, false, &*task).await?,
        false => pool::start(berth, &args.pool),
    }
    task.finish();
    screen.clear();
    output::line(&args.pool)
}

async fn list(berth: &Berth, format: &Format) -> Result<()> {
    let names = pool::names(&berth.home)?;
    if format.quiet {
        return output::lines(names);
    }
    let listed = join_all(names.iter().map(|name| look(berth, name))).await;
    let listed = listed.into_iter().collect::<Result<Vec<_>>>()?;
    format.print(&listed, |pool| pool.name.clone(), table)
}

async fn look(berth: &Berth, name: &str) -> Result<Listed> {
    let machines = pool::waiting(&berth.home, name)?;
    let (found, broken) = match Pool::read(&berth.home, name) {
        Ok(Some(found)) => (Some(found), None),
        Ok(None) => (
            None,
            Some(format!("its removal broke off: `berth pool rm {name}`")),
        ),
        Err(error) => (None, Some(error.to_string())),
    };
    let (mut ready, mut making) = (0, 0);
    if let Some(found) = &found {
        let fits = machines.iter().map(async |machine| {
            match store::holder(&berth.home.lock(machine)) {
                // Who takes one says the name that it gets, who makes one its own.
                Some(holder) => (false, holder.doing == format!("create {machine}")),
                None => (pool::fit(berth, found, machine).await.is_ok(), false),
            }
        });
        for (is_ready, is_made) in join_all(fits).await {
            ready += usize::from(is_ready);
            making += usize::from(is_made);
        }
    }
    let cost = pool::cost(berth, &machines);
    let failure = Failure::read(&berth.home, name).map(|failure| failure.error);
    let key = found.as_ref().map(|pool| &pool.key);
    Ok(Listed {
        name: name.to_owned(),
        driver: key.map(|key| key.driver.clone()),
        image: key.map(|key| key.image.clone()),
        engine: key.map(|key| match &key.engine.version {
            Some(version) => format!("{}@{version}", key.engine.kind),
            None => key.engine.kind.clone(),
        }),
        cpus: key.map(|key| key.cpus),
        memory: key.map(|key| key.memory),
        disk: key.and_then(|key| key.disk),
        options: key.map(|key| key.options.clone()).unwrap_or_default(),
        wanted: found.as_ref().map_or(0, |pool| pool.ready),
        ready,
        making,
        idle_memory: cost.memory,
        idle_disk: cost.disk,
        machines,
        error: broken.or(failure),
    })
}

fn table(pools: &[Listed]) -> comfy_table::Table {
    let mut table = output::table([
        "POOL", "READY", "MAKING", "DRIVER", "IMAGE", "ENGINE", "CPUS", "MEMORY", "COSTS", "ERROR",
    ]);
    for pool in pools {
        let cpus = pool.cpus.map(|cpus| cpus.to_string());
        let memory = pool.memory.map(show_size);
        let costs = format!(
            "{} memory, {} disk",
            show_size(pool.idle_memory),
            show_size(pool.idle_disk)
        );
        let error = pool.error.as_deref().unwrap_or_default();
        table.add_row([
            pool.name.clone(),
            format!("{}/{}", pool.ready, pool.wanted),
            pool.making.to_string(),
            pool.driver.clone().unwrap_or_default(),
            pool.image.clone().unwrap_or_default(),
            pool.engine.clone().unwrap_or_default(),
            cpus.unwrap_or_default(),
            memory.unwrap_or_default(),
            costs,
            error.lines().next().unwrap_or_default().to_owned(),
        ]);
    }
    table
}
