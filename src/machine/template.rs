//! Templates: machines that were frozen when they were up, from which others are cloned.
//!
//! A template is a folder of files that are never written again, named by what it depends on (its key). Its manifest is
//! written last, and the folder gets its name after that: what has the name is complete. A machine's record names the
//! template that it was cloned from, and a template that a record names is not removed: the machine's disk rests on it.

mod auto;
mod build;
mod choose;
mod clone;
mod failure;
mod guest;
mod manifest;
mod policy;

pub use build::{build, build_unasked};
pub use failure::{Failure, failures};
pub use manifest::{Damage, Manifest};
pub use policy::{Policy, When};

pub(super) use auto::leave_behind;
pub(super) use choose::choose;
pub(super) use clone::clone;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use berth_images::Digest;
use serde::{Deserialize, Serialize};

use super::{Berth, Error, Result};
use crate::store::{self, Home, Lock};

/// What a template is called: the first digits of its key's digest.
const ID_DIGITS: usize = 16;

/// How long a command waits for another one that makes or removes the same template.
const LOCK_DEADLINE: Duration = Duration::from_secs(900);

/// All that a machine must have in common with a template to be cloned from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The driver's name.
    pub driver: String,
    /// The image's digest, which says its engine and kernel too.
    pub image: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Disk in bytes.
    pub disk: u64,
    /// The hypervisor's version and models, as the driver tells them, and what this berth has the guest do.
    pub host: BTreeMap<String, String>,
}

impl Key {
    /// What the template of this key is called.
    pub fn id(&self) -> String {
        // Its maps are sorted: one key has one text.
        let text = serde_json::to_vec(self).unwrap_or_default();
        Digest::of(&text).hex()[..ID_DIGITS].to_owned()
    }

    /// In what another key differs, if image and size are the same.
    fn differences(&self, other: &Key) -> Option<Vec<String>> {
        let alike = |key: &Key| {
            (
                key.driver.clone(),
                key.image.clone(),
                key.cpus,
                key.memory,
                key.disk,
            )
        };
        (alike(self) == alike(other)).then(|| {
            let names = self.host.keys().chain(other.host.keys());
            let mut names: Vec<String> = names
                .filter(|name| self.host.get(*name) != other.host.get(*name))
                .cloned()
                .collect();
            names.sort();
            names.dedup();
            names
        })
    }
}

/// A complete template.
#[derive(Debug, Clone)]
pub struct Template {
    /// What it is called.
    pub id: String,
    /// What it was made of.
    pub manifest: Manifest,
    /// What it takes on disk, in bytes.
    pub size: u64,
    /// When a machine was last cloned from it, or else when it was made.
    pub used: SystemTime,
    folder: PathBuf,
}

impl Template {
    fn read(folder: &Path) -> Result<Option<Self>> {
        let Some(manifest) = Manifest::read(folder)? else {
            return Ok(None);
        };
        let id = folder.file_name().unwrap_or_default().to_string_lossy();
        let used = fs::metadata(folder.join(USED)).and_then(|meta| meta.modified());
        Ok(Some(Template {
            id: id.into_owned(),
            size: size(folder),
            used: used.unwrap_or_else(|_| manifest.created.into()),
            manifest,
            folder: folder.to_owned(),
        }))
    }

    fn mark_used(&self) {
        // Only the order in which templates make room depends on it.
        let _ = fs::write(self.folder.join(USED), "");
    }
}

/// Empty; its time is when the template was used last.
const USED: &str = "used";

fn folder(home: &Home, id: &str) -> PathBuf {
    home.templates().join(id)
}

/// Where a template is made before it is complete. Whoever has its lock may clear it.
fn draft(home: &Home, id: &str) -> PathBuf {
    home.templates().join(format!(".new-{id}"))
}

/// Where a template is put to be deleted. Whoever has its lock may clear it.
fn doomed(home: &Home, id: &str) -> PathBuf {
    home.templates().join(format!(".rm-{id}"))
}

/// What the files of a folder take on disk, in bytes.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let blocks = entries.filter_map(|entry| Some(entry.metadata().ok()?.blocks()));
    blocks.sum::<u64>() * 512
}

/// All complete templates, the least recently used first. One that cannot be read is passed over.
///
/// # Errors
/// If their folder cannot be read.
pub fn list(home: &Home) -> Result<Vec<Template>> {
    let mut found: Vec<Template> = names(home)?
        .iter()
        .filter(|name| !name.starts_with('.'))
        .filter_map(|name| Template::read(&folder(home, name)).ok()?)
        .collect();
    found.sort_by(|a, b| (a.used, &a.id).cmp(&(b.used, &b.id)));
    Ok(found)
}

