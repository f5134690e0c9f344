//! What went wrong with a machine.

use berth_driver_api::{Error as DriverError, State};

use super::{
    FAILED, NOT_FOUND, USAGE, WRONG_STATE, Words, hinted, of_context, of_driver, of_image,
    of_provision, of_store, plain,
};
use crate::machine::Error;

pub(super) fn of_machine(error: &Error) -> Words {
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
        Error::MustReboot { .. } => hinted(
            WRONG_STATE,
            "say --restart to have it shut down and booted; what is only in its memory is lost then",
        ),
        Error::NotAdoptable { .. } => plain(WRONG_STATE),
        Error::NoSuchDriver { known, .. } => {
            hinted(NOT_FOUND, &format!("there are: {}", known.join(", ")))
        }
        Error::NoDriver { .. } => hinted(FAILED, "`berth doctor --fix` installs what is missing"),
        Error::NoEngine(name) => hinted(
            WRONG_STATE,
            &format!("`berth provision {name} --engine docker` installs one"),
        ),
        Error::NoTls(name) => hinted(
            WRONG_STATE,
            &format!("`berth certs enable {name}` opens one"),
        ),
        Error::CaKeyMissing => hinted(
            FAILED,
            "`berth certs renew --ca` makes a new CA; clients elsewhere then need new files",
        ),
        Error::CaBusy => hinted(WRONG_STATE, "wait for it, or end that process"),
        Error::Certificate(_) | Error::Secret(_) => plain(FAILED),
        Error::NotRunning { name, state } if *state == State::Unreachable => hinted(
            WRONG_STATE,
            &format!("`berth status {name}` tells why; a host of your own has to be reached first"),
        ),
        Error::NotRunning { name, .. } => {
            hinted(WRONG_STATE, &format!("`berth start {name}` starts it"))
        }
        Error::Plugin(source) => of_driver(None, source),
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
        Error::NotMounted { machine, .. } => hinted(
            FAILED,
            &format!(
                "the machine runs: `berth mount ls {machine}` tells how it is, `berth mount rm {machine} PATH` gives it up"
            ),
        ),
        Error::NoSuchMount { machine, known, .. } if known.is_empty() => hinted(
            NOT_FOUND,
            &format!("it has none: `berth mount add {machine} FOLDER` makes one"),
        ),
        Error::NoSuchMount { known, .. } => {
            hinted(NOT_FOUND, &format!("there are: {}", known.join(", ")))
        }
        Error::NoSuchSnapshot { machine, known, .. } if known.is_empty() => hinted(
            NOT_FOUND,
            &format!("it has none: `berth snapshot create {machine}` takes one"),
        ),
        Error::NoSuchSnapshot { known, .. } => {
            hinted(NOT_FOUND, &format!("there are: {}", known.join(", ")))
        }
        Error::SnapshotExists { machine, snapshot } => hinted(
            WRONG_STATE,
            &format!("choose another name, or `berth snapshot rm {machine} {snapshot}` first"),
        ),
        Error::HasSnapshots { machine, .. } => hinted(
            WRONG_STATE,
            &format!("`berth snapshot rm {machine} SNAPSHOT` removes what is no longer needed"),
        ),
        Error::Timeout { machine, .. } => {
            hinted(FAILED, &format!("`berth logs {machine}` may tell why"))
        }
        Error::NoSuchPool { known, .. } if known.is_empty() => {
            hinted(NOT_FOUND, "there are none: `berth pool set` makes one")
        }
        Error::NoSuchPool { known, .. } => {
            hinted(NOT_FOUND, &format!("there are: {}", known.join(", ")))
        }
        Error::NoSuchTemplate(_) => hinted(NOT_FOUND, "`berth template ls` lists them"),
        Error::TemplateInUse { machines, .. } => hinted(
            WRONG_STATE,
            &format!(
                "their disks rest on it: `berth rm {}` first",
                machines.join(" ")
            ),
        ),
        Error::Template(DriverError::Unsupported { .. }) => hinted(
            WRONG_STATE,
            "the driver qemu can: name it by --driver; by others machines are made as ever",
        ),
        Error::Template(source) => of_driver(None, source),
        Error::BadSettings { .. } => plain(USAGE),
        Error::UnsafeFolder(_) => hinted(FAILED, "remove it, or set XDG_RUNTIME_DIR"),
        Error::Image(error) => of_image(error),
        Error::Context(error) => of_context(error),
        Error::Store(error) => of_store(error),
    }
}
