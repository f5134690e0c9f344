//! From a request to a machine with an engine that answers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_driver_api::{Machine, Progress, check_options};
use berth_images::{Checksum, Image};

use super::engine::{check_engine, install_engine, take_ready_made};
use super::journal::{self, Journal};
use super::mounts::{self, Mount};
use super::tls::{self, TlsWish};
use super::{
    Berth, DISTRO, EngineSettings, EngineWish, Error, Expiry, ImageRef, Opened, Record, Result,
    adopt, check_name, choice, clone, identity, image, labels, power, seed, show_size, template,
};
use crate::store::{self, Lock, create_private_folder};

/// What the user asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The machine's name.
    pub name: String,
    /// The driver's name, or [`super::AUTO`].
    pub driver: String,
    /// Virtual CPUs; up to four of this computer's if none are given.
    pub cpus: Option<u32>,
    /// Memory in bytes; [`MEMORY`] if none is given.
    pub memory: Option<u64>,
    /// Disk in bytes; the image's size if none is given.
    pub disk: Option<u64>,
    /// The image's reference, a disk's path or its address; the catalog's default if none is given.
    pub image: Option<String>,
    /// What the disk at that path or address must be.
    pub digest: Option<Checksum>,
    /// The file of the user's own data for cloud-init.
    pub cloud_init: Option<PathBuf>,
    /// The engine.
    pub engine: EngineWish,
    /// Whether the user named it, and so wants no other that may be there.
    pub engine_named: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The TLS endpoint.
    pub tls: Option<TlsWish>,
    /// What the engine is told.
    pub settings: EngineSettings,
    /// Folders of the host that the machine sees.
    pub mounts: Vec<Mount>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// How long the guest may take to answer over SSH.
    pub boot_deadline: Duration,
    /// When it is removed by itself.
    pub expiry: Option<Expiry>,
    /// Whether it is booted even if there is a template that it could be cloned from.
    pub cold: bool,
}

impl Request {
    /// One that asks for nothing in particular.
    pub fn plain(name: &str, driver: &str) -> Self {
        Request {
            name: name.to_owned(),
            driver: driver.to_owned(),
            cpus: None,
            memory: None,
            disk: None,
            image: None,
            digest: None,
            cloud_init: None,
            engine: EngineWish::parse("docker", DISTRO),
            engine_named: false,
            labels: BTreeMap::new(),
            tls: None,
            settings: EngineSettings::default(),
            mounts: Vec::new(),
            options: BTreeMap::new(),
            boot_deadline: Duration::from_secs(600),
            expiry: None,
            cold: false,
        }
    }
}

/// A machine's memory in bytes if none is given.
pub(super) const MEMORY: u64 = 2 << 30;

/// The disk's size in bytes if none is given, for images that berth did not build.
const CLOUD_DISK: u64 = 20 << 30;

/// Makes a machine, boots it, installs its engine and points a context at it. Whatever fails leaves a machine that
/// [`resume_create`] continues and `remove` clears; a request that cannot be met leaves nothing.
///
/// # Errors
/// [`Error::Exists`], [`Error::Busy`], and whatever a step fails with.
pub async fn create(berth: &Berth, request: &Request, progress: &dyn Progress) -> Result<Record> {
    let (_lock, record) = found(berth, request, progress).await?;
    carry_out(berth, record, request.boot_deadline, progress).await
}

