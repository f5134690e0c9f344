//! The one place where errors become words: an exit code, and what to do next.

use berth_driver_api::Error as DriverError;
use berth_images::Error as ImageError;
use berth_provision::Error as ProvisionError;

use super::error::{Interrupted, NotFound, NotReady, Usage};
use crate::fleet::apply;
use crate::fleet::file::Error as FleetFileError;
use crate::fleet::rollout;
use crate::fleet::swarm;
use crate::machine::Error;
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
    if let Some(error) = error.downcast_ref::<Error>() {
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
    if let Some(error) = error.downcast_ref::<berth_images::Error>() {
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
        Error::Timeout { machine, .. } => {
            hinted(FAILED, &format!("`berth logs {machine}` may tell why"))
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

fn of_rollout(error: &rollout::Error) -> Words {
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

fn of_swarm(error: &swarm::Error) -> Words {
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

fn of_provision(machine: &str, error: &ProvisionError) -> Words {
    match error {
        ProvisionError::Word { .. } | ProvisionError::Unsupported(_) => plain(USAGE),
        ProvisionError::VersionNotOffered { .. } => hinted(
            FAILED,
            &format!(
                "`berth engine versions {machine}` tells all that is offered; \
                 `berth provision {machine} --engine docker` takes the version that there is"
            ),
        ),
        ProvisionError::OtherEngine { channel, .. } => hinted(
            FAILED,
            &format!("`berth provision {machine} --channel {channel}` replaces it"),
        ),
        ProvisionError::NoChannel { .. } => hinted(
            FAILED,
            &format!("`berth engine versions {machine}` tells what each channel offers"),
        ),
        ProvisionError::Bundle { .. } | ProvisionError::Fetch { .. } => plain(FAILED),
        ProvisionError::RepositoryKey { .. } => hinted(
            FAILED,
            "nothing was installed; a mirror signed by a key of its own is named by BERTH_DOCKER_REPO and its key's \
             fingerprint by BERTH_DOCKER_REPO_KEY",
        ),
        ProvisionError::NothingToUpgrade { engine, .. } => hinted(
            WRONG_STATE,
            &format!("`berth provision {machine} --engine {engine}` installs one"),
        ),
        ProvisionError::LittleSpace { .. } => hinted(
            FAILED,
            &format!(
                "nothing was changed; make room with `berth ssh {machine}`, such as by `docker system prune`"
            ),
        ),
        ProvisionError::BrokenOff { to, .. } => hinted(
            WRONG_STATE,
            &format!(
                "`berth upgrade {machine} --to {to}` goes on with it, `berth upgrade {machine} --rollback` takes it back"
            ),
        ),
        ProvisionError::RolledBack { .. } => hinted(FAILED, "nothing has changed in the end"),
        ProvisionError::NotRolledBack { .. } => hinted(
            FAILED,
            &format!(
                "`berth upgrade {machine} --rollback` tries to put it back again; what was there is in \
                 /var/lib/berth/upgrade in the machine"
            ),
        ),
        ProvisionError::HostKeyMismatch { .. } | ProvisionError::HostKeyUnknown { .. } => hinted(
            FAILED,
            &format!(
                "if the machine was made anew, `berth host-key {machine}` shows its key and how to accept it; \
                 otherwise find out who answers there"
            ),
        ),
        ProvisionError::OtherHostKey { .. } => hinted(
            FAILED,
            "nothing was sent there; find out who answers, or say the right fingerprint with -o host-key=SHA256:…",
        ),
        ProvisionError::Sudo { user, .. } => hinted(
            FAILED,
            &format!(
                "as root there: `echo '{user} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/berth`, then \
                 `berth create --resume {machine}`; or log in as root, or adopt it with --engine none"
            ),
        ),
        ProvisionError::SocketClosed { user, .. } => hinted(
            FAILED,
            &format!(
                "as root there: `usermod -aG docker {user}`, then `berth create --resume {machine}`"
            ),
        ),
        ProvisionError::JumpHost { .. } => hinted(
            FAILED,
            "the way is that of your own ssh: `ssh HOST true` to the last host there must work without a question",
        ),
        ProvisionError::Agent { .. } | ProvisionError::KeyFile { .. } => hinted(
            FAILED,
            &format!(
                "`ssh-add FILE` gives a key to a running agent; then `berth create --resume {machine}`, or `berth rm \
                 {machine}` and adopt it with another -o key="
            ),
        ),
        ProvisionError::KeyRejected { .. } => hinted(
            FAILED,
            &format!("was authorized_keys changed in the guest? `berth logs {machine}` may tell"),
        ),
        ProvisionError::InvalidConfig { .. } => hinted(
            FAILED,
            &format!("mend that file with `berth ssh {machine}`, then try again"),
        ),
        ProvisionError::Unreachable { .. } | ProvisionError::Lost { .. } => hinted(
            FAILED,
            &format!(
                "`berth status {machine}` tells whether it runs, `berth logs {machine}` what it says"
            ),
        ),
        ProvisionError::Io { source, .. } => of_io(source),
        _ => hinted(
            FAILED,
            &format!(
                "`berth provision {machine}` tries again, `berth create --resume {machine}` finishes a create"
            ),
        ),
    }
}

fn of_fleet_file(error: &FleetFileError) -> Words {
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

/// What goes wrong with a bundle before any machine is asked.
fn of_bundle(error: &ProvisionError) -> Words {
    match error {
        ProvisionError::Word { .. } => plain(USAGE),
        ProvisionError::Io { source, .. } => of_io(source),
        _ => plain(FAILED),
    }
}

fn of_image(error: &ImageError) -> Words {
    match error {
        ImageError::Download { .. } => hinted(
            FAILED,
            "what has come is kept: the same command goes on from there",
        ),
        ImageError::NoSource { reasons, .. } => {
            let unreached = |error: &ImageError| matches!(error, ImageError::Download { .. });
            match reasons.iter().all(|(_, error)| unreached(error)) {
                true => hinted(
                    FAILED,
                    "check the network; what has come is kept, and the same command goes on from there",
                ),
                false => hinted(
                    FAILED,
                    "nothing that is not as its distributor says was kept; try again later, or another image",
                ),
            }
        }
        ImageError::Mismatch { .. } => hinted(
            FAILED,
            "nothing of it was kept; compare the digest with the distributor's",
        ),
        ImageError::Checksums { .. } | ImageError::Unsigned { .. } => plain(FAILED),
        ImageError::Unvouched { .. } => hinted(
            USAGE,
            "use its https address, or say what it is with --digest sha256:…",
        ),
        ImageError::InvalidReference { .. }
        | ImageError::NotADisk { .. }
        | ImageError::WrongKind { .. }
        | ImageError::UnsafeDisk { .. } => plain(USAGE),
        ImageError::UnknownImage { .. } => hinted(NOT_FOUND, "`berth image ls` lists them"),
        ImageError::Recipe { .. } | ImageError::Arch { .. } => plain(FAILED),
        ImageError::ToolMissing { .. } => {
            hinted(FAILED, "`berth doctor --fix` installs what is missing")
        }
        ImageError::Mirror { .. } => hinted(
            FAILED,
            &format!(
                "check the network, or set {} to a mirror that is reached",
                berth_images::MIRROR_VARIABLE
            ),
        ),
        ImageError::DiskFull { .. } => hinted(
            FAILED,
            "free some space there, or set BERTH_IMAGES to a folder on another disk",
        ),
        ImageError::InUse { .. } => hinted(WRONG_STATE, "remove those machines first"),
        ImageError::Damaged { .. } => hinted(
            FAILED,
            "`berth image rm` it, and it is built anew when it is needed",
        ),
        ImageError::Tool { .. } => {
            hinted(FAILED, "`berth doctor` checks the tools that build images")
        }
        ImageError::Io { source, .. } => of_io(source),
    }
}

fn of_context(error: &context::Error) -> Words {
    match error {
        context::Error::Foreign { name } => hinted(
            WRONG_STATE,
            &format!("choose another name, or remove it with `docker context rm {name}`"),
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
