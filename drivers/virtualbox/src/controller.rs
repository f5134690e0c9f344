//! What a machine's disks hang on, and where on it.

use berth_driver_api::Machine;
use uuid::Uuid;

use crate::options;
use crate::properties::Properties;

/// A controller of disks.
pub(crate) struct Controller {
    /// VirtualBox's name of it in the VM.
    name: &'static str,
    /// What VirtualBox is to take for it.
    kind: &'static [&'static str],
    /// The disk that the machine boots from, if berth built its image.
    pub(crate) boot: Place,
    /// The disk that it writes to.
    pub(crate) disk: Place,
    /// Its seed, if it has one.
    pub(crate) seed: Place,
}

/// A place on a controller.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    port: &'static str,
    device: &'static str,
}

const fn place(port: &'static str, device: &'static str) -> Place {
    Place { port, device }
}

const SATA: Controller = Controller {
    name: "SATA",
    kind: &["sata", "--controller", "IntelAhci", "--portcount", "3"],
    boot: place("0", "0"),
    disk: place("1", "0"),
    seed: place("2", "0"),
};

const IDE: Controller = Controller {
    name: "IDE",
    kind: &["ide", "--controller", "PIIX4"],
    boot: place("0", "0"),
    disk: place("0", "1"),
    seed: place("1", "0"),
};

impl Controller {
    /// The one that a machine is to have.
    pub(crate) fn of(machine: &Machine) -> Controller {
        match options::is_ide(machine) {
            true => IDE,
            false => SATA,
        }
    }

    /// `storagectl`.
    pub(crate) fn arguments(&self, id: Uuid) -> Vec<String> {
        let id = id.to_string();
        let begin = ["storagectl", &id, "--name", self.name, "--add"];
        let end = ["--bootable", "on"];
        let all = begin.iter().chain(self.kind).chain(&end);
        all.map(|word| (*word).to_owned()).collect()
    }

    /// `storageattach`.
    pub(crate) fn attach(&self, id: Uuid, place: Place, medium: &str) -> Vec<String> {
        let id = id.to_string();
        [
            "storageattach",
            &id,
            "--storagectl",
            self.name,
            "--port",
            place.port,
            "--device",
            place.device,
            "--type",
            "hdd",
            "--medium",
            medium,
        ]
        .map(str::to_owned)
        .into()
    }

    /// `storageattach`, for a disk that berth writes: snapshots leave it alone. VirtualBox has a type for what is only read
    /// too, and gives it to no hard disk.
    pub(crate) fn attach_berths(&self, id: Uuid, place: Place, medium: &str) -> Vec<String> {
        let mut arguments = self.attach(id, place, medium);
        arguments.extend(["--mtype", "writethrough"].map(str::to_owned));
        arguments
    }
}

/// The disk that a VM writes to: the one that it was made with, or the uppermost of the layers that snapshots have put over
/// that one.
pub(crate) fn disk(shown: &Properties) -> Option<&str> {
    [SATA, IDE]
        .iter()
        .find_map(|Controller { name, disk, .. }| {
            shown.get(&format!("{name}-{}-{}", disk.port, disk.device))
        })
        .filter(|medium| *medium != "none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_disk_has_a_place_of_its_own() {
        let id = Uuid::from_u128(7);
        for controller in [SATA, IDE] {
            let places = [controller.boot, controller.disk, controller.seed];
            let mut all = places.map(|place| controller.attach(id, place, "x").join(" "));
            all.sort();
            assert!(all.windows(2).all(|two| two[0] != two[1]), "{all:?}");
        }
        assert_eq!(
            IDE.attach_berths(id, IDE.seed, "/m/seed.vmdk")[2..].join(" "),
            "--storagectl IDE --port 1 --device 0 --type hdd --medium /m/seed.vmdk --mtype writethrough"
        );
        assert_eq!(
            SATA.arguments(id)[2..].join(" "),
            "--name SATA --add sata --controller IntelAhci --portcount 3 --bootable on"
        );
    }

    #[test]
    fn the_disk_is_found_on_either_controller() {
        for (shown, wanted) in [
            (
                "\"SATA-0-0\"=\"/m/boot.vmdk\"\n\"SATA-1-0\"=\"/m/disk.vdi\"\n",
                Some("/m/disk.vdi"),
            ),
            (
                "\"IDE-0-0\"=\"/m/boot.vmdk\"\n\"IDE-0-1\"=\"/m/disk.vdi\"\n",
                Some("/m/disk.vdi"),
            ),
            ("\"SATA-1-0\"=\"none\"\n", None),
            ("\"IDE-0-1\"=\"none\"\n", None),
            ("VMState=\"poweroff\"\n", None),
        ] {
            assert_eq!(disk(&Properties::parse(shown)), wanted);
        }
    }
}
