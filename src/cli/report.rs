//! The one place where errors become words: a message, what to do next, and an exit code.

use std::process::ExitCode;

use berth_driver_api::Error as DriverError;

use crate::machine::Error;
use crate::{context, store};

/// Some of several machines failed.
pub const PARTLY_FAILED: u8 = 5;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const WRONG_STATE: u8 = 4;
const INTERRUPTED: u8 = 130;

/// Ctrl-C or SIGTERM came.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// The command line is well-formed but asks for something that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Something is not there: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotFound(pub String);

/// What is missing on this computer and how to get it.
#[derive(Debug, thiserror::Error)]
#[error("this computer is not ready: {0}")]
pub struct NotReady(pub String);

/// What the user is told.
struct Words {
    code: u8,
    hint: Option<String>,
    detail: Option<String>,
}

/// Prints an error with its hint on stderr and gives its exit code.
pub fn print(error: &anyhow::Error) -> ExitCode {
    let words = words(error);
    eprintln!("berth: {}", printable(&message(error)));
    if let Some(detail) = words.detail.filter(|detail| !detail.is_empty()) {
        for line in detail.lines() {
            eprintln!("    | {}", printable(line));
        }
    }
    if let Some(hint) = words.hint {
        eprintln!("hint: {}", printable(&hint));
    }
    ExitCode::from(words.code)
}

/// The error and its causes; those that a message above quotes already are not said twice.
fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Errors quote what guests, files and programs said: their control characters must not reach the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || *c == '\n' || *c == '\t')
        .collect()
}

fn words(error: &anyhow::Error) -> Words {
    if let Some(error) = error.downcast_ref::<Error>() {
        return of_machine(error);
    }
    if let Some(error) = error.downcast_ref::<store::Error>() {
        return of_store(error);
    }
    if let Some(error) = error.downcast_ref::<context::Error>() {
        return of_context(error);
    }
    if let Some(error) = error.downcast_ref::<berth_images::Error>() {
        return of_image(error);
    }
    if error.is::<Interrupted>() {
        return hinted(
            INTERRUPTED,
            "what had begun is kept: `berth ls` shows it, `berth create --resume NAME` continues a create, \
             `berth rm NAME` removes every trace",
        );
    }
    if error.is::<Usage>() {
        return plain(USAGE);
    }
    if error.is::<NotFound>() {
        return plain(NOT_FOUND);
    }
    if error.is::<NotReady>() {
        return hinted(FAILED, "`berth doctor --fix` installs what is missing");
    }
    plain(FAILED)
}

fn of_machine(error: &Error) -> Words {
    match error {
        Error::BadName { .. } | Error::BadRequest { .. } => plain(USAGE),
        Error::NoSuchMachine { known, .. } if known.is_empty() => {
            hinted(NOT_FOUND, "there are no machines yet: `berth up` makes one")
        }
        Error::NoSuchMachine { known, .. } => {
            hinted(NOT_FOUND, &format!("there are: {}", known.join(", ")))
        }
        Error::Exists(name) => hinted(
            WRONG_STATE,
            &format!("`berth start {name}` starts it, `berth rm {name}` removes it"),
        ),
        Error::NothingToResume(name) => {
            hinted(WRONG_STATE, &format!("`berth start {name}` starts it"))
        }
        Error::Unfinished { name, operation } if operation == "rm" => hinted(
            WRONG_STATE,
            &format!("`berth rm {name}` finishes the removal"),
        ),
        Error::Unfinished { name, .. } => hinted(
            WRONG_STATE,
            &format!("`berth create --resume {name}` finishes it, `berth rm {name}` removes it"),
        ),
        Error::Busy { .. } => hinted(WRONG_STATE, "wait for it, or end that process"),
        Error::NoSuchDriver { known, .. } => {
            hinted(NOT_FOUND, &format!("there are: {}", known.join(", ")))
        }
        Error::NoEngine(name) => hinted(
            WRONG_STATE,
            &format!("`berth provision {name} --engine docker` installs one"),
        ),
        Error::NotRunning { name, .. } => {
            hinted(WRONG_STATE, &format!("`berth start {name}` starts it"))
        }
        Error::Plugin(_) => plain(FAILED),
        Error::Driver { machine, source } => of_driver(Some(machine), source),
        Error::NoAnswer {
            machine, console, ..
        } => Words {
            code: FAILED,
            hint: Some(format!(
                "`berth logs {machine}` shows the whole console; `--timeout` gives a slow guest more time"
            )),
            detail: Some(console.clone()),
        },
        Error::Provision { machine, source } => of_provision(machine, source),
        Error::Supervisor { machine, .. } => hinted(
            FAILED,
            &format!("`berth logs --supervisor {machine}` shows its log"),
        ),
        Error::Timeout { machine, .. } => {
            hinted(FAILED, &format!("`berth logs {machine}` may tell why"))
        }
        Error::UnsafeFolder(_) => hinted(FAILED, "remove it, or set XDG_RUNTIME_DIR"),
        Error::Image(error) => of_image(error),
        Error::Context(error) => of_context(error),
        Error::Store(error) => of_store(error),
    }
}

