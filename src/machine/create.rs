//! From a request to a machine with an engine that answers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use berth_driver_api::{Progress, check_options};
use berth_images::Image;

use super::engine::{check_engine, install_engine, take_ready_made};
use super::journal::{self, Journal};
use super::{
    Berth, DISTRO, EngineWish, Error, ImageRef, Record, Result, check_name, choice, identity,
    power, show_size,
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
    /// Memory in bytes.
    pub memory: u64,
    /// Disk in bytes; the image's size if none is given.
    pub disk: Option<u64>,
    /// The image's reference; the catalog's default if none is given.
    pub image: Option<String>,
    /// The engine.
    pub engine: EngineWish,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// How long the guest may take to answer over SSH.
    pub boot_deadline: Duration,
}

/// Makes a machine, boots it, installs its engine and points a context at it. Whatever fails leaves a machine that
/// [`resume_create`] continues and `remove` clears; a request that cannot be met leaves nothing.
///
/// # Errors
/// [`Error::Exists`], [`Error::Busy`], and whatever a step fails with.
pub async fn create(berth: &Berth, request: &Request, progress: &dyn Progress) -> Result<Record> {
    check_request(berth, request)?;
    check_engine(&request.engine).await?;
    let request = &choice::settle(berth, request, progress).await?;
    let driver = berth.drivers.get(&request.driver).await?;
    check_options(driver.info(), &request.options).map_err(Error::driver(&request.name))?;
    berth.home.prepare()?;
    let lock = take_lock(berth, &request.name)?;
    if berth.home.machine(&request.name).path().exists() {
        return Err(Error::Exists(request.name.clone()));
    }
    let result = async {
        let record = plan(berth, request, progress).await?;
        found_folder(berth, &record)?;
        Ok(record)
    }
    .await;
    let record = match result {
        Ok(record) => record,
        Err(error) => {
            // Nothing was made yet: leave no trace of the lock either.
            let _ = lock.remove();
            return Err(error);
        }
    };
    carry_out(berth, record, request.boot_deadline, progress).await
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
    if request.cpus == Some(0) {
        return Err(Error::BadRequest {
            what: "--cpus".into(),
            reason: "a machine has at least one".into(),
        });
    }
    for (key, value) in &request.labels {
        if key.is_empty()
            || key.len() > 128
            || value.len() > 1024
            || key.chars().any(char::is_control)
        {
            return Err(Error::BadRequest {
                what: "--label".into(),
                reason: format!("{key:?} is not a label's name"),
            });
        }
    }
    berth.docker.check_free(&request.name, None)?;
    Ok(())
}

fn take_lock(berth: &Berth, name: &str) -> Result<Lock> {
    Lock::try_take(&berth.home.lock(name), &format!("create {name}"))?.map_err(|holder| {
        Error::Busy {
            name: name.to_owned(),
            holder,
        }
    })
}

/// Gets the image and checks the request against it and the driver. Makes nothing of the machine's own.
async fn plan(berth: &Berth, request: &Request, progress: &dyn Progress) -> Result<Record> {
    let driver = berth.drivers.get(&request.driver).await?;
    let mut spec = request.spec(driver.info());
    let mut record = Record::new(
        &request.name,
        &request.driver,
        &spec,
        request.engine.clone(),
    );
    record.labels = request.labels.clone();
    let refused = Error::driver(&request.name);
    // First what needs no image: nobody should wait for one only to hear that the memory was mistyped.
    driver
        .check(&berth.machine_without_image(&record, None))
        .await
        .map_err(refused)?;
    if driver.info().capabilities.images {
        let (image, kernel) = tokio::try_join!(
            image(berth, request.image.as_deref(), progress),
            berth.driver_kernel(driver.info())
        )?;
        spec.disk = request.disk.unwrap_or(image.virtual_size);
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
        record.image = Some(named(&image));
        record.kernel = kernel.as_ref().map(named);
        let boot = berth
            .boot_image(driver.info(), &image, kernel.as_ref(), progress)
            .await?;
        let machine = berth.machine_without_image(&record, Some(boot));
        driver
            .check(&machine)
            .await
            .map_err(Error::driver(&request.name))?;
    }
    Ok(record)
}

async fn image(berth: &Berth, reference: Option<&str>, progress: &dyn Progress) -> Result<Image> {
    let store = berth.images()?;
    let catalog = berth.catalog()?;
    let reference = reference.unwrap_or_else(|| catalog.default_name());
    if reference.contains('/') {
        return Ok(store.import(Path::new(reference), None, progress).await?);
    }
    // Said before it is built.
    if catalog
        .recipe(reference)
        .is_some_and(|recipe| recipe.disk.is_none())
    {
        return Err(Error::Image(berth_images::Error::WrongKind {
            reference: reference.to_owned(),
            is: "a kernel",
            wanted: "a guest's disk",
        }));
    }
    Ok(store
        .ensure(&catalog, &reference.parse()?, progress)
        .await?)
}

/// Makes the machine's folder with its record and journal in it, in one rename: from then on it exists.
fn found_folder(berth: &Berth, record: &Record) -> Result<()> {
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
        Journal::begin(&draft.join("journal"), "create")?;
        fs::rename(&draft, folder.path()).map_err(store::Error::io(folder.path()))
    })();
    if drafted.is_err() {
        let _ = store::remove_folder(&draft);
    }
    Ok(drafted?)
}

async fn carry_out(
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
            identity::make(&opened.folder, &name)
        })
        .await?;
    journal
        .once("disk", async {
            progress.phase("Creating the machine");
            let credentials = identity::credentials(&opened.folder, &name)?;
            opened
                .driver
                .create(&opened.machine, &credentials, progress)
                .await
                .map_err(Error::driver(&name))
        })
        .await?;
    let until = power::power_on(&opened, &mut journal, boot_deadline, progress).await?;
    if opened.record.engine_socket().is_some() {
        power::open_endpoint(&opened, &mut journal, progress).await?;
    }
    if take_ready_made(berth, &mut opened, &mut journal, progress).await? {
        identity::handed_over(&opened.folder);
    } else {
        let session =
            power::first_connection(&opened, &mut journal, until, boot_deadline, progress).await?;
        identity::handed_over(&opened.folder);
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
    power::publish(berth, &opened, &mut journal, progress).await?;
    journal.end()?;
    Ok(opened.record)
}

/// A folder for sockets outside the home lies where others can write: it must be ours alone.
fn safe_sockets(folder: &Path) -> Result<()> {
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
