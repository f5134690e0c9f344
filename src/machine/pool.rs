//! Pools: machines that are made and running before anybody asks for them, so that `create` only has to name one.
//!
//! A pool is a file that says what its machines are like and how many wait. They are machines as any other, of names
//! that no user can give, with no context. Taking one changes the name of its link (see [`crate::store::link`]) and
//! nothing that its processes or its driver know of it.

mod cost;
mod failure;
mod fit;
mod notice;
mod refill;
mod remove;
mod set;
mod take;

pub use cost::{Cost, cost};
pub use failure::Failure;
pub use fit::fit;
pub use notice::{REFILL, notice, start};
pub use refill::refill;
pub use remove::remove;
pub use set::set;

pub(super) use take::{finish_taking, take};

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_images::{Checksum, Digest, is_in_registry, is_url};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Berth, EngineSettings, EngineWish, Error, Request, Result};
use crate::store::{self, Home, Lock, WAITING};

/// Characters of a pool's name at most: the names of its machines have it in them.
const LONGEST_NAME: usize = 40;

/// Digits that tell the machines of a pool apart.
const DIGITS: usize = 6;

/// More machines than these do not wait in one pool.
pub const MOST: u32 = 64;

/// The file that a pool is.
const FILE: &str = "pool.toml";

/// What a machine is asked to be, as far as it takes time to make it so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The driver's name.
    pub driver: String,
    /// The image's name, a disk's whole path or its address.
    pub image: String,
    /// What the disk at that path or address must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Checksum>,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Disk in bytes; the image's own size if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    /// The engine.
    pub engine: EngineWish,
    /// What the engine is told.
    #[serde(default)]
    pub settings: EngineSettings,
    /// Driver options.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl Key {
    /// What is asked for by a request whose driver is settled.
    async fn of(berth: &Berth, request: &Request) -> Result<Self> {
        let driver = berth.drivers.get(&request.driver).await?;
        let spec = request.spec(driver.info());
        let image = match &request.image {
            None => berth.catalog()?.default_name().to_owned(),
            // Who fills the pool does it in another folder.
            Some(path) if path.contains('/') && !is_url(path) && !is_in_registry(path) => {
                std::path::absolute(path)
                    .map_or_else(|_| path.clone(), |path| path.display().to_string())
            }
            Some(name) => name.clone(),
        };
        Ok(Key {
            driver: request.driver.clone(),
            image,
            digest: request.digest.clone(),
            cpus: spec.cpus,
            memory: spec.memory,
            disk: request.disk,
            engine: request.engine.clone(),
            settings: request.settings.clone(),
            options: request.options.clone(),
        })
    }

    /// A short name that no other key has.
    pub fn id(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        Digest::of(&text).hex()[..16].to_owned()
    }
}

/// What a machine's record says of the pool that it waits in, or came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pooled {
    /// The pool's name.
    pub name: String,
    /// The key that the machine was made by.
    pub key: String,
    /// What the machine was called when it was made.
    pub first_name: String,
    /// Whether it is a user's now.
    #[serde(default)]
    pub taken: bool,
}

/// A pool as its file tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// What it is called; the folder's name.
    #[serde(skip)]
    pub name: String,
    version: i64,
    /// How many machines are to wait.
    pub ready: u32,
    /// How long a guest may take to answer, in seconds.
    pub timeout: u64,
    /// What they are like.
    pub key: Key,
}

impl Pool {
    /// The pool of that name; `None` if there is none.
    ///
    /// # Errors
    /// If its file cannot be read, or is a later berth's.
    pub fn read(home: &Home, name: &str) -> Result<Option<Self>> {
        let path = folder(home, name).join(FILE);
        let damaged = |reason: String| store::Error::Damaged {
            path: path.clone(),
            reason,
        };
        let Some(mut table) = store::read_table(&path)? else {
            return Ok(None);
        };
        store::migrate(&path, &mut table, &[])?;
        let mut pool = Pool::deserialize(toml::Value::Table(table))
            .map_err(|error| damaged(error.to_string().trim().replace('\n', " ")))?;
        pool.name = name.to_owned();
        Ok(Some(pool))
    }

    fn write(&self, home: &Home) -> Result<()> {
        let folder = folder(home, &self.name);
        let path = folder.join(FILE);
        store::create_private_folder(&folder)?;
        Ok(store::write_toml(&path, self)?)
    }

