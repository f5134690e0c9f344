//! A machine's snapshots: VirtualBox puts a further layer over its disk for each, and keeps the memory of one that runs.
//! The disk that it boots from, with its credentials, and its seed are no part of them.

use std::time::{SystemTime, UNIX_EPOCH};

use berth_driver_api::snapshot::{Snapshot, check_name};
use berth_driver_api::{Error, Machine, Progress, Result, State};

use crate::properties::Properties;
use crate::vboxmanage::VBoxManage;
use crate::{power, state};

/// Before the names of berth's own: the user makes snapshots of a VM too.
const PREFIX: &str = "berth-";

/// A snapshot on VirtualBox's list.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    /// VirtualBox's name of it, since it lets two have the same.
    id: String,
    name: String,
    about: String,
}

/// The machine's snapshots, the oldest first.
pub(crate) async fn list(tool: &VBoxManage, machine: &Machine) -> Result<Vec<Snapshot>> {
    let shown = state::existing(tool, machine).await?;
    let mut all: Vec<Snapshot> = kept(&shown).filter_map(|kept| read(&kept)).collect();
    all.sort_by_key(|one| one.taken);
    Ok(all)
}

/// Takes one of the machine as it is.
pub(crate) async fn take(
    tool: &VBoxManage,
    machine: &Machine,
    name: &str,
    progress: &dyn Progress,
) -> Result<()> {
    check_name(name)?;
    let state = state::existing(tool, machine).await?.state();
    let memory = match state {
        State::Running | State::Paused => Some(machine.spec.memory),
        State::Stopped => None,
        state => {
            return Err(Error::WrongState {
                state,
                wanted: "running or stopped",
            });
        }
    };
    progress.phase(match memory {
        Some(_) => "Writing disk and memory",
        None => "Taking the snapshot",
    });
    take_as(tool, machine, &format!("{PREFIX}{name}"), &about(memory)).await
}

/// Takes one that VirtualBox calls `name`.
pub(crate) async fn take_as(
    tool: &VBoxManage,
    machine: &Machine,
    name: &str,
    about: &str,
) -> Result<()> {
    let taken = tool
        .call(
            "snapshot",
            machine.id,
            &["take", name, "--description", about],
        )
        .await;
    taken.map(drop)
}

/// Makes the machine what it was.
pub(crate) async fn restore(
    tool: &VBoxManage,
    machine: &Machine,
    name: &str,
    progress: &dyn Progress,
) -> Result<()> {
    check_name(name)?;
    let shown = state::existing(tool, machine).await?;
    let wanted = format!("{PREFIX}{name}");
    let found = kept(&shown)
        .filter(|kept| kept.name == wanted)
        .find_map(|kept| Some((read(&kept)?, kept.id)));
    let Some((snapshot, id)) = found else {
        return Err(Error::failed(
            "restoring the machine",
            format!("it has no snapshot {name}"),
        ));
    };
    power::kill(tool, machine).await?;
    progress.phase("Going back to the snapshot");
    tool.call("snapshot", machine.id, &["restore", &id]).await?;
    match snapshot.memory {
        Some(_) => power::start(tool, machine, progress).await,
        None => Ok(()),
    }
}

/// Removes one; one that is gone is a success.
pub(crate) async fn remove(tool: &VBoxManage, machine: &Machine, name: &str) -> Result<()> {
    check_name(name)?;
    let wanted = format!("{PREFIX}{name}");
    remove_all(tool, machine, |name| name == wanted).await
}

/// Removes those whose name, as VirtualBox has it, is `unwanted`.
pub(crate) async fn remove_all(
    tool: &VBoxManage,
    machine: &Machine,
    unwanted: impl Fn(&str) -> bool,
) -> Result<()> {
    let shown = state::existing(tool, machine).await?;
    for kept in kept(&shown).filter(|kept| unwanted(&kept.name)) {
        tool.call("snapshot", machine.id, &["delete", &kept.id])
            .await?;
    }
    Ok(())
}

/// All of a VM's. VirtualBox numbers their properties by their places in a tree: `SnapshotName-1-2`.
fn kept(shown: &Properties) -> impl Iterator<Item = Kept> {
    shown.under("SnapshotName").map(|(place, name)| {
        let of = |what: &str| shown.get(&format!("Snapshot{what}{place}"));
        Kept {
            id: of("UUID").unwrap_or_default().to_owned(),
            name: name.to_owned(),
            about: of("Description").unwrap_or_default().to_owned(),
        }
    })
}

/// What VBoxManage tells of no snapshot is kept as its description: when it was taken and the memory's size.
fn about(memory: Option<u64>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let taken = now.map_or(0, |now| now.as_secs());
    match memory {
        Some(memory) => format!("taken {taken} memory {memory}"),
        None => format!("taken {taken}"),
    }
}

/// Reads a snapshot of berth's; `None` if it is somebody else's.
fn read(kept: &Kept) -> Option<Snapshot> {
    let mut words = kept.about.split_ascii_whitespace();
    let mut number = |name: &str| match words.next() {
        Some(word) if word == name => words.next()?.parse::<u64>().ok(),
        _ => None,
    };
    Some(Snapshot {
        name: kept.name.strip_prefix(PREFIX)?.to_owned(),
        taken: number("taken")?.try_into().ok()?,
        memory: number("memory"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of VirtualBox 7.2.22, shortened.
    const SHOWN: &str = r#"VMState="running"
SnapshotName="berth-before"
SnapshotUUID="632f9597-204b-4361-b3b5-8e6a60ed44ad"
SnapshotDescription="taken 1795400000 memory 268435456"
SnapshotName-1="mine"
SnapshotUUID-1="7402e388-37bc-4561-9485-7b756167d8ba"
SnapshotName-1-1="berth-v1.2_x"
SnapshotUUID-1-1="f18ce1b5-8de6-4a50-9b02-0123456789ab"
SnapshotDescription-1-1="taken 1795300000"
CurrentSnapshotName="berth-v1.2_x"
CurrentSnapshotUUID="f18ce1b5-8de6-4a50-9b02-0123456789ab"
CurrentSnapshotNode="SnapshotName-1-1"
"#;

    #[test]
    fn only_snapshots_of_berths_are_told_of() {
        let shown = Properties::parse(SHOWN);
        let found: Vec<(Snapshot, String)> = kept(&shown)
            .filter_map(|kept| Some((read(&kept)?, kept.id)))
            .collect();
        let [(before, id), (later, _)] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(before.name, "before");
        assert_eq!(before.taken, 1_795_400_000);
        assert_eq!(before.memory, Some(256 << 20));
        assert_eq!(id, "632f9597-204b-4361-b3b5-8e6a60ed44ad");
        assert_eq!(
            (later.name.as_str(), later.memory),
            ("v1.2_x", None),
            "its place is in the tree"
        );
    }

    #[test]
    fn what_is_kept_of_a_snapshot_is_read_again() {
        for memory in [None, Some(1 << 30)] {
            let kept = Kept {
                id: String::new(),
                name: "berth-x".into(),
                about: about(memory),
            };
            let read = read(&kept).unwrap();
            assert_eq!(read.memory, memory);
            assert!(read.taken > 1_700_000_000);
        }
        for about in ["", "taken", "taken soon", "memory 7", "mine"] {
            let kept = Kept {
                id: String::new(),
                name: "berth-x".into(),
                about: about.into(),
            };
            assert_eq!(read(&kept), None, "{about}");
        }
    }
}
