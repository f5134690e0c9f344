//! The disks that VirtualBox has on its list.

use std::path::{Path, PathBuf};

use berth_driver_api::Result;

use crate::vboxmanage::{VBoxManage, belongs};

/// The registered disks.
pub(crate) struct Disks(Vec<Disk>);

struct Disk {
    id: String,
    /// The id of the disk below; another word for one that lies over none.
    below: String,
    path: String,
}

impl Disks {
    /// Asks for them.
    pub(crate) async fn registered(tool: &VBoxManage) -> Result<Disks> {
        let listed = tool.run(&["list".to_owned(), "hdds".to_owned()]).await?;
        Ok(Disks::parse(&listed))
    }

    fn parse(listed: &str) -> Disks {
        let mut found: Vec<Disk> = Vec::new();
        for line in listed.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim().to_owned();
            match (name, found.last_mut()) {
                ("UUID", _) => found.push(Disk {
                    id: value,
                    below: String::new(),
                    path: String::new(),
                }),
                ("Parent UUID", Some(disk)) => disk.below = value,
                ("Location", Some(disk)) => disk.path = value,
                _ => {}
            }
        }
        Disks(found)
    }

    /// Those that lie in `folder`, each before the one that it lies over.
    pub(crate) fn in_folder(&self, folder: &Path) -> Vec<&str> {
        let mut found: Vec<&Disk> = self
            .0
            .iter()
            .filter(|disk| belongs(Path::new(&disk.path), folder))
            .collect();
        found.sort_by_key(|disk| std::cmp::Reverse(self.below(disk).count()));
        found.into_iter().map(|disk| disk.path.as_str()).collect()
    }

    /// The disk in the file `path` and those that it lies over, but for the lowest one, which is the image's.
    pub(crate) fn layers(&self, path: &str) -> Vec<PathBuf> {
        let Some(disk) = self.0.iter().find(|disk| disk.path == path) else {
            return Vec::new();
        };
        let mut all: Vec<PathBuf> = std::iter::once(disk)
            .chain(self.below(disk))
            .map(|disk| PathBuf::from(&disk.path))
            .collect();
        all.pop();
        all
    }

    /// The disks that `disk` lies over, from the uppermost on.
    fn below<'a>(&'a self, disk: &'a Disk) -> impl Iterator<Item = &'a Disk> {
        let next = |disk: &&Disk| self.0.iter().find(|other| other.id == disk.below);
        // A list that goes round in a circle ends too.
        std::iter::successors(next(&disk), next).take(self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of VirtualBox 7.2.22, shortened: a machine with a snapshot, and somebody else's.
    const LISTED: &str = "\
UUID:           11111111-1111-4111-8111-111111111111
Parent UUID:    base
State:          locked read
Location:       /home/me/a machine/base.vmdk

UUID:           7402e388-37bc-4561-9485-7b756167d8ba
Parent UUID:    11111111-1111-4111-8111-111111111111
Location:       /home/me/a machine/disk.vdi
Storage format: vdi

UUID:           632f9597-204b-4361-b3b5-8e6a60ed44ad
Parent UUID:    7402e388-37bc-4561-9485-7b756167d8ba
Location:       /home/me/a machine/berth-x-1/Snapshots/{632f9597-204b-4361-b3b5-8e6a60ed44ad}.vdi

UUID:           f18ce1b5-8de6-4a50-9b02-0123456789ab
Parent UUID:    base
Location:       /home/me/a machine2/disk.vdi
";

    #[test]
    fn only_what_lies_in_the_machines_folder_is_its_own_and_the_uppermost_comes_first() {
        let disks = Disks::parse(LISTED);
        let own = disks.in_folder(Path::new("/home/me/a machine"));
        let names: Vec<&str> = own
            .iter()
            .filter_map(|path| path.rsplit('/').next())
            .collect();
        assert_eq!(
            names,
            [
                "{632f9597-204b-4361-b3b5-8e6a60ed44ad}.vdi",
                "disk.vdi",
                "base.vmdk"
            ]
        );
    }

    #[test]
    fn the_layers_of_a_disk_are_those_over_the_image() {
        let disks = Disks::parse(LISTED);
        let top = disks.in_folder(Path::new("/home/me/a machine"))[0];
        let layers = disks.layers(top);
        assert_eq!(layers.len(), 2);
        assert!(layers[0].ends_with("Snapshots/{632f9597-204b-4361-b3b5-8e6a60ed44ad}.vdi"));
        assert_eq!(layers[1], Path::new("/home/me/a machine/disk.vdi"));
        assert!(disks.layers("/elsewhere").is_empty());
    }
}