    /// What is asked for when a machine is made for the pool.
    fn request(&self) -> Request {
        let random = Uuid::new_v4().simple().to_string();
        let name = format!("{WAITING}{}-{}", self.name, &random[..DIGITS]);
        Request {
            cpus: Some(self.key.cpus),
            memory: Some(self.key.memory),
            disk: self.key.disk,
            image: Some(self.key.image.clone()),
            digest: self.key.digest.clone(),
            engine: self.key.engine.clone(),
            settings: self.key.settings.clone(),
            options: self.key.options.clone(),
            boot_deadline: Duration::from_secs(self.timeout),
            no_pool: true,
            pool: Some(Pooled {
                name: self.name.clone(),
                key: self.key.id(),
                first_name: name.clone(),
                taken: false,
            }),
            ..Request::plain(&name, &self.key.driver)
        }
    }
}

/// Checks a pool's name.
fn check_name(name: &str) -> Result<()> {
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let ends = name.starts_with('-') || name.ends_with('-');
    match plain && !ends && !name.is_empty() && name.len() <= LONGEST_NAME {
        true => Ok(()),
        false => Err(Error::BadRequest {
            what: format!("pool {:?}", name.chars().take(80).collect::<String>()),
            reason: format!(
                "a pool's name has 1 to {LONGEST_NAME} lower-case letters a-z, digits and hyphens, and no hyphen at its ends"
            ),
        }),
    }
}

fn folder(home: &Home, name: &str) -> PathBuf {
    home.pools().join(name)
}

/// The lock of whoever fills a pool or removes it.
fn lock_file(home: &Home, name: &str) -> PathBuf {
    folder(home, name).join("lock")
}

/// What those who fill a pool log.
pub fn log_file(home: &Home, name: &str) -> PathBuf {
    folder(home, name).join("log")
}

/// The names of the pools, sorted; of one whose removal broke off too.
///
/// # Errors
/// If their folder cannot be read.
pub fn names(home: &Home) -> Result<Vec<String>> {
    let folder: &Path = &home.pools();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(store::Error::io(folder)(error).into()),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| check_name(name).is_ok())
        .collect();
    names.sort();
    Ok(names)
}

/// The machines that wait in a pool, or are on their way there or out.
///
/// # Errors
/// If the folder of machines cannot be read.
pub fn waiting(home: &Home, pool: &str) -> Result<Vec<String>> {
    let mut names = home.waiting_names()?;
    names.retain(|name| is_of(name, pool));
    Ok(names)
}

fn is_of(name: &str, pool: &str) -> bool {
    let own = name
        .strip_prefix(WAITING)
        .and_then(|name| name.rsplit_once('-'));
    own.is_some_and(|(of, digits)| of == pool && digits.len() == DIGITS)
}

/// Removes the locks of machines that never came to be: whoever was about to make them was killed.
fn clear_locks(berth: &Berth, pool: &str) -> Result<()> {
    for entry in fs::read_dir(berth.home.locks())
        .into_iter()
        .flatten()
        .flatten()
    {
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        if is_of(&name, pool)
            && !berth.home.has_traces(&name)
            && let Ok(lock) = Lock::try_take(&entry.path(), "pool")?
        {
            // Its maker may have come this far meanwhile, and been killed as well.
            match berth.home.has_traces(&name) {
                true => drop(lock),
                false => lock.remove()?,
            }
        }
    }
    Ok(())
}

/// Removes the lock of a name that a machine has no more; nobody else gets that name.
pub(super) fn forget_lock(berth: &Berth, name: &str) -> Result<()> {
    Ok(store::remove_file(&berth.home.lock(name))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pools_name_fits_into_its_machines_names() {
        let longest = "x".repeat(LONGEST_NAME);
        for good in ["ci", "0", "a-b", &longest] {
            assert!(check_name(good).is_ok(), "{good}");
            assert!(super::super::check_form(&format!("{WAITING}{good}-3f2a9c")).is_ok());
        }
        for bad in ["", "-a", "a-", "A", "a/b", "..", "a.b", &"x".repeat(41)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn machines_are_their_own_pools_and_not_those_of_one_with_a_longer_name() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::of_test(folder.path());
        for name in [
            "wt--ci-000001",
            "wt--ci-000002",
            "wt--ci-x-000003",
            "ci-000004",
        ] {
            fs::create_dir_all(home.entry(name)).unwrap();
        }
        assert_eq!(
            waiting(&home, "ci").unwrap(),
            ["wt--ci-000001", "wt--ci-000002"]
        );
        assert_eq!(waiting(&home, "ci-x").unwrap(), ["wt--ci-x-000003"]);
    }
}
