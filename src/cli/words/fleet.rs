//! What went wrong with many machines: a rollout, a swarm, a fleet file.

use super::{
    FAILED, NOT_FOUND, USAGE, WRONG_STATE, Words, hinted, of_context, of_io, of_machine, of_store,
    plain,
};
use crate::fleet::file::Error as FleetFileError;
use crate::fleet::rollout;
use crate::fleet::swarm;

pub(super) fn of_rollout(error: &rollout::Error) -> Words {
    use rollout::Error;
    match error {
        Error::Overlap { running, .. } if running.is_some() => hinted(
            WRONG_STATE,
            "wait for it: `berth rollout status` tells how it stands",
        ),
        Error::Overlap { id, .. } => hinted(
            WRONG_STATE,
            &format!(
                "`berth rollout resume {id}` goes on with it, `berth rollout abort {id}` ends it"
            ),
        ),
        Error::Held { .. } => hinted(
            WRONG_STATE,
            "nothing was begun; the machine is free when that rollout's process ends",
        ),
        Error::Unlockable { .. } => hinted(
            FAILED,
            "nothing was begun; the machine needs flock, timeout and a folder that berth's user may write",
        ),
        Error::NoManager(_) => hinted(
            FAILED,
            "adopt one of its managers, or drain the node by hand and take it out of the swarm",
        ),
        Error::Quorum { .. } => hinted(
            WRONG_STATE,
            "`berth swarm status` tells which are missing: start them, or `berth swarm replace` them first",
        ),
        Error::Exit { .. } | Error::TakenBack { .. } => plain(FAILED),
        Error::NoSuch(_) => hinted(NOT_FOUND, "`berth rollout history` lists them"),
        Error::NoneOpen => hinted(
            NOT_FOUND,
            "`berth rollout history` lists those that have ended",
        ),
        Error::Several(_) => hinted(USAGE, "name one"),
        Error::Ended { .. } => plain(WRONG_STATE),
        Error::Running { pid, .. } => hinted(
            WRONG_STATE,
            &format!("wait for it, or stop it: `kill -INT {pid}` has it begin no more machines"),
        ),
        Error::Machine(error) => of_machine(error),
        Error::Store(error) => of_store(error),
    }
}

pub(super) fn of_swarm(error: &swarm::Error) -> Words {
    match error {
        swarm::Error::EvenManagers(n) => hinted(
            USAGE,
            &match n {
                0 => "say 1, 3 or 5".to_owned(),
                n => format!("say {} or {}", n - 1, n + 1),
            },
        ),
        swarm::Error::TooManyManagers { .. } | swarm::Error::BadName { .. } => plain(USAGE),
        swarm::Error::NameTaken(_) => hinted(WRONG_STATE, "say another one with --name"),
        swarm::Error::NoSuchSwarm { known, .. } if known.is_empty() => hinted(
            NOT_FOUND,
            "there are none yet: `berth swarm init` makes one",
        ),
        swarm::Error::NoSuchSwarm { known, .. } => {
            hinted(NOT_FOUND, &format!("there are: {}", known.join(", ")))
        }
        swarm::Error::Busy { .. } => hinted(WRONG_STATE, "wait for it, or end that process"),
        swarm::Error::NoAddress { .. } => hinted(
            WRONG_STATE,
            "machines that reach each other are made with `-d uml -o network=shared:GROUP` or `-d qemu -o \
             network=bridge:IF`, or adopted at an address that is not loopback",
        ),
        swarm::Error::Podman(_) => hinted(WRONG_STATE, "swarms are of Docker engines"),
        swarm::Error::LiveRestore(name) => hinted(
            WRONG_STATE,
            &format!("`berth inspect {name}` tells its settings; it has to do without that one"),
        ),
        swarm::Error::Elsewhere { machine, .. } => hinted(
            WRONG_STATE,
            &format!("`berth swarm leave --force {machine}` has it leave that one"),
        ),
        swarm::Error::NotMember(_) => hinted(WRONG_STATE, "`berth swarm status` lists who is"),
        swarm::Error::NoQuorum { swarm, .. } => hinted(
            FAILED,
            &format!(
                "`berth swarm status {swarm}` tells which managers are missing: start them; if they are lost for ever, \
                 `docker swarm init --force-new-cluster` on one that is left begins anew with its services"
            ),
        ),
        swarm::Error::Dead { machine, .. } => hinted(
            FAILED,
            &format!(
                "`berth start {machine}` may bring it back; `berth swarm leave --force {machine}` takes it off the list, \
                 `berth swarm replace {machine} NEW` puts another one into its place"
            ),
        ),
        swarm::Error::NotReady { swarm, .. } => hinted(
            FAILED,
            &format!(
                "the same command goes on from there; `berth swarm status {swarm}` tells how it is"
            ),
        ),
        swarm::Error::Machine(error) => of_machine(error),
        swarm::Error::Store(error) => of_store(error),
        swarm::Error::Context(error) => of_context(error),
    }
}

pub(super) fn of_fleet_file(error: &FleetFileError) -> Words {
    match error {
        FleetFileError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            hinted(
                NOT_FOUND,
                "name the file with -f; `berth fleet export` writes one for the machines that there are",
            )
        }
        FleetFileError::Io { source, .. } => of_io(source),
        FleetFileError::Wrong { .. } | FleetFileError::NoSuchGroup { .. } => Words {
            code: USAGE,
            hint: error.hint(),
            detail: None,
        },
    }
}
