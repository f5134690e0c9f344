//! What a machine does now.

use berth_driver_api::record::KeptRecord;
use berth_driver_api::running::Running;
use berth_driver_api::{Error, Machine, Result, State};
use nix::sys::statvfs::statvfs;

use crate::group::Group;
use crate::mconsole::{self, Failure, SILENT};
use crate::names::PID_FILE;
use crate::record::Record;
use crate::{helper, ready};

/// What a guest's kernel says when the file that holds its disk could not be written.
const DISK_FAILED: [&str; 3] = [
    "Remounting filesystem read-only",
    "potential data loss",
    "Buffer I/O error on dev",
];

/// Asks. A machine that is off costs two looks at its folder.
pub(crate) async fn ask(machine: &Machine) -> Result<State> {
    let Some(running) = Running::of(&machine.file(PID_FILE))? else {
        return Ok(match Record::load(machine)? {
            Some(record) if record.disk.file(machine).exists() => State::Stopped,
            _ => State::Missing,
        });
    };
    if helper::is_lost(machine, &running).await? {
        return Err(Error::failed(
            "its network helper has ended",
            "the machine runs on unreachable; start it to mend that",
        ));
    }
    if let Some(group) = Group::of(machine)?
        && group.is_lost().await?
    {
        return Err(Error::failed(
            "the network switch of its group has ended",
            "the machine does not reach the others; start it to mend that",
        ));
    }
    tokio::select! {
        answer = mconsole::ask(machine, "version", SILENT) => translate(machine, answer),
        ended = running.ended() => {
            ended?;
            Ok(State::Stopped)
        }
    }
}

fn translate(machine: &Machine, answer: Result<String, Failure>) -> Result<State> {
    match answer {
        Ok(_) => {
            let console = ready::console(machine);
            match DISK_FAILED.iter().any(|words| console.contains(words)) {
                true => Err(Error::failed(
                    "its disk failed while it ran",
                    disk_trouble(machine),
                )),
                false => Ok(State::Running),
            }
        }
        Err(Failure::Silent) => Ok(State::Unreachable),
        // It has not opened its console yet, or it has closed it.
        Err(Failure::Closed) => Ok(match Running::of(&machine.file(PID_FILE))? {
            Some(_) => State::Starting,
            None => State::Stopped,
        }),
        Err(Failure::Other(error)) => Err(error),
    }
}

/// What is known of why a disk failed, and what to do.
fn disk_trouble(machine: &Machine) -> String {
    const LITTLE: u64 = 16 << 20;
    let free =
        statvfs(&machine.folder).map(|about| about.blocks_available() * about.fragment_size());
    match free {
        Ok(free) if free < LITTLE => format!(
            "the file system of {} is full: make room, then stop and start the machine",
            machine.folder.display()
        ),
        _ => "stop and start the machine".into(),
    }
}
