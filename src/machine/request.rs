//! What the user asks of a new machine, checked against its driver and its image.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use berth_driver_api::{Machine, Progress, check_options};
use berth_images::{Checksum, Image};

use super::mounts::{self, Mount};
use super::pool::Pooled;
use super::tls::TlsWish;
use super::{
    Berth, DISTRO, EngineSettings, EngineWish, Error, Expiry, ImageRef, Record, Result, check_form,
    check_name, choice, image, labels, show_size,
};

/// What the user asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The machine's name.
    pub name: String,
    /// The driver's name, or [`super::AUTO`].
    pub driver: String,
    /// Virtual CPUs; up to four of this computer's if none are given.
    pub cpus: Option<u32>,
    /// Memory in bytes; 2 GiB if none is given.
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
    /// Whether it is made even if one like it waits in a pool.
    pub no_pool: bool,
    /// The pool that it is made for.
    pub pool: Option<Pooled>,
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
            no_pool: false,
            pool: None,
        }
    }
}

/// The disk's size in bytes if none is given, for images that berth did not build.
const CLOUD_DISK: u64 = 20 << 30;

/// The request with its driver named, and with what the environment says of that driver's options; refused where the
/// driver cannot take it.
pub(super) async fn settled(
    berth: &Berth,
    request: &Request,
    progress: &dyn Progress,
) -> Result<Request> {
    let mut request = choice::settle(berth, request, progress).await?;
    let driver = berth.drivers.get(&request.driver).await?;
    // What a pool has was settled when it was made.
    let own = request.pool.is_none();
    for option in driver.info().options.iter().filter(|_| own) {
        if let Ok(value) = std::env::var(option.variable(&request.driver)) {
            request.options.entry(option.name.clone()).or_insert(value);
        }
    }
    check_options(driver.info(), &request.options).map_err(Error::driver(&request.name))?;
    Ok(request)
}

pub(super) fn check_request(berth: &Berth, request: &Request) -> Result<()> {
    match &request.pool {
        None => check_name(&request.name)?,
        Some(_) => check_form(&request.name)?,
    }
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
    // The contexts of a machine that there is are its own; that it is there, or is being made, is told under its lock.
    if berth.home.machine(&request.name).path().exists() {
        return Ok(());
    }
    berth.check_contexts_free(&request.name, &request.engine.kind)
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
    record.pool = request.pool.clone();
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
