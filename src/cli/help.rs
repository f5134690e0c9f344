//! What clap itself answers: help, versions, usage errors. Help on making machines by a driver that is named has that
//! driver's options too.

use std::process::ExitCode;

use berth_driver_api::OptionSpec;
use clap::CommandFactory;
use clap::error::ErrorKind;

use super::Cli;
use super::driver::values;
use super::groups::grouped;
use super::output;
use crate::machine::Berth;

/// Prints it, and tells the exit code.
pub fn print(error: &clap::Error) -> ExitCode {
    let _ = match error.kind() {
        // Told anew, now that it is worth sorting the commands.
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let again = grouped(Cli::command()).try_get_matches();
            again.as_ref().err().unwrap_or(error).print()
        }
        _ => error.print(),
    };
    let args: Vec<String> = std::env::args_os()
        .filter_map(|arg| arg.into_string().ok())
        .collect();
    if error.kind() == ErrorKind::DisplayHelp
        && let Some(driver) = named_driver(&args)
        && let Some(options) = options_of(&driver)
    {
        let _ = output::line(&section(&driver, &options));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The driver that `create` or `up` is asked to explain itself with.
fn named_driver(args: &[String]) -> Option<String> {
    let command = args.iter().skip(1).find(|arg| !arg.starts_with('-'))?;
    if !matches!(command.as_str(), "create" | "up") {
        return None;
    }
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-d" | "--driver" => return args.next().cloned(),
            "--" => return None,
            arg => {
                let joined = arg.strip_prefix("--driver=");
                let short = arg.strip_prefix("-d").filter(|name| !name.is_empty());
                if let Some(name) = joined.or(short) {
                    return Some(name.to_owned());
                }
            }
        }
    }
    std::env::var("BERTH_DRIVER").ok()
}

fn options_of(driver: &str) -> Option<Vec<OptionSpec>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    runtime.block_on(async {
        let driver = Berth::from_environment()
            .ok()?
            .drivers
            .get(driver)
            .await
            .ok()?;
        Some(driver.info().options.clone())
    })
}

fn section(driver: &str, options: &[OptionSpec]) -> String {
    let mut text = format!("\nOptions of driver {driver} (-o KEY=VALUE, or the variable):");
    for option in options {
        let default = match option.default.as_str() {
            "" => String::new(),
            default => format!(" [default: {default}]"),
        };
        text += &format!(
            "\n  -o {}={}\n          {}{default} [env: {}]",
            option.name,
            values(&option.kind),
            option.help,
            option.variable(driver)
        );
    }
    if options.is_empty() {
        text += "\n  none";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_is_found_however_it_is_named() {
        let named = |line: &str| {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            named_driver(&args)
        };
        for line in [
            "berth create -d uml --help",
            "berth create --driver uml x -h",
            "berth --verbose up --driver=uml --help",
            "berth create -duml --help",
        ] {
            assert_eq!(named(line).as_deref(), Some("uml"), "{line}");
        }
        assert_eq!(named("berth ls -d uml --help"), None);
    }
}
