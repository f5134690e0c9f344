//! The machine's VM, as VirtualBox has it: made, asked, removed.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use berth_driver_api::{Error, Machine, Result, mac};

use crate::arguments::Hardware;
use crate::controller::Controller;
use crate::disks::Disks;
use crate::media::{BASE_DESCRIPTION, BOOT_DESCRIPTION, DISK, SEED_DESCRIPTION};
use crate::network::Network;
use crate::record::Record;
use crate::vboxmanage::VBoxManage;
use crate::{explain, options, power, state, vdi};

/// The serial console, in the machine's folder. VirtualBox begins it anew at each start.
pub(crate) const CONSOLE: &str = "console.log";

/// The VM's name in VirtualBox's lists, and that of the folder of its settings and logs in the machine's.
fn name(machine: &Machine) -> String {
    let id = machine.id.simple().to_string();
    format!("berth-{}-{}", machine.name, id.get(..8).unwrap_or(&id))
}

/// The folder of the VM's settings and logs.
pub(crate) fn folder(machine: &Machine) -> PathBuf {
    machine.file(&name(machine))
}

/// How often a VM is begun anew of which VirtualBox's service forgot a part while it was made.
const FORGOTTEN: u32 = 2;

/// Makes it of the disks that are there, unless a complete one is registered. What another call left half-made goes. Its
/// disk has what the `layers` of another machine's have, the uppermost first.
pub(crate) async fn make(
    tool: &VBoxManage,
    machine: &Machine,
    record: &Record,
    layers: &[PathBuf],
) -> Result<()> {
    for _ in 0..FORGOTTEN {
        match make_once(tool, machine, record, layers.to_vec()).await {
            Err(error) if explain::is_forgotten(&error) => {
                tracing::debug!("the VM is made anew: {error}");
            }
            outcome => return outcome,
        }
    }
    make_once(tool, machine, record, layers.to_vec()).await
}

async fn make_once(
    tool: &VBoxManage,
    machine: &Machine,
    record: &Record,
    layers: Vec<PathBuf>,
) -> Result<()> {
    if let Some(shown) = tool.show(machine).await?
        && state::is_complete(&shown)
    {
        return Ok(());
    }
    remove(tool, machine).await?;

    let file = |name: &str| -> Result<String> {
        // What VirtualBox says of files has no links in it.
        let folder = fs::canonicalize(&machine.folder).map_err(Error::io(&machine.folder))?;
        let path = folder.join(name);
        path.to_str().map(str::to_owned).ok_or_else(|| {
            Error::failed(
                "the machine's folder",
                format!("{} is not text", path.display()),
            )
        })
    };
    let (base, disk) = (file(BASE_DESCRIPTION)?, file(DISK)?);
    let (id, name) = (machine.id.to_string(), name(machine));
    let console = file(CONSOLE)?;
    let hardware = Hardware {
        id: machine.id,
        spec: &machine.spec,
        card: options::card(machine),
        mac: mac(machine.id).replace(':', ""),
        port: record.port,
        console: &console,
    };
    let folder = file("")?;
    let create = [
        "createvm",
        "--name",
        &name,
        "--ostype",
        "Debian_64",
        "--uuid",
        &id,
        "--basefolder",
        &folder,
        "--register",
    ];
    tool.run(&create.map(str::to_owned)).await?;
    let about = format!(
        "berth's machine {} ({id}): use `berth`, not VirtualBox",
        machine.name
    );
    tool.call("modifyvm", machine.id, &["--description", &about])
        .await?;
    let mut hardware = hardware.arguments(tool.version);
    if let Some(network) = Network::of(machine) {
        hardware.extend(network.arguments(machine.id, options::card(machine), tool.version));
    }
    tool.run(&hardware).await?;
    let controller = Controller::of(machine);
    tool.run(&controller.arguments(machine.id)).await?;
    for (place, description) in [
        (controller.boot, BOOT_DESCRIPTION),
        (controller.seed, SEED_DESCRIPTION),
    ] {
        if machine.file(description).exists() {
            let attach = controller.attach_berths(machine.id, place, &file(description)?);
            tool.run(&attach).await?;
        }
    }
    let differing = [
        "createmedium",
        "disk",
        "--filename",
        &disk,
        "--diffparent",
        &base,
    ];
    tool.run(&differing.map(str::to_owned)).await?;
    if !layers.is_empty() {
        let empty = machine.file(DISK);
        let filled = tokio::task::spawn_blocking(move || vdi::merge(&layers, &empty)).await;
        filled.map_err(|error| Error::failed("copying the disk", error))??;
    }
    tool.run(&controller.attach(machine.id, controller.disk, &disk))
        .await?;
    Ok(())
}

/// Removes what VirtualBox knows of the machine, and the files that it made.
pub(crate) async fn remove(tool: &VBoxManage, machine: &Machine) -> Result<()> {
    if state::settled(tool, machine).await?.is_some() {
        power::kill(tool, machine).await?;
        // Not with --delete: that would follow descriptions to the image's own disk.
        tool.call("unregistervm", machine.id, &[]).await?;
    }
    // Those that were made for the VM and never attached.
    for disk in Disks::registered(tool).await?.in_folder(&machine.folder) {
        tool.run(&["closemedium".into(), "disk".into(), disk.to_owned()])
            .await?;
    }
    remove_files(machine)
}

/// Removes the files that VirtualBox made.
pub(crate) fn remove_files(machine: &Machine) -> Result<()> {
    let folder = folder(machine);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io(folder)(error)),
        _ => {}
    }
    berth_driver_api::files::remove(&machine.file(DISK))
}
