//! The command line: one file a command.

mod apply;
mod certs;
mod client;
mod clone;
mod completions;
mod context;
mod cp;
mod create;
mod doctor;
mod driver;
mod each;
mod engine;
mod env;
mod error;
mod exec;
mod export;
mod fates;
mod fleet;
mod fleet_args;
mod go_template;
mod groups;
mod help;
mod host_key;
mod image;
mod import;
mod inspect;
mod interrupt;
mod ip;
mod label;
mod logs;
mod ls;
mod mount;
mod output;
mod pair;
mod passphrase;
mod plan;
mod pool;
mod power;
mod progress;
mod provision;
mod report;
mod resize;
mod rm;
mod rollout;
mod settings;
mod snapshot;
mod ssh;
mod ssh_config;
mod status;
mod suspend;
mod swarm;
mod tally;
mod template;
mod up;
mod upgrade;
mod url;
mod use_;
mod version;
mod words;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use crate::kept::{self, KEEP};
use crate::machine::{Berth, SUPERVISE};
use crate::supervisor;
use progress::Screen;
use tokio::time::timeout;

/// Container hosts anywhere: makes VMs, installs a container engine in them, and points docker at them.
#[derive(Debug, Parser)]
#[command(
    name = "berth",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "Start here:\n  berth up                    a working docker host, and docker pointed at it\n  \
                  berth create web1 web2      more machines, in parallel\n  \
                  berth use web1              point docker at another one\n  \
                  berth ssh web1              look inside\n\n\
                  `berth COMMAND --help` tells more. State lies in $BERTH_HOME \
                  (default ~/.local/share/berth)."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// No progress on stderr
    #[arg(long, global = true)]
    quiet_progress: bool,

    /// Say more on stderr about what is being done
    #[arg(short = 'v', long, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    Create(create::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Inspect(inspect::Args),
    Status(status::Args),
    Ip(ip::Args),
    Url(url::Args),
    Logs(logs::Args),
    Label(label::Args),
    Start(power::StartArgs),
    Stop(power::StopArgs),
    Restart(power::RestartArgs),
    Kill(power::KillArgs),
    Resize(resize::Args),
    Suspend(suspend::SuspendArgs),
    Resume(suspend::ResumeArgs),
    Snapshot(snapshot::Args),
    Clone(clone::Args),
    Rm(rm::Args),
    Ssh(ssh::Args),
    Cp(cp::Args),
    Ps(client::ps::Args),
    Images(client::images::Args),
    Stats(client::stats::Args),
    Events(client::events::Args),
    Df(client::df::Args),
    Exec(exec::Args),
    Plan(plan::Args),
    Apply(apply::Args),
    Fleet(fleet::Args),
    SshConfig(ssh_config::Args),
    HostKey(host_key::Args),
    Passphrase(passphrase::Args),
    Export(export::Args),
    Import(import::Args),
    Use(use_::Args),
    Env(env::Args),
    Context(context::Args),
    Certs(certs::Args),
    Provision(provision::Args),
    Upgrade(upgrade::Args),
    Rollout(rollout::Args),
    Engine(engine::Args),
    Mount(mount::Args),
    Swarm(swarm::Args),
    Image(image::Args),
    Template(template::Args),
    Pool(pool::Args),
    Driver(driver::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    Version(version::Args),
    /// The process that keeps connections open; berth starts it itself.
    #[command(hide = true, name = KEEP)]
    KeepConnections,
    /// The process beside a machine; berth starts it itself.
    #[command(hide = true, name = SUPERVISE)]
    Supervise {
        name: String,
    },
}

/// How long a machine may take to tell its state to a command that has no `--timeout`.
const ASK_DEADLINE: std::time::Duration = std::time::Duration::from_secs(2);

/// Refuses to take no selection for all machines.
fn require_selection(selection: &crate::fleet::Selection) -> Result<(), error::Usage> {
    if selection.is_empty() {
        return Err(error::Usage(
            "name a machine, select some with -l, --driver or --state, or say --all".into(),
        ));
    }
    Ok(())
}

/// Parses the command line, carries the command out, and turns the outcome into an exit code.
pub fn main() -> ExitCode {
    clap_complete::CompleteEnv::with_factory(Cli::command).complete();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return help::print(&error),
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => report::print(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    use tracing_subscriber::fmt;
    let supervises = matches!(cli.command, Command::Supervise { .. });
    let keeps = matches!(cli.command, Command::KeepConnections);
    let hears_signals = matches!(
        cli.command,
        Command::Exec(_) | Command::Rollout(_) | Command::Apply(_)
    );
    let only_reads = matches!(
        cli.command,
        Command::Logs(_) | Command::Events(_) | Command::Stats(_)
    );
    let level = match (cli.verbose, supervises || keeps) {
        (true, _) => tracing::Level::DEBUG,
        (false, true) => tracing::Level::INFO,
        (false, false) => tracing::Level::ERROR,
    };
    fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let mut builder = if supervises {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = builder.enable_all().build()?;
    let screen = Screen::new(cli.quiet_progress);
    let outcome = runtime.block_on(async {
        if supervises || keeps || hears_signals {
            return Box::pin(dispatch(cli.command, &screen)).await;
        }
        let mut interrupted = std::pin::pin!(interrupted());
        // A dropped command ends its child processes; what it leaves is resumable and the hint says so.
        let outcome = tokio::select! {
            // On the heap: it has all commands' futures in it.
            outcome = Box::pin(dispatch(cli.command, &screen)) => outcome,
            () = &mut interrupted => return match only_reads {
                // Nothing was begun that could be told of.
                true => Ok(ExitCode::from(words::INTERRUPTED)),
                false => Err(error::Interrupted.into()),
            },
        };
        // A terminal's Ctrl-C ends child processes as well, and their end may be noticed before the signal is.
        let failed = !matches!(outcome, Ok(ExitCode::SUCCESS));
        if failed && timeout(SIGNAL_SHOWS, interrupted).await.is_ok() {
            return Err(error::Interrupted.into());
        }
        outcome
    });
    screen.clear();
    // Blocking work that was cut off must not hold up the exit.
    runtime.shutdown_background();
    outcome
}

/// How long a signal that was sent already may take to show.
const SIGNAL_SHOWS: Duration = Duration::from_millis(30);

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => terminate.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate => {}
    }
}

