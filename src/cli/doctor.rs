//! `berth doctor`

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Result, bail};
use berth_driver_api::Progress;

use super::error::NotReady;
use super::output;
use super::progress::Screen;
use crate::doctor::{Check, Plan, Verdict, examine, missing};
use crate::machine::{AUTO, Berth, Request};

/// How often something is installed: the first may show that another driver is better, which needs something else.
const ROUNDS: usize = 2;

/// Check what this computer has for making machines, and install what is missing
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth doctor\n  berth doctor --fix\n  berth doctor --fix --yes"
)]
pub struct Args {
    /// The driver to check for
    #[arg(short, long, env = "BERTH_DRIVER", default_value = AUTO)]
    driver: String,

    /// Install what is missing with the system's package manager, after saying what
    #[arg(long)]
    fix: bool,

    /// Do not ask
    #[arg(short, long, requires = "fix")]
    yes: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Checks, and fixes if asked to.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    let mut checks = examine(berth, &args.driver, None).await?;
    for _ in 0..if args.fix { ROUNDS } else { 0 } {
        let lacking = missing(&checks, Verdict::Good);
        if lacking.is_empty() {
            break;
        }
        install(&lacking, args.yes, screen).await?;
        checks = examine(berth, &args.driver, None).await?;
    }
    if args.json {
        output::line(&serde_json::to_string_pretty(&checks)?)?;
    } else {
        print(&checks)?;
    }
    let bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
    if bad && !args.fix && !missing(&checks, Verdict::Bad).is_empty() {
        eprintln!("hint: `berth doctor --fix` installs what is missing");
    }
    Ok(ExitCode::from(u8::from(bad)))
}

/// Makes this computer ready for a machine, for `berth up`: what is lacking is installed once the user agrees.
pub async fn make_ready(
    berth: &Berth,
    request: &Request,
    yes: bool,
    screen: &Screen,
    progress: &dyn Progress,
) -> Result<()> {
    let driver = &request.driver;
    let mut checks;
    let mut rounds = 0;
    loop {
        progress.phase("Checking this computer");
        checks = examine(berth, driver, Some(request)).await?;
        // A docker client is wanted here too: `up` promises that it works afterwards.
        let lacking = missing(&checks, Verdict::Poor);
        if lacking.is_empty() || rounds == ROUNDS {
            break;
        }
        rounds += 1;
        progress.phase("Installing packages");
        if !yes && !std::io::stdin().is_terminal() {
            return Err(NotReady(format!("{} missing", lacking.join(", "))).into());
        }
        install(&lacking, yes, screen).await?;
    }
    for check in checks
        .iter()
        .filter(|check| check.subject == "acceleration" && driver != AUTO)
    {
        progress.note(&check.detail);
    }
    let bad: Vec<&str> = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Bad)
        .map(|check| check.detail.as_str())
        .collect();
    if !bad.is_empty() {
        return Err(NotReady(bad.join("; ")).into());
    }
    Ok(())
}

async fn install(programs: &[String], yes: bool, screen: &Screen) -> Result<()> {
    screen.clear();
    let plan = Plan::make(programs).await?;
    if plan.packages.is_empty() {
        bail!("no package is known for: {}", plan.unknown.join(", "));
    }
    eprintln!("To get {}, berth runs:", programs.join(", "));
    for line in plan.describe() {
        eprintln!("  {line}");
    }
    if !yes && !agreed()? {
        bail!("nothing was installed");
    }
    plan.carry_out().await?;
    if !plan.unknown.is_empty() {
        eprintln!("no package is known for: {}", plan.unknown.join(", "));
    }
    Ok(())
}

fn agreed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(NotReady("there is no terminal to ask on: say --yes".into()).into());
    }
    eprint!("Go on? [Y/n] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "" | "y" | "Y" | "yes"))
}

fn print(checks: &[Check]) -> Result<()> {
    let mut table = output::table(["", "WHAT", "FOUND"]);
    for check in checks {
        let mark = match check.verdict {
            Verdict::Good => "ok",
            Verdict::Poor => "!",
            Verdict::Bad => "✗",
        };
        table.add_row([mark, &check.subject, &check.detail]);
    }
    output::line(&table.trim_fmt())
}
