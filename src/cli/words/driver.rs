//! What went wrong in a driver.

use berth_driver_api::Error as DriverError;

use super::{FAILED, NOT_FOUND, USAGE, WRONG_STATE, Words, hinted, of_io, plain};

pub(super) fn of_driver(machine: Option<&str>, error: &DriverError) -> Words {
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
