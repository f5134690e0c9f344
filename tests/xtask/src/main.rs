//! `cargo xtask`: what is done to this repository, on a fresh Debian with a Rust toolchain.

mod bench;
mod fetch;
mod parts;
mod setup;
mod suites;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what the tests need, then run them: units, the whole program, the whole program with real VMs
    Test(test::Args),
    /// Check the formatting, run clippy, test
    Ci,
    /// Measure, as a table or JSON
    Bench(bench::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Test(args) => test::run(&args),
        Command::Ci => test::ci(),
        Command::Bench(args) => bench::run(&args),
    }
}
