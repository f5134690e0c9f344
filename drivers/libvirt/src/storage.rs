//! A machine's volumes, and those of its image, in a storage pool.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use berth_driver_api::{BootImage, Credential, Error, Machine, Progress, Result, credentials};
use nix::fcntl::{Flock, FlockArg};
use virt::error::ErrorNumber;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;

use crate::capabilities::qemu_user;
use crate::failure::failed;
use crate::hypervisor::{Hypervisor, blocking};
use crate::options::{DEFAULT_POOL, PoolName};
use crate::volume::{self, ImageVolumes, Listed, Owner};
use crate::xml::Element;

/// Where libvirt's other tools put the pool `default` of the system.
const SYSTEM_IMAGES: &str = "/var/lib/libvirt/images";

/// What is sent to a hypervisor at once (bytes).
const PIECE: usize = 1 << 20;

/// A pool, for machines of one hypervisor.
pub(crate) struct Storage<'a> {
    hypervisor: &'a Hypervisor,
    pool: StoragePool,
    owner: Option<Owner>,
}

/// Where the hypervisor finds an image's files.
pub(crate) struct ImageFiles {
    pub(crate) disk: String,
    pub(crate) kernel: Option<String>,
    pub(crate) initrd: Option<String>,
}

/// The pool `name`, active; `None` if there is none.
///
/// # Errors
/// If the hypervisor does not answer, or cannot activate it.
fn find_pool(hypervisor: &Hypervisor, name: &PoolName) -> Result<Option<StoragePool>> {
    let what = format!("the storage pool {}", name.as_str());
    let pool = match StoragePool::lookup_by_name(&hypervisor.connection, name.as_str()) {
        Ok(pool) => pool,
        Err(error) if error.code() == ErrorNumber::NoStoragePool => return Ok(None),
        Err(error) => return Err(failed(what)(error)),
    };
    if !pool.is_active().map_err(failed(&what))? {
        pool.create(0).map_err(failed(&what))?;
    }
    Ok(Some(pool))
}

/// Refuses a pool that is not there and that will not be made.
///
/// # Errors
/// If so, or if the hypervisor does not answer.
pub(crate) fn check_pool(hypervisor: &Hypervisor, name: &PoolName) -> Result<()> {
    if name.as_str() == DEFAULT_POOL {
        return Ok(());
    }
    blocking(|| StoragePool::lookup_by_name(&hypervisor.connection, name.as_str()))
        .map(drop)
        .map_err(failed(format!("the storage pool {}", name.as_str())))
}

/// Makes the pool `default` as libvirt's other tools do when they find none.
fn make_default_pool(hypervisor: &Hypervisor) -> Result<StoragePool> {
    let what = "making the storage pool default";
    let folder = match (hypervisor.uri.is_session(), hypervisor.uri.is_remote()) {
        (true, true) => {
            let reason = "where is not known of another computer's session; make one there: `virsh pool-define-as`";
            return Err(Error::failed(what, reason));
        }
        (true, false) if hypervisor.shares_files() => data_folder()?.join("libvirt/images"),
        _ => PathBuf::from(SYSTEM_IMAGES),
    };
    let xml = Element::new("pool")
        .with("type", "dir")
        .child(Element::new("name").text(DEFAULT_POOL))
        .child(Element::new("target").child(Element::new("path").text(folder.display())));
    let pool = StoragePool::define_xml(&hypervisor.connection, &xml.to_string(), 0)
        .map_err(failed(what))?;
    pool.build(0).map_err(failed(what))?;
    pool.create(0).map_err(failed(what))?;
    pool.set_autostart(true).map_err(failed(what))?;
    Ok(pool)
}