/// Checks the request and makes the machine's folder, with a create in it that has not got anywhere yet.
pub(super) async fn found(
    berth: &Berth,
    request: &Request,
    progress: &dyn Progress,
) -> Result<(Lock, Record)> {
    check_request(berth, request)?;
    check_engine(&request.engine).await?;
    let request = &settled(berth, request, progress).await?;
    let driver = berth.drivers.get(&request.driver).await?;
    adopt::check_wishes(request, driver.info())?;
    image::check_driver(berth, request, driver.info()).map_err(Error::driver(&request.name))?;
    let user_data = request.cloud_init.as_deref();
    let user_data = user_data.map(seed::user_data).transpose()?;
    berth.home.prepare()?;
    let lock = take_lock(berth, &request.name)?;
    if berth.home.machine(&request.name).path().exists() {
        return Err(Error::Exists(request.name.clone()));
    }
    let result = async {
        let record = plan(berth, request, progress).await?;
        found_folder(berth, &record, |draft| {
            match (
                &user_data,
                berth.home.machine(&record.name).user_data().file_name(),
            ) {
                (Some(text), Some(name)) => {
                    store::write_private(&draft.join(name), text.as_bytes())
                }
                _ => Ok(()),
            }
        })?;
        Ok(record)
    }
    .await;
    match result {
        Ok(record) => Ok((lock, record)),
        Err(error) => {
            // Nothing was made yet: leave no trace of the lock either.
            let _ = lock.remove();
            Err(error)
        }
    }
}

/// The request with its driver named, and with what the environment says of that driver's options; refused where the
/// driver cannot take it.
pub(super) async fn settled(
    berth: &Berth,
    request: &Request,
    progress: &dyn Progress,
) -> Result<Request> {
    let mut request = choice::settle(berth, request, progress).await?;
    let driver = berth.drivers.get(&request.driver).await?;
    for option in &driver.info().options {
        if let Ok(value) = std::env::var(option.variable(&request.driver)) {
            request.options.entry(option.name.clone()).or_insert(value);
        }
    }
    check_options(driver.info(), &request.options).map_err(Error::driver(&request.name))?;
    Ok(request)
}

