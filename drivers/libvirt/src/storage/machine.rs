//! What a machine has in the pool: its disk, its seed, its credentials.

use std::fs::File;

use berth_driver_api::{Credential, Error, Machine, Progress, Result, credentials, size};

use virt::domain::Domain;
use virt::storage_vol::StorageVol;

use super::image::ImageFiles;
use super::{Storage, lock, text};
use crate::domain::Kind;
use crate::failure::failed;
use crate::hypervisor::blocking;
use crate::volume::{self, ImageVolumes};
use crate::{mirror, state};

impl Storage<'_> {
    /// Sees to it that the hypervisor has the image's files and the machine's disk on them.
    ///
    /// # Errors
    /// If they cannot be read, uploaded or made.
    pub(crate) async fn disk(
        &self,
        machine: &Machine,
        progress: &dyn Progress,
    ) -> Result<(ImageFiles, String)> {
        let image = machine.image()?;
        let _lock = lock(machine)?;
        let files = self.image(image, progress).await?;
        let overlay = self.overlay(machine, &files.disk)?;
        Ok((files, overlay))
    }

    fn overlay(&self, machine: &Machine, base: &str) -> Result<String> {
        let name = volume::overlay(machine);
        if let Some(path) = self.path_of(&name)? {
            return Ok(path);
        }
        self.make(&volume::overlay_of(
            base,
            &name,
            machine.spec.disk,
            self.owner,
        ))
    }

    /// Grows the disk of a machine that is off.
    ///
    /// # Errors
    /// If there is none, it would shrink, or the hypervisor refuses.
    pub(crate) async fn grow(&self, machine: &Machine) -> Result<()> {
        if !size::grows(self.disk_size(machine)?, machine.spec.disk)? {
            return Ok(());
        }
        match self.hypervisor.kind() {
            Kind::Qemu => {
                let disk = self.disk_of(machine)?;
                blocking(|| disk.resize(machine.spec.disk, 0))
                    .map(drop)
                    .map_err(failed("growing the disk"))
            }
            // libvirt's driver for tests cannot, and what is in its disks is nothing: another one is made.
            Kind::Test => self.delete(&volume::overlay(machine)).await,
        }
    }

    /// The size of the machine's disk, in bytes.
    ///
    /// # Errors
    /// If there is none, or the hypervisor does not tell.
    pub(crate) fn disk_size(&self, machine: &Machine) -> Result<u64> {
        let disk = self.disk_of(machine)?;
        let about = blocking(|| disk.get_info()).map_err(failed("asking for the disk's size"))?;
        Ok(about.capacity)
    }

    fn disk_of(&self, machine: &Machine) -> Result<StorageVol> {
        blocking(|| self.find(&volume::overlay(machine)))?
            .ok_or_else(|| Error::Missing(machine.name.clone()))
    }

    /// Makes the machine's disk, anew if it has one, of what `source` has now, whose domain is `original`. The two stand
    /// on the same image and share nothing else.
    ///
    /// # Errors
    /// If there is none, or it cannot be copied.
    pub(crate) async fn copy(
        &self,
        source: &Machine,
        original: &Domain,
        machine: &Machine,
    ) -> Result<()> {
        let what = "copying the disk";
        let name = volume::overlay(machine);
        // Of a try that was given up.
        self.delete(&name).await?;
        let disk = blocking(|| self.find(&volume::overlay(source)))?
            .ok_or_else(|| Error::Missing(source.name.clone()))?;
        let (xml, info) =
            blocking(|| Ok((disk.get_xml_desc(0)?, disk.get_info()?))).map_err(failed(what))?;
        let base = volume::backing(&xml)
            .ok_or_else(|| Error::failed(what, "it does not stand on an image"))?;
        let new = volume::overlay_of(&base, &name, info.capacity, self.owner);
        if state::of(original)?.is_up() {
            let path = self.make(&new)?;
            return mirror::copy(original, &path).await;
        }
        blocking(|| StorageVol::create_xml_from(&self.pool, &new.to_string(), &disk, 0))
            .map(drop)
            .map_err(failed(what))
    }

    /// Sees to it that the hypervisor has the machine's seed as it is now.
    ///
    /// # Errors
    /// If it cannot be read or uploaded.
    pub(crate) async fn seed(
        &self,
        machine: &Machine,
        progress: &dyn Progress,
    ) -> Result<Option<String>> {
        let Some(file) = &machine.seed else {
            return Ok(None);
        };
        if self.hypervisor.shares_files() {
            return text(file).map(Some);
        }
        let length = std::fs::metadata(file).map_err(Error::io(file))?.len();
        let source = File::open(file).map_err(Error::io(file))?;
        let name = volume::seed(machine);
        self.upload(&name, source, length, progress).await.map(Some)
    }

    /// Keeps the credentials where only the hypervisor's QEMU, and berth, can read them.
    ///
    /// # Errors
    /// If one has an unacceptable name or cannot be written.
    pub(crate) async fn keep_credentials(
        &self,
        machine: &Machine,
        given: &[Credential],
        progress: &dyn Progress,
    ) -> Result<()> {
        if self.hypervisor.shares_files() {
            return credentials::write(machine, given, |credential| Ok(credential.value.clone()));
        }
        for credential in given {
            let name = format!("{}{}", volume::credentials(machine), credential.name);
            let value = credential.value.as_slice();
            self.upload(&name, value, value.len() as u64, progress)
                .await?;
        }
        Ok(())
    }

    /// The machine's credentials by name, and where the hypervisor finds them.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub(crate) fn credentials(&self, machine: &Machine) -> Result<Vec<(String, String)>> {
        if self.hypervisor.shares_files() {
            let kept = credentials::list(machine)?;
            return kept
                .into_iter()
                .map(|(name, path)| Ok((name, text(&path)?)))
                .collect();
        }
        let prefix = volume::credentials(machine);
        let mut found: Vec<(String, String)> = self
            .volumes()?
            .into_iter()
            .filter_map(|volume| Some((volume.name.strip_prefix(&prefix)?.to_owned(), volume.path)))
            .collect();
        found.sort();
        Ok(found)
    }

    /// Removes the machine's volumes, and its image's if no other machine stands on them.
    ///
    /// # Errors
    /// If one is there and cannot be removed.
    pub(crate) async fn remove(&self, machine: &Machine, image: &str) -> Result<()> {
        let own = volume::prefix(machine.id);
        for volume in self.volumes()? {
            if volume.name.starts_with(&own) {
                self.delete(&volume.name).await?;
            }
        }
        if self.hypervisor.shares_files() {
            return Ok(());
        }
        let _lock = lock(machine)?;
        let names = ImageVolumes::of(image)?;
        if volume::is_unused(&names.disk, &self.volumes()?) {
            for name in names.names() {
                self.delete(name).await?;
            }
        }
        Ok(())
    }
}