/// `$XDG_DATA_HOME`, as libvirt finds it.
fn data_folder() -> Result<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    from("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(from("HOME")?).join(".local/share")))
        .ok_or_else(|| Error::failed("making the storage pool default", "HOME is not set"))
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
        let pool = blocking(|| make_default_pool(hypervisor))?;
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
        match blocking(|| find_pool(hypervisor, name))? {
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

    async fn image(&self, image: &BootImage, progress: &dyn Progress) -> Result<ImageFiles> {
        if self.hypervisor.shares_files() {
            let own = |file: &Path| {
                let path = std::fs::canonicalize(file).map_err(Error::io(file))?;
                text(&path)
            };
            return Ok(ImageFiles {
                disk: own(&image.disk)?,
                kernel: image.kernel.as_deref().map(own).transpose()?,
                initrd: image.initrd.as_deref().map(own).transpose()?,
            });
        }
        let names = ImageVolumes::of(&image.digest)?;
        if self.path_of(&names.complete)?.is_none() {
            progress.phase("Uploading the image");
            let files = [
                (Some(&image.disk), &names.disk),
                (image.kernel.as_ref(), &names.kernel),
                (image.initrd.as_ref(), &names.initrd),
            ];
            for (file, name) in files {
                if let Some(file) = file {
                    let length = std::fs::metadata(file).map_err(Error::io(file))?.len();
                    let source = File::open(file).map_err(Error::io(file))?;
                    self.upload(name, source, length, progress).await?;
                }
            }
            self.make(&volume::plain(&names.complete, 0, self.owner))?;
        }
        let there = |name: &str| {
            self.path_of(name)?.ok_or_else(|| {
                Error::failed(
                    "the uploaded image",
                    format!("its volume {name} is not there"),
                )
            })
        };
        Ok(ImageFiles {
            disk: there(&names.disk)?,
            kernel: image
                .kernel
                .as_ref()
                .map(|_| there(&names.kernel))
                .transpose()?,
            initrd: image
                .initrd
                .as_ref()
                .map(|_| there(&names.initrd))
                .transpose()?,
        })
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
    pub(crate) fn remove(&self, machine: &Machine, image: &str) -> Result<()> {
        let own = volume::prefix(machine.id);
        for volume in self.volumes()? {
            if volume.name.starts_with(&own) {
                self.delete(&volume.name)?;
            }
        }
        if self.hypervisor.shares_files() {
            return Ok(());
        }
        let _lock = lock(machine)?;
        let names = ImageVolumes::of(image)?;
        if volume::is_unused(&names.disk, &self.volumes()?) {
            for name in names.names() {
                self.delete(name)?;
            }
        }
        Ok(())
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

    fn delete(&self, name: &str) -> Result<()> {
        blocking(|| match self.find(name)? {
            Some(volume) => match volume.delete(0) {
                Err(error) if error.code() != ErrorNumber::NoStorageVolume => {
                    Err(failed(format!("deleting the volume {name}"))(error))
                }
                _ => Ok(()),
            },
            None => Ok(()),
        })
    }

    /// Makes the volume anew and fills it.
    async fn upload(
        &self,
        name: &str,
        mut source: impl Read,
        length: u64,
        progress: &dyn Progress,
    ) -> Result<String> {
        let what = format!("uploading the volume {name}");
        self.delete(name)?;
        let path = self.make(&volume::plain(name, length, self.owner))?;
        let volume = blocking(|| self.find(name))?
            .ok_or_else(|| Error::failed(&what, "it was removed meanwhile"))?;
        let mut upload = Upload::begin(self.hypervisor, &volume, length).map_err(failed(&what))?;
        let mut piece = vec![0; PIECE];
        let mut done = 0;
        loop {
            let count = blocking(|| source.read(&mut piece))
                .map_err(|error| Error::failed(&what, error))?;
            if count == 0 {
                break;
            }
            blocking(|| upload.send(&piece[..count])).map_err(failed(&what))?;
            done += count as u64;
            progress.bytes(done, Some(length));
            // Here the upload can be given up.
            tokio::task::yield_now().await;
        }
        blocking(|| upload.finish()).map_err(failed(&what))?;
        Ok(path)
    }
}

/// An upload under way; dropped, it is broken off.
struct Upload(Option<Stream>);

impl Upload {
    fn begin(
        hypervisor: &Hypervisor,
        volume: &StorageVol,
        length: u64,
    ) -> Result<Upload, virt::error::Error> {
        blocking(|| {
            let stream = Stream::new(&hypervisor.connection, 0)?;
            volume.upload(&stream, 0, length, 0)?;
            Ok(Upload(Some(stream)))
        })
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), virt::error::Error> {
        while let (Some(stream), false) = (&self.0, bytes.is_empty()) {
            let sent = stream.send(bytes)?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), virt::error::Error> {
        self.0.take().map_or(Ok(()), Stream::finish)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            // The volume is without its mark of completeness, and is made anew next time.
            let _ = blocking(|| stream.abort());
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