/// Continues a create that broke off.
///
/// # Errors
/// [`Error::NothingToResume`] if it did not; else as [`create`].
pub async fn resume_create(
    berth: &Berth,
    name: &str,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<Record> {
    let record = berth.record(name)?;
    let _lock = berth.still_there(name, take_lock(berth, name)?)?;
    match journal::pending(&berth.home.machine(name).journal())? {
        Some(pending) if pending.operation == "create" => {}
        Some(pending) if pending.operation == "rm" => {
            return Err(Error::Unfinished {
                name: name.to_owned(),
                operation: pending.operation,
            });
        }
        _ => return Err(Error::NothingToResume(name.to_owned())),
    }
    carry_out(berth, record, boot_deadline, progress).await
}

fn check_request(berth: &Berth, request: &Request) -> Result<()> {
    check_name(&request.name)?;
    request.settings.resolve()?;
    if request.cpus == Some(0) {
        return Err(Error::BadRequest {
            what: "--cpus".into(),
            reason: "a machine has at least one".into(),
        });
    }
    for (key, value) in &request.labels {
        labels::check_label(key, value)?;
    }
    mounts::check(&request.mounts)?;
    image::check_wishes(berth, request)?;
    berth.check_contexts_free(&request.name, &request.engine.kind)
}

pub(super) fn take_lock(berth: &Berth, name: &str) -> Result<Lock> {
    Lock::try_take(&berth.home.lock(name), &format!("create {name}"))?.map_err(|holder| {
        Error::Busy {
            name: name.to_owned(),
            holder,
        }
    })
}

/// What is to be made, and of which template. Makes nothing of the machine's own.
async fn plan(berth: &Berth, request: &Request, progress: &dyn Progress) -> Result<Record> {
    let (mut record, machine) = planned(berth, request, progress).await?;
    if !request.cold {
        record.template = template::choose(berth, &record, &machine, progress).await?;
    }
    Ok(record)
}

/// Gets the image and checks the request against it and the driver. Makes nothing of the machine's own.
pub(super) async fn planned(
    berth: &Berth,
    request: &Request,
    progress: &dyn Progress,
) -> Result<(Record, Machine)> {
    let driver = berth.drivers.get(&request.driver).await?;
    let mut spec = request.spec(driver.info());
    if !driver.info().capabilities.images {
        // A host that runs already has what it has.
        (spec.cpus, spec.memory) = (0, 0);
    }
    let mut record = Record::new(
        &request.name,
        &request.driver,
        &spec,
        request.engine.clone(),
    );
    record.labels = request.labels.clone();
    record.engine_named = request.engine_named;
    record.tls = request.tls.clone();
    record.settings = request.settings.clone();
    record.mounts = request.mounts.clone();
    record.expiry = request.expiry.clone();
    let refused = Error::driver(&request.name);
    // First what needs no image: nobody should wait for one only to hear that the memory was mistyped.
    let mut machine = berth.machine_without_image(&record, None);
    driver.check(&machine).await.map_err(refused)?;
    if driver.info().capabilities.images {
        let (image, kernel) = tokio::try_join!(
            image::get(berth, request, progress),
            berth.driver_kernel(driver.info())
        )?;
        record.cloud_init = image::cloud_init(&image, request, driver.info())
            .map_err(Error::driver(&request.name))?;
        mounts::check_user(&record)?;
        // Distributors' disks have room for the system only, and grow at the first boot.
        let usual = record.cloud_init.as_ref().map_or(0, |_| CLOUD_DISK);
        spec.disk = request.disk.unwrap_or(image.virtual_size.max(usual));
        if spec.disk < image.virtual_size {
            return Err(Error::BadRequest {
                what: "--disk".into(),
                reason: format!(
                    "{} is smaller than the image, which has {}",
                    show_size(spec.disk),
                    show_size(image.virtual_size)
                ),
            });
        }
        record.disk = spec.disk;
        let named = |image: &Image| ImageRef {
            reference: image.reference.clone(),
            digest: image.digest.to_string(),
        };
        image.mark_used();
        record.image = Some(named(&image));
        record.kernel = kernel.as_ref().map(named);
        let boot = berth
            .boot_image(driver.info(), &image, kernel.as_ref(), progress)
            .await?;
        machine = berth.machine_without_image(&record, Some(boot));
        driver
            .check(&machine)
            .await
            .map_err(Error::driver(&request.name))?;
    }
    Ok((record, machine))
}

/// Makes the machine's folder with its record, its journal and what `more` puts there in it, in one rename: from then
/// on it exists.
pub(super) fn found_folder(
    berth: &Berth,
    record: &Record,
    more: impl FnOnce(&Path) -> store::Result<()>,
) -> Result<()> {
    let folder = berth.home.machine(&record.name);
    let draft = berth.home.draft(&record.name);
    // A berth that was killed at this point left one.
    store::remove_folder(&draft)?;
    create_private_folder(&draft.join("vm"))?;
    let drafted = (|| {
        let text = toml::to_string(record).map_err(|error| store::Error::Damaged {
            path: folder.record(),
            reason: error.to_string(),
        })?;
        store::write_private(&draft.join("machine.toml"), text.as_bytes())?;
        more(&draft)?;
        Journal::begin(&draft.join("journal"), "create")?;
        fs::rename(&draft, folder.path()).map_err(store::Error::io(folder.path()))
    })();
    if drafted.is_err() {
        let _ = store::remove_folder(&draft);
    }
    Ok(drafted?)
}

pub(super) async fn carry_out(
    berth: &Berth,
    record: Record,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<Record> {
    let mut opened = berth.open_record(record).await?;
    opened.machine = berth
        .machine(&opened.record, opened.driver.info(), progress)
        .await?;
    let name = opened.record.name.clone();
    let mut journal = Journal::begin(&opened.folder.journal(), "create")?;

    journal
        .once("keys", async {
            safe_sockets(&opened.machine.sockets)?;
            match opened.driver.info().capabilities.images {
                true => identity::make(&opened.folder, &name),
                // What runs already has keys of its own.
                false => Ok(()),
            }
        })
        .await?;
    journal
        .once("disk", async {
            if cloned(berth, &mut opened, progress).await? {
                return Ok(());
            }
            progress.phase("Creating the machine");
            if opened.record.cloud_init.is_some() {
                seed::write(&opened.folder, &opened.record)?;
            }
            let credentials = match &opened.record.cloud_init {
                _ if !opened.driver.info().capabilities.images => Vec::new(),
                Some(cloud_init) if !cloud_init.credentials => Vec::new(),
                _ => identity::credentials(&opened.folder, &name)?,
            };
            let Some(origin) = &opened.record.origin else {
                let created = opened
                    .driver
                    .create(&opened.machine, &credentials, progress);
                return created.await.map_err(Error::driver(&name));
            };
            let key = identity::public_key(&opened.folder)?;
            let credentials = clone::first_credentials(credentials, &opened.record, &key);
            clone::copy_disk(berth, origin, &opened.machine, &credentials, progress).await
        })
        .await?;
    if opened.record.tls.is_some() {
        journal
            .once("tls", tls::prepare(berth, &mut opened.record))
            .await?;
    }
    if !opened.driver.info().capabilities.images {
        adopt::adopt(berth, &mut opened, &mut journal, progress).await?;
        return finish(berth, opened, journal, progress).await;
    }
    let until = power::power_on(&opened, &mut journal, boot_deadline, progress).await?;
    // Not before the end where the engine is still to be installed, and a user to be let in to its group.
    let copy = opened.record.origin.is_some();
    if !copy && opened.record.engine_socket().is_some() && opened.record.cloud_init.is_none() {
        power::open_endpoint(&opened, &mut journal, progress).await?;
    }
    if !copy && take_ready_made(berth, &mut opened, &mut journal, progress).await? {
        handed_over(&opened);
    } else {
        let session =
            power::first_connection(&opened, &mut journal, until, boot_deadline, progress).await?;
        if copy {
            let renewing = clone::renew_guest(&opened, &session, progress);
            journal.once("renew", renewing).await?;
        }
        handed_over(&opened);
        if opened.record.cloud_init.is_some() {
            let work = seed::carried_out(&session, &name, boot_deadline, progress);
            journal.once("cloud-init", work).await?;
        }
        // What an image or a computer brought is not replaced by what is only the default.
        let replace = opened.record.engine.channel != DISTRO;
        install_engine(
            berth,
            &mut opened,
            &session,
            replace,
            &mut journal,
            progress,
        )
        .await?;
        session.disconnect().await;
    }
    finish(berth, opened, journal, progress).await
}

/// Makes the machine from its template, if it has one; false if it has none, or had to give it up: then nothing is left
/// of that.
async fn cloned(berth: &Berth, opened: &mut Opened, progress: &dyn Progress) -> Result<bool> {
    let Some(id) = opened.record.template.clone() else {
        return Ok(false);
    };
    let name = opened.record.name.clone();
    // A create that broke off may have left a guest that is not yet one of its own.
    let removed = opened.driver.remove(&opened.machine).await;
    removed.map_err(Error::driver(&name))?;
    let credentials = identity::credentials(&opened.folder, &name)?;
    let made = template::clone(berth, opened, &id, &credentials, progress).await;
    let Err(error) = made else {
        return Ok(true);
    };
    progress.note(&format!("{error}; it is booted instead of cloned"));
    let removed = opened.driver.remove(&opened.machine).await;
    removed.map_err(Error::driver(&name))?;
    opened.record.template = None;
    opened.record.write(&berth.home)?;
    Ok(false)
}

/// Points this computer's clients at the machine.
async fn finish(
    berth: &Berth,
    opened: Opened,
    mut journal: Journal,
    progress: &dyn Progress,
) -> Result<Record> {
    power::publish(berth, &opened, &mut journal, progress).await?;
    journal.end()?;
    Ok(opened.record)
}

/// The guest has its host key: nothing else needs it any more.
fn handed_over(opened: &Opened) {
    identity::handed_over(&opened.folder);
    if opened.record.cloud_init.is_some()
        && let Err(error) = seed::write(&opened.folder, &opened.record)
    {
        // A key that stays is no harm: the folder is private.
        tracing::debug!("{error}");
    }
}

/// A folder for sockets outside the home lies where others can write: it must be ours alone.
pub(super) fn safe_sockets(folder: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    create_private_folder(folder)?;
    let meta = fs::symlink_metadata(folder).map_err(store::Error::io(folder))?;
    let ours =
        meta.is_dir() && meta.uid() == nix::unistd::getuid().as_raw() && meta.mode() & 0o077 == 0;
    if ours {
        Ok(())
    } else {
        Err(Error::UnsafeFolder(folder.to_owned()))
    }
}