async fn dispatch(command: Command, screen: &Screen) -> anyhow::Result<ExitCode> {
    // What needs no home folder.
    let command = match command {
        Command::Completions(args) => return completions::run(&args),
        Command::Version(args) => return version::run(&args),
        other => other,
    };
    let berth = Berth::from_environment()?;
    let may_take = matches!(
        command,
        Command::Up(_)
            | Command::Create(_)
            | Command::Clone(_)
            | Command::Start(_)
            | Command::Stop(_)
            | Command::Restart(_)
            | Command::Kill(_)
            | Command::Resize(_)
            | Command::Apply(_)
            | Command::Rm(_)
    );
    let outcome = Box::pin(carry_out(&berth, command, screen)).await;
    if may_take {
        crate::machine::pool::notice(&berth);
    }
    outcome
}

async fn carry_out(berth: &Berth, command: Command, screen: &Screen) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => up::run(berth, args, screen).await,
        Command::Create(args) => create::run(berth, args, screen).await,
        Command::Ls(args) => ls::run(berth, &args).await,
        Command::Inspect(args) => inspect::run(berth, &args).await,
        Command::Status(args) => status::run(berth, &args).await,
        Command::Ip(args) => ip::run(berth, &args).await,
        Command::Url(args) => url::run(berth, &args).await,
        Command::Logs(args) => logs::run(berth, &args).await,
        Command::Label(args) => label::run(berth, &args, screen).await,
        Command::Start(args) => power::start(berth, &args, screen).await,
        Command::Stop(args) => power::stop(berth, &args, screen).await,
        Command::Restart(args) => power::restart(berth, &args, screen).await,
        Command::Kill(args) => power::kill(berth, &args, screen).await,
        Command::Resize(args) => resize::run(berth, &args, screen).await,
        Command::Suspend(args) => suspend::suspend(berth, &args, screen).await,
        Command::Resume(args) => suspend::resume(berth, &args, screen).await,
        Command::Clone(args) => clone::run(berth, &args, screen).await,
        Command::Snapshot(args) => snapshot::run(berth, args, screen).await,
        Command::Rm(args) => rm::run(berth, &args, screen).await,
        Command::Ssh(args) => ssh::run(berth, &args).await,
        Command::Ps(args) => client::ps::run(berth, &args).await,
        Command::Images(args) => client::images::run(berth, &args).await,
        Command::Stats(args) => client::stats::run(berth, &args).await,
        Command::Events(args) => client::events::run(berth, &args).await,
        Command::Df(args) => client::df::run(berth, &args).await,
        Command::Cp(args) => cp::run(berth, &args, screen).await,
        Command::Exec(args) => exec::run(berth, &args, screen).await,
        Command::Plan(args) => plan::run(berth, &args, screen).await,
        Command::Apply(args) => apply::run(berth, &args, screen).await,
        Command::Fleet(args) => fleet::run(berth, &args).await,
        Command::SshConfig(args) => ssh_config::run(berth, &args),
        Command::HostKey(args) => host_key::run(berth, &args, screen).await,
        Command::Passphrase(args) => passphrase::run(berth, &args).await,
        Command::Export(args) => export::run(berth, &args, screen).await,
        Command::Import(args) => import::run(berth, &args, screen).await,
        Command::Use(args) => use_::run(berth, &args).await,
        Command::Env(args) => env::run(berth, &args).await,
        Command::Context(args) => context::run(berth, &args),
        Command::Certs(args) => certs::run(berth, &args, screen).await,
        Command::Provision(args) => provision::run(berth, &args, screen).await,
        Command::Upgrade(args) => upgrade::run(berth, &args, screen).await,
        Command::Rollout(args) => rollout::run(berth, args, screen).await,
        Command::Engine(args) => engine::run(berth, args, screen).await,
        Command::Mount(args) => mount::run(berth, args, screen).await,
        Command::Swarm(args) => swarm::run(berth, &args, screen).await,
        Command::Template(args) => template::run(berth, args, screen).await,
        Command::Pool(args) => pool::run(berth, args, screen).await,
        Command::Image(args) => image::run(berth, &args, screen).await,
        Command::Driver(args) => driver::run(berth, &args, screen).await,
        Command::Doctor(args) => doctor::run(berth, &args, screen).await,
        Command::KeepConnections => {
            kept::run(&berth.home).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Supervise { name } => {
            Box::pin(supervisor::run(berth, &name)).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions(_) | Command::Version(_) => Ok(ExitCode::SUCCESS),
    }
}