fn of_driver(machine: Option<&str>, error: &DriverError) -> Words {
    match error {
        DriverError::UnknownOption { nearest, known, .. } => Words {
            code: USAGE,
            hint: Some(match nearest {
                Some(name) => format!("did you mean {name}?"),
                None => format!("it has: {}", known.join(", ")),
            }),
            detail: None,
        },
        DriverError::InvalidOption { .. } => plain(USAGE),
        DriverError::WrongState { .. } | DriverError::Unsupported { .. } => plain(WRONG_STATE),
        DriverError::Missing(_) => Words {
            code: NOT_FOUND,
            hint: machine.map(|name| format!("`berth rm {name}` clears what is left of it")),
            detail: None,
        },
        DriverError::ToolMissing { .. } => {
            hinted(FAILED, "`berth doctor --fix` installs what is missing")
        }
        DriverError::PortsExhausted { .. } => hinted(
            FAILED,
            "remove machines you no longer need, or set BERTH_PORTS=FIRST-LAST to a wider range",
        ),
        DriverError::Io { source, .. } => of_io(source),
        DriverError::Timeout { .. } | DriverError::Tool { .. } | DriverError::Failed { .. } => {
            Words {
                code: FAILED,
                hint: machine.map(|name| format!("`berth logs {name}` may tell more")),
                detail: None,
            }
        }
    }
}

fn of_provision(machine: &str, error: &berth_provision::Error) -> Words {
    let _ = error;
    hinted(
        FAILED,
        &format!(
            "`berth provision {machine}` tries again (`berth create --resume {machine}` if it was being created)"
        ),
    )
}

fn of_image(error: &berth_images::Error) -> Words {
    let _ = error;
    plain(FAILED)
}

fn of_context(error: &context::Error) -> Words {
    match error {
        context::Error::Foreign { name } => hinted(
            WRONG_STATE,
            &format!("choose another name, or remove it with `docker context rm {name}`"),
        ),
        context::Error::Missing(_) => {
            hinted(NOT_FOUND, "`berth context sync` writes the contexts anew")
        }
        context::Error::Store(error) => of_store(error),
        context::Error::Damaged { .. } | context::Error::NoFolder => plain(FAILED),
    }
}

fn of_store(error: &store::Error) -> Words {
    match error {
        store::Error::Io { source, .. } => of_io(source),
        store::Error::Damaged { .. } => hinted(
            FAILED,
            "mend the file by hand, or remove the machine with `berth rm --force NAME`",
        ),
        store::Error::Future { .. } => hinted(FAILED, "use the later berth, or upgrade this one"),
        store::Error::NoHome | store::Error::RelativeHome(_) => plain(USAGE),
    }
}

fn of_io(error: &std::io::Error) -> Words {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => hinted(
            FAILED,
            "free some space on that disk; nothing was half-written",
        ),
        ErrorKind::ReadOnlyFilesystem => {
            hinted(FAILED, "set BERTH_HOME to a folder that can be written")
        }
        ErrorKind::PermissionDenied => hinted(FAILED, "check who owns that path"),
        _ => plain(FAILED),
    }
}

fn plain(code: u8) -> Words {
    Words {
        code,
        hint: None,
        detail: None,
    }
}

fn hinted(code: u8, hint: &str) -> Words {
    Words {
        code,
        hint: Some(hint.to_owned()),
        detail: None,
    }
}
