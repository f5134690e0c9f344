//! Making a template: a machine that is made for it, boots off any network, and is frozen.

use std::fs;

use berth_driver_api::{Driver, Machine, Progress, ready};
use berth_images::{Digest, Image};
use uuid::Uuid;

use super::failure::Failure;
use super::guest::settle;
use super::{Key, Manifest, Policy, Template, doomed, draft, folder, lock, names, prune};
use crate::machine::request::{planned, settled};
use crate::machine::{Berth, Error, Record, Request, Result};
use crate::store::{self, create_private_folder, sockets_of};

/// The key of a template that is being made, in its folder: what is left of it after a crash is the driver's to remove.
pub(super) const KEY: &str = "key.toml";

/// Makes the template that a machine of this request would be cloned from, unless there is one. Then room is made: the
/// templates that were used longest ago go.
///
/// # Errors
/// If the request cannot be met, or a step fails; then nothing is left.
pub async fn build(berth: &Berth, request: &Request, progress: &dyn Progress) -> Result<Template> {
    let request = settled(berth, request, progress).await?;
    // Before an image is made for nothing.
    can_freeze(&*berth.drivers.get(&request.driver).await?)?;
    let (record, machine) = planned(berth, &request, progress).await?;
    build_for(berth, &record, &machine, progress).await
}

/// As [`build`], by a process that nobody waits for: why it fails is kept for `berth template ls`.
///
/// # Errors
/// As [`build`].
pub async fn build_unasked(
    berth: &Berth,
    request: &Request,
    progress: &dyn Progress,
) -> Result<Template> {
    let request = settled(berth, request, progress).await?;
    let (record, machine) = planned(berth, &request, progress).await?;
    let driver = berth.drivers.get(&record.driver).await?;
    let key = key(&*driver, &record, &machine).await?;
    let built = build_for(berth, &record, &machine, progress).await;
    if let Err(error) = &built {
        let image = record.image.as_ref();
        let image = image.map_or("", |image| &image.reference);
        Failure::note(&berth.home, &key, image, error)?;
    }
    built
}

/// As [`build`], for a machine that is planned already.
pub(super) async fn build_for(
    berth: &Berth,
    record: &Record,
    machine: &Machine,
    progress: &dyn Progress,
) -> Result<Template> {
    let driver = berth.drivers.get(&record.driver).await?;
    let key = key(&*driver, record, machine).await?;
    let id = key.id();
    let doing = format!("template build {id}");
    let lock = lock(&berth.home, &id, &doing, |who| progress.note(who)).await?;
    // Another berth may have made it while the lock was waited for.
    if let Some(template) = Template::read(&folder(&berth.home, &id))? {
        match template.manifest.verify(&template.folder) {
            Ok(()) => return Ok(template),
            Err(damage) => {
                progress.note(&format!("template {id}: {damage}: it is made anew"));
                let machines = super::users(berth, &id)?;
                if !machines.is_empty() {
                    return Err(Error::TemplateInUse { id, machines });
                }
                store::remove_folder(&template.folder)?;
            }
        }
    }
    clear(berth, &*driver, &id).await?;
    let made = make(berth, &*driver, record, machine, key, progress).await;
    if made.is_err() {
        clear(berth, &*driver, &id).await?;
    }
    lock.remove()?;
    made?;
    Failure::forget(&berth.home, &id);
    prune(berth, Policy::read(&berth.home)?.space).await?;
    Template::read(&folder(&berth.home, &id))?.ok_or_else(|| {
        Error::Template(berth_driver_api::Error::failed(
            "keeping it",
            "templates take more room than `template-space` allows, and other machines rest on the rest of them",
        ))
    })
}

fn can_freeze(driver: &dyn Driver) -> Result<()> {
    let info = driver.info();
    match info.capabilities.freeze {
        true => Ok(()),
        false => Err(Error::Template(berth_driver_api::Error::Unsupported {
            driver: info.name.clone(),
            what: "freeze machines".into(),
        })),
    }
}

/// What a machine is cloned by.
pub(super) async fn key(driver: &dyn Driver, record: &Record, machine: &Machine) -> Result<Key> {
    can_freeze(driver)?;
    let mut host = driver.freeze_key(machine).await.map_err(Error::Template)?;
    // What waits in the guest has to understand what this berth says.
    host.insert("berth".into(), Digest::of(settle().as_bytes()).to_string());
    Ok(Key {
        driver: record.driver.clone(),
        image: machine.image().map_err(Error::Template)?.digest.clone(),
        cpus: record.cpus,
        memory: record.memory,
        disk: record.disk,
        host,
    })
}