fn names(home: &Home) -> Result<Vec<String>> {
    let folder = home.templates();
    match fs::read_dir(&folder) {
        Ok(entries) => Ok(entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(store::Error::io(folder)(error).into()),
    }
}

/// The template that `id`, or its beginning, stands for.
///
/// # Errors
/// [`Error::NoSuchTemplate`] if none or more than one does.
pub fn find(home: &Home, id: &str) -> Result<Template> {
    let mut found = list(home)?
        .into_iter()
        .filter(|template| template.id.starts_with(id));
    match (found.next(), found.next()) {
        (Some(template), None) if !id.is_empty() => Ok(template),
        _ => Err(Error::NoSuchTemplate(id.chars().take(80).collect())),
    }
}

/// The machines that were cloned from template `id`.
///
/// # Errors
/// If a record cannot be read: it may name any template.
pub fn users(berth: &Berth, id: &str) -> Result<Vec<String>> {
    let mut users = Vec::new();
    for name in berth.home.all_names()? {
        match berth.record(&name) {
            Ok(record) if record.template.as_deref() == Some(id) => users.push(name),
            // It was removed since it was listed.
            Ok(_) | Err(Error::NoSuchMachine { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(users)
}

async fn lock(home: &Home, id: &str, doing: &str, on_wait: impl Fn(&str)) -> Result<Lock> {
    store::create_private_folder(&home.templates())?;
    let path = home.templates().join(format!(".lock-{id}"));
    let told = |holder: &Option<store::Holder>| {
        let who = holder.as_ref().map_or(String::new(), |holder| {
            format!(": process {} does `berth {}`", holder.pid, holder.doing)
        });
        on_wait(&format!("waiting for template {id}{who}"));
    };
    let taken = Lock::take(&path, doing, LOCK_DEADLINE, told).await?;
    taken.map_err(|_| {
        Error::Template(berth_driver_api::Error::Timeout {
            what: format!("another berth process with template {id}"),
            after: LOCK_DEADLINE,
        })
    })
}

/// Removes a template that no machine rests on.
///
/// # Errors
/// [`Error::TemplateInUse`] with the machines' names.
pub async fn remove(berth: &Berth, template: &Template) -> Result<()> {
    let id = &template.id;
    let lock = lock(&berth.home, id, &format!("template rm {id}"), |_| {}).await?;
    let doomed = doomed(&berth.home, id);
    store::remove_folder(&doomed)?;
    if !template.folder.exists() {
        return Ok(lock.remove()?);
    }
    let in_use = |machines: Vec<String>| match machines.is_empty() {
        true => Ok(()),
        false => Err(Error::TemplateInUse {
            id: id.clone(),
            machines,
        }),
    };
    in_use(users(berth, id)?)?;
    fs::rename(&template.folder, &doomed).map_err(store::Error::io(&template.folder))?;
    // A machine names its template before it looks for it: one that found it is seen now.
    if let Err(error) = users(berth, id).and_then(in_use) {
        fs::rename(&doomed, &template.folder).map_err(store::Error::io(&doomed))?;
        return Err(error);
    }
    store::remove_folder(&doomed)?;
    Ok(lock.remove()?)
}

/// Removes what a berth left that was killed while it made or removed templates, and of the templates that no machine
/// rests on those that were used longest ago, until all that are left take no more than `most` bytes. Returns those.
///
/// # Errors
/// If something cannot be removed.
pub async fn prune(berth: &Berth, most: u64) -> Result<Vec<Template>> {
    build::clear_left_over(berth).await?;
    if most == 0 {
        failure::forget_failures(&berth.home)?;
    }
    let templates = list(&berth.home)?;
    let mut total: u64 = templates.iter().map(|template| template.size).sum();
    let mut removed = Vec::new();
    for template in templates {
        if total <= most {
            break;
        }
        match remove(berth, &template).await {
            Ok(()) => {
                total -= template.size;
                removed.push(template);
            }
            Err(Error::TemplateInUse { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(qemu: &str, cpus: u32) -> Key {
        Key {
            driver: "qemu".into(),
            image: "sha256:1".into(),
            cpus,
            memory: 1 << 30,
            disk: 20 << 30,
            host: BTreeMap::from([("qemu".into(), qemu.into()), ("cpu".into(), "max".into())]),
        }
    }

    #[test]
    fn a_key_has_one_name_and_another_key_another() {
        assert_eq!(key("10.0", 2).id(), key("10.0", 2).id());
        assert_eq!(key("10.0", 2).id().len(), ID_DIGITS);
        assert_ne!(key("10.0", 2).id(), key("10.1", 2).id());
        assert_ne!(key("10.0", 2).id(), key("10.0", 1).id());
    }

    #[test]
    fn another_hypervisor_is_told_and_another_size_is_nothing_to_tell() {
        let differences = key("10.0", 2).differences(&key("10.1", 2));
        assert_eq!(differences, Some(vec!["qemu".into()]));
        assert_eq!(key("10.0", 2).differences(&key("10.1", 1)), None);
    }
}
