//! A machine's volumes, and those of its image, in a storage pool.

mod image;
mod machine;
mod pool;
mod upload;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use berth_driver_api::{Error, Machine, Result};
use nix::fcntl::{Flock, FlockArg};
use tokio::time::Instant;
use virt::error::ErrorNumber;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

use crate::capabilities::qemu_user;
use crate::failure::failed;
use crate::hypervisor::{Hypervisor, blocking};
use crate::options::{DEFAULT_POOL, PoolName};
use crate::volume::{self, Listed, Owner};
use crate::xml::Element;

pub(crate) use pool::check_pool;

/// How long libvirt may be about a volume that nobody waits for any more: the copy of a disk at most.
const MADE: Duration = Duration::from_secs(90);

/// A pool, for machines of one hypervisor.
pub(crate) struct Storage<'a> {
    hypervisor: &'a Hypervisor,
    pool: StoragePool,
    owner: Option<Owner>,
}

impl<'a> Storage<'a> {
    /// The pool `name`, which is made if it is the default one.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn open(hypervisor: &'a Hypervisor, name: &PoolName) -> Result<Storage<'a>> {
        if let Some(storage) = Storage::existing(hypervisor, name)? {
            return Ok(storage);
        }
        if name.as_str() != DEFAULT_POOL {
            check_pool(hypervisor, name)?;
        }
        let pool = blocking(|| pool::make_default_pool(hypervisor))?;
        Storage::of(hypervisor, pool)
    }

    /// The pool `name`, if there is one.
    ///
    /// # Errors
    /// If the hypervisor does not answer, or cannot activate it.
    pub(crate) fn existing(
        hypervisor: &'a Hypervisor,
        name: &PoolName,
    ) -> Result<Option<Storage<'a>>> {
        match blocking(|| pool::find_pool(hypervisor, name))? {
            Some(pool) => Storage::of(hypervisor, pool).map(Some),
            None => Ok(None),
        }
    }

    fn of(hypervisor: &'a Hypervisor, pool: StoragePool) -> Result<Storage<'a>> {
        let owner = if hypervisor.shares_files() {
            None
        } else {
            qemu_user(hypervisor.capabilities()?)
        };
        Ok(Storage {
            hypervisor,
            pool,
            owner,
        })
    }

    fn volumes(&self) -> Result<Vec<Listed>> {
        let what = "listing the pool's volumes";
        blocking(|| {
            let mut found = Vec::new();
            for volume in self.pool.list_all_volumes(0).map_err(failed(what))? {
                // Others may remove theirs meanwhile.
                let (Ok(name), Ok(path)) = (volume.get_name(), volume.get_path()) else {
                    continue;
                };
                let backing = match volume.get_xml_desc(0) {
                    Ok(xml) => volume::backing(&xml),
                    Err(error) if error.code() == ErrorNumber::NoStorageVolume => continue,
                    Err(error) => return Err(failed(what)(error)),
                };
                found.push(Listed {
                    name,
                    path,
                    backing,
                });
            }
            Ok(found)
        })
    }

    fn find(&self, name: &str) -> Result<Option<StorageVol>> {
        match StorageVol::lookup_by_name(&self.pool, name) {
            Ok(volume) => Ok(Some(volume)),
            Err(error) if error.code() == ErrorNumber::NoStorageVolume => Ok(None),
            Err(error) => Err(failed(format!("looking for the volume {name}"))(error)),
        }
    }

    fn path_of(&self, name: &str) -> Result<Option<String>> {
        blocking(|| {
            let volume = self.find(name)?;
            let path = volume.map(|volume| volume.get_path()).transpose();
            path.map_err(failed(format!("the volume {name}")))
        })
    }

    fn make(&self, xml: &Element) -> Result<String> {
        blocking(|| {
            StorageVol::create_xml(&self.pool, &xml.to_string(), 0)
                .and_then(|volume| volume.get_path())
        })
        .map_err(failed("making a volume in the storage pool"))
    }

    /// Deletes a volume, if there is one.
    async fn delete(&self, name: &str) -> Result<()> {
        let until = Instant::now() + MADE;
        let mut pause = Duration::from_millis(50);
        loop {
            let Some(volume) = blocking(|| self.find(name))? else {
                return Ok(());
            };
            match blocking(|| volume.delete(0)) {
                // One that was asked for by a call that was given up is finished all the same, and until then refused.
                Err(error)
                    if error.code() == ErrorNumber::OperationInvalid && Instant::now() < until => {}
                Err(error) if error.code() != ErrorNumber::NoStorageVolume => {
                    return Err(failed(format!("deleting the volume {name}"))(error));
                }
                _ => return Ok(()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_secs(1));
        }
    }
}

/// Held while an image's volumes are made, or looked at to be removed. The folder is there for all machines of a berth
/// home; it is locked in place of a file that somebody would have to remove.
fn lock(machine: &Machine) -> Result<Flock<File>> {
    let folder = &machine.ports;
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let file = File::open(folder).map_err(Error::io(folder))?;
    blocking(|| Flock::lock(file, FlockArg::LockExclusive))
        .map_err(|(_, errno)| Error::io(folder)(errno.into()))
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::failed(
            "the machine's XML",
            format!("the path {} is not UTF-8", path.display()),
        )
    })
}