async fn make(
    berth: &Berth,
    driver: &dyn Driver,
    record: &Record,
    machine: &Machine,
    key: Key,
    progress: &dyn Progress,
) -> Result<()> {
    let id = key.id();
    let image = berth.stored_image(&key.image)?;
    let draft = draft(&berth.home, &id);
    create_private_folder(&draft)?;
    store::write_toml(&draft.join(KEY), &key)?;
    let machine = frozen_machine(berth, &id, machine);
    create_private_folder(&machine.sockets)?;
    let word = match &image.engine {
        Some(_) => ready::ENGINE,
        None => ready::SSH,
    };
    driver
        .freeze(&machine, word, &settle(), progress)
        .await
        .map_err(Error::Template)?;
    remove_sockets(&machine)?;
    progress.phase("Taking it down");
    let engine = image.engine.as_ref().map(engine);
    // Hashing a gigabyte takes a second, in which this process has nothing else to do.
    Manifest::write(&draft, key, &record.image_name(&image), engine)?;
    let _ = fs::remove_file(draft.join(KEY));
    let folder = folder(&berth.home, &id);
    Ok(fs::rename(&draft, &folder).map_err(store::Error::io(&folder))?)
}

impl Record {
    /// What people call the image that the machine is made of.
    fn image_name(&self, image: &Image) -> String {
        let named = self.image.as_ref().map(|image| image.reference.clone());
        named.unwrap_or_else(|| image.reference.clone())
    }
}

fn engine(engine: &berth_images::Engine) -> String {
    match &engine.version {
        Some(version) => format!("{} {version}", engine.kind),
        None => engine.kind.clone(),
    }
}

/// The machine that is frozen: like the one that is planned, in the template's draft.
fn frozen_machine(berth: &Berth, id: &str, like: &Machine) -> Machine {
    let folder = draft(&berth.home, id);
    Machine {
        id: Uuid::nil(),
        name: "template".into(),
        sockets: sockets_of(&folder.join("s")),
        folder,
        shares: Vec::new(),
        ..like.clone()
    }
}

fn remove_sockets(machine: &Machine) -> Result<()> {
    Ok(store::remove_folder(&machine.sockets)?)
}

/// Ends and removes what was begun of template `id`.
async fn clear(berth: &Berth, driver: &dyn Driver, id: &str) -> Result<()> {
    let draft = draft(&berth.home, id);
    if draft.exists() {
        let machine = left_over(berth, id);
        let removed = driver.remove(&machine).await;
        removed.map_err(Error::Template)?;
        store::remove_folder(&draft)?;
        remove_sockets(&machine)?;
    }
    Ok(store::remove_folder(&doomed(&berth.home, id))?)
}

/// A machine of which only the folders are known, which is enough for its removal.
fn left_over(berth: &Berth, id: &str) -> Machine {
    let spec = berth_driver_api::Spec {
        cpus: 1,
        memory: 1,
        disk: 1,
        image: None,
        options: Default::default(),
    };
    let like = Machine {
        id: Uuid::nil(),
        name: String::new(),
        folder: Default::default(),
        sockets: Default::default(),
        ports: berth.home.ports(),
        networks: berth.home.networks(),
        seed: None,
        shares: Vec::new(),
        spec,
    };
    frozen_machine(berth, id, &like)
}

/// Removes what berths left that were killed while they made or removed a template.
///
/// # Errors
/// If something cannot be removed.
pub(super) async fn clear_left_over(berth: &Berth) -> Result<()> {
    for name in names(&berth.home)? {
        let id = [".new-", ".rm-"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix));
        let Some(id) = id else { continue };
        let path = berth.home.templates().join(format!(".lock-{id}"));
        // A berth that is at work on it clears up itself.
        let Ok(lock) = store::Lock::try_take(&path, "template prune")? else {
            continue;
        };
        let key_file = draft(&berth.home, id).join(KEY);
        if let Ok(text) = fs::read_to_string(&key_file)
            && let Ok(key) = toml::from_str::<Key>(&text)
        {
            let driver = berth.drivers.get(&key.driver).await?;
            clear(berth, &*driver, id).await?;
        } else {
            // No key, no hypervisor yet; or everything but the name.
            store::remove_folder(&draft(&berth.home, id))?;
            store::remove_folder(&doomed(&berth.home, id))?;
        }
        lock.remove()?;
    }
    Ok(())
}
