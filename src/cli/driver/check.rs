//! `berth driver check`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use berth_driver_api::Progress;
use berth_driver_api::conformance::Case;

use crate::cli::output;
use crate::cli::pair::pair;
use crate::cli::progress::Screen;
use crate::machine::{Berth, EngineWish, Request, parse_size, try_driver};

/// Try a driver out: whether it keeps what every driver promises, on two machines of its own
///
/// For whoever writes a driver. Two machines are made, started, stopped, powered off, removed; calls are repeated,
/// overlap and are given up half-way. Exits 1 if a promise is broken.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth driver check mine\n  berth driver check mine --image ./tiny.qcow2 -o pool=test --json"
)]
pub struct Args {
    /// The driver's name; a plugin is the program berth-driver-NAME
    #[arg(value_name = "DRIVER")]
    driver: String,

    /// The image of the machines
    #[arg(long, value_name = "REF")]
    image: Option<String>,

    /// Memory of each [default: 2G]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,

    /// A driver option (repeatable)
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,

    /// How long a guest may take to boot or to shut down, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,

    /// Print the promises as JSON
    #[arg(long)]
    json: bool,
}

/// Carries it out.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    let request = Request {
        memory: args.memory,
        image: args.image.clone(),
        engine_named: true,
        engine: EngineWish::parse("none", crate::machine::DISTRO),
        options: args.options.iter().cloned().collect(),
        boot_deadline: Duration::from_secs(args.timeout),
        cold: true,
        ..Request::plain("driver-check", &args.driver)
    };
    let task = screen.task(&args.driver);
    let told = |case: &Case| {
        let word = if case.broken.is_none() { "ok" } else { "NO" };
        task.note(&format!("{word}: it {}", case.promise));
    };
    let cases = try_driver(berth, &request, &told, &*task).await;
    task.finish();
    screen.clear();
    let cases = cases?;
    if args.json {
        output::line(&serde_json::to_string_pretty(&cases)?)?;
    } else {
        let mut table = output::table(["KEPT", "SECONDS", "PROMISE", "OTHERWISE"]);
        for case in &cases {
            let kept = if case.broken.is_none() { "yes" } else { "NO" };
            let otherwise = case.broken.as_deref().unwrap_or_default();
            let otherwise = otherwise.lines().next().unwrap_or_default();
            let seconds = format!("{:.1}", case.seconds);
            table.add_row([kept, &seconds, case.promise, otherwise]);
        }
        output::line(&table.trim_fmt())?;
    }
    let kept = cases.iter().all(|case| case.broken.is_none());
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
