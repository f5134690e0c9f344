//! The one place where errors become words: an exit code, and what to do next.

mod driver;
mod fleet;
mod image;
mod machine;
mod provision;
mod registry;

use berth_images::Error as ImageError;
use berth_provision::Error as ProvisionError;

use driver::of_driver;
use fleet::{of_fleet_file, of_rollout, of_swarm};
use image::of_image;
use machine::of_machine;
use provision::{of_bundle, of_provision};

use super::error::{Interrupted, NotFound, NotReady, Usage};
use crate::fleet::apply;
use crate::fleet::file::Error as FleetFileError;
use crate::fleet::rollout;
use crate::fleet::swarm;
use crate::machine::Error as MachineError;
use crate::{context, store};

/// Some of several machines failed.
pub const PARTLY_FAILED: u8 = 5;

/// Machines are not as a fleet file says.
pub const DIFFERS: u8 = 6;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const WRONG_STATE: u8 = 4;
/// The user ended it.
pub const INTERRUPTED: u8 = 130;

/// What the user is told.
pub struct Words {
    /// The exit code.
    pub code: u8,
    /// What to do next.
    pub hint: Option<String>,
    /// What a guest or a program said, to be shown apart.
    pub detail: Option<String>,
}

/// Finds the words for an error.
pub fn words(error: &anyhow::Error) -> Words {
    if let Some(error) = error.downcast_ref::<MachineError>() {
        return of_machine(error);
    }
    if let Some(error) = error.downcast_ref::<rollout::Error>() {
        return of_rollout(error);
    }
    if let Some(error) = error.downcast_ref::<apply::Error>() {
        return match error {
            apply::Error::Machine(error) => of_machine(error),
            apply::Error::Rollout(error) => of_rollout(error),
            apply::Error::Swarm(error) => of_swarm(error),
            apply::Error::Store(error) => of_store(error),
        };
    }
    if let Some(error) = error.downcast_ref::<swarm::Error>() {
        return of_swarm(error);
    }
    if let Some(error) = error.downcast_ref::<store::Error>() {
        return of_store(error);
    }
    if let Some(error) = error.downcast_ref::<context::Error>() {
        return of_context(error);
    }
    if let Some(error) = error.downcast_ref::<ImageError>() {
        return of_image(error);
    }
    if let Some(error) = error.downcast_ref::<ProvisionError>() {
        return of_bundle(error);
    }
    if let Some(error) = error.downcast_ref::<FleetFileError>() {
        return of_fleet_file(error);
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

fn of_context(error: &context::Error) -> Words {
    match error {
        context::Error::Foreign { name } => hinted(
            WRONG_STATE,
            &format!("choose another name, or remove it with `docker context rm {name}`"),
        ),
        context::Error::Others { name } => hinted(
            WRONG_STATE,
            &format!(
                "choose another name; `docker context rm {name}` removes it, if what it led to is gone"
            ),
        ),
        context::Error::ForeignConnection { name } => hinted(
            WRONG_STATE,
            &format!("choose another name, or remove it with `podman system connection rm {name}`"),
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
