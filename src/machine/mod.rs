//! A machine's life: what was asked for, what is recorded, what happens to it.

mod adopt;
mod boot;
mod choice;
mod clients;
mod clone;
mod copy;
mod create;
mod drivers;
mod endpoint;
mod engine;
mod error;
mod expiry;
mod founding;
mod greeting;
mod identity;
mod image;
mod journal;
mod labels;
mod lost;
mod making;
mod member;
mod mounts;
mod name;
mod note;
mod observe;
mod operation;
mod passphrase;
pub mod pool;
mod power;
mod reach;
mod record;
mod remove;
mod request;
mod resize;
mod seed;
mod settings;
mod snapshot;
mod status;
mod suspend;
pub mod template;
pub mod tls;
mod transfer;
mod trial;
mod up;
mod upgrade;

pub use adopt::{HostKeys, accept_host_key, host_keys};
pub use berth_driver_api::size::{parse_size, show_size};
pub use choice::{AUTO, Candidate, candidates, look};
pub use clients::is_podman;
pub use clone::clone;
pub use copy::Origin;
pub use create::{create, resume_create};
pub use drivers::Drivers;
pub use endpoint::SUPERVISE;
pub use engine::{
    EngineChange, bundle_engine, engine_versions, is_provisioned, provision, provision_exactly,
};
pub use error::{Error, Result};
pub use expiry::{Expiry, MOST as MOST_TTL, remove_by_itself};
pub use image::{Builds, builds};
pub use journal::Pending;
pub(crate) use journal::die_here_if_told;
pub use labels::{LabelChange, change_labels, check_label};
pub use lost::{Lost, adopt_lost, lost};
pub use member::{Member, create_member, mark};
pub use mounts::{Mount, add_mount, remove_mount};
pub use name::{DEFAULT_NAME, check_form, check_name};
pub use observe::{Seen, observe};
pub use operation::must_run;
pub use passphrase::{forget_passphrase, keep_passphrase};
pub use power::{kill, restart, start, stop};
pub use reach::{Reached, reach, reach_engine};
pub use record::{CloudInit, DISTRO, EngineWish, ImageRef, Installed, Record};
pub use remove::{remove, remove_if_over};
pub use request::Request;
pub use resize::{Restart, Sizes, resize};
pub use settings::{EngineSettings, amend_settings, drift, restore_settings};
pub use snapshot::{remove_snapshot, restore_snapshot, snapshots, take_snapshot};
pub use status::{Row, ask, ask_all};
pub use suspend::{resume, suspend};
pub use tls::TlsWish;
pub use transfer::{Import, MAX_EXPORT, export, import};
pub use trial::try_driver;
pub use upgrade::{
    UpgradeRequest, ask_gate, go_back, plan_upgrade, roll_back, upgrade, upgrade_broke_off,
};

use std::sync::Arc;
use std::time::Duration;

use berth_driver_api::{Address, Driver, Login, Machine, Spec};
use berth_images::{Access, Catalog, Image, Reference, Store};
use berth_provision::ssh::{Key, Session, Target};

use crate::context::docker::DockerConfig;
use crate::context::podman::{self, PodmanConfig};
use crate::context::ssh_config;
use crate::secrets::Secrets;
use crate::store::{Holder, Home, Lock, MachineFolder};

/// How long a command waits for another berth process that works on the same machine.
const LOCK_DEADLINE: Duration = Duration::from_secs(600);

/// One berth: its files, its drivers and the clients that it points at machines.
pub struct Berth {
    /// Where its files lie.
    pub home: Home,
    /// The drivers that there are.
    pub drivers: Drivers,
    /// The docker CLI's files.
    pub docker: DockerConfig,
    /// The podman client's file.
    pub podman: PodmanConfig,
}

impl Berth {
    /// The berth of this process's environment. Reads and makes no file.
    ///
    /// # Errors
    /// If no home folder is known.
    pub fn from_environment() -> Result<Self> {
        let home = Home::from_environment()?;
        Ok(Berth {
            drivers: Drivers::new(&home),
            docker: DockerConfig::from_environment()?,
            podman: PodmanConfig::from_environment(),
            home,
        })
    }

    /// The record of machine `name`.
    ///
    /// # Errors
    /// [`Error::NoSuchMachine`] with the names that there are.
    pub fn record(&self, name: &str) -> Result<Record> {
        // A name that breaks the rules is no machine's: it must not become a path.
        let found = match check_form(name) {
            Ok(()) => Record::of(&self.home, name)?,
            Err(_) => None,
        };
        found.map_or_else(|| Err(self.no_such_machine(name)), Ok)
    }

    /// What to say of a machine that is not there.
    pub fn no_such_machine(&self, name: &str) -> Error {
        let mut known = self.home.machine_names().unwrap_or_default();
        known.truncate(8);
        Error::NoSuchMachine {
            name: name.chars().take(80).collect(),
            known,
        }
    }

    /// The image store.
    ///
    /// # Errors
    /// If its folder cannot be made.
    pub fn images(&self) -> Result<Store> {
        Ok(Store::open(self.home.images())?)
    }

    /// How registries of images are spoken to.
    pub fn registries(&self, plain_http: bool) -> Access {
        Access {
            logins: [self.docker.folder().join("config.json")]
                .into_iter()
                .chain(podman::logins())
                .collect(),
            plain_http,
        }
    }

    /// Berth's recipes and cloud images, and the user's.
    ///
    /// # Errors
    /// If one of the user's is wrong.
    pub fn catalog(&self) -> Result<Catalog> {
        Ok(Catalog::load(Some(&self.home.config().join("recipes")))?)
    }

    /// An image that is stored.
    ///
    /// # Errors
    /// [`berth_images::Error::UnknownImage`] if it is not.
    pub fn stored_image(&self, reference: &str) -> Result<Image> {
        let parsed: Reference = reference.parse()?;
        let store = self.images()?;
        let found = store.get(&parsed)?;
        Ok(found.ok_or_else(|| store.unknown_here(&parsed))?)
    }

    /// The driver's view of a machine whose image does not matter, or is `image`.
    fn machine_without_image(
        &self,
        record: &Record,
        image: Option<berth_driver_api::BootImage>,
    ) -> Machine {
        let folder = self.home.machine(&record.name);
        Machine {
            id: record.id,
            name: record.first_name().to_owned(),
            folder: folder.vm(),
            sockets: folder.sockets(),
            ports: self.home.ports(),
            networks: self.home.networks(),
            seed: record.cloud_init.as_ref().map(|_| folder.seed()),
            shares: record.mounts.iter().map(Mount::share).collect(),
            spec: Spec {
                cpus: record.cpus,
                memory: record.memory,
                disk: record.disk,
                image,
                options: record.options.clone(),
            },
        }
    }

    /// A record, its driver, and the driver's view of the machine.
    ///
    /// # Errors
    /// If there is no such machine or driver.
    pub async fn open(&self, name: &str) -> Result<Opened> {
        let record = self.record(name)?;
        self.open_record(record).await
    }

    /// [`Berth::open`] for a record that was read already.
    ///
    /// # Errors
    /// If there is no such driver.
    pub async fn open_record(&self, record: Record) -> Result<Opened> {
        Ok(Opened {
            driver: self.drivers.get(&record.driver).await?,
            folder: self.home.machine(&record.name),
            machine: self.machine_without_image(&record, None),
            secrets: Secrets::of(&self.home),
            record,
        })
    }

    /// The machine's lock, waited for; `on_wait` hears who has it.
    ///
    /// # Errors
    /// [`Error::Busy`] if it is not given up in ten minutes, [`Error::NoSuchMachine`] if the machine is gone by then.
    async fn lock(&self, name: &str, doing: &str, on_wait: impl Fn(&str)) -> Result<Lock> {
        self.home.prepare()?;
        let told = |holder: &Option<Holder>| {
            on_wait(&format!(
                "waiting: {}",
                Error::Busy {
                    name: name.to_owned(),
                    holder: holder.clone(),
                }
            ));
        };
        let lock = Lock::take(&self.home.lock(name), doing, LOCK_DEADLINE, told)
            .await?
            .map_err(|holder| Error::Busy {
                name: name.to_owned(),
                holder,
            })?;
        self.still_there(name, lock)
    }

    /// The lock, unless the machine was removed while it was waited for: then the lock file goes too.
    fn still_there(&self, name: &str, lock: Lock) -> Result<Lock> {
        if self.home.has_traces(name) {
            return Ok(lock);
        }
        lock.remove()?;
        Err(self.no_such_machine(name))
    }
}

/// A machine at hand.
pub struct Opened {
    /// What berth knows of it.
    pub record: Record,
    /// What drives it.
    pub driver: Arc<dyn Driver>,
    /// Its files.
    pub folder: MachineFolder,
    /// The driver's view, without the image.
    pub machine: Machine,
    /// Where the passphrases of keys are.
    secrets: Secrets,
}

impl Opened {
    /// Where its SSH server is reached.
    ///
    /// # Errors
    /// If the driver does not know, as for a machine that is off.
    pub async fn address(&self) -> Result<Address> {
        let address = self.driver.address(&self.machine).await;
        address
            .map(|address| self.record.address(address))
            .map_err(Error::driver(&self.record.name))
    }

    /// The SSH target of the machine, with the key that lets in and its pinned host key.
    ///
    /// # Errors
    /// As [`Opened::address`].
    pub async fn target(&self) -> Result<Target> {
        let address = self.address().await?;
        // It goes into ssh's configuration and onto its command line, whoever told it.
        let plain = |word: &str| {
            !word.is_empty()
                && !word.starts_with('-')
                && !word.contains(|c: char| c.is_control() || c.is_whitespace() || c == '"')
        };
        if !plain(&address.host) || !plain(&address.user) {
            let error = berth_driver_api::Error::failed("its address", "it is none");
            return Err(Error::driver(&self.record.name)(error));
        }
        let hops = address.jump.iter().map(|hop| hop.parse());
        let jump = hops
            .collect::<Result<_, _>>()
            .map_err(Error::provision(&self.record.name))?;
        Ok(Target {
            host: address.host,
            port: address.port,
            user: address.user,
            key: match &self.record.login {
                None => Key::File(self.folder.key()),
                Some(Login::File(path)) => passphrase::key(&self.secrets, path).await?,
                Some(Login::Agent) => Key::Agent,
            },
            known_hosts: self.folder.known_hosts(),
            host_key_alias: Some(ssh_config::alias(&self.record.name)),
            jump,
        })
    }

    /// An SSH connection to the machine.
    ///
    /// # Errors
    /// If it cannot be had within `deadline`.
    pub async fn connect(&self, deadline: Duration) -> Result<Session> {
        let target = self.target().await?;
        Session::connect(&target, deadline)
            .await
            .map_err(Error::provision(&self.record.name))
    }

    /// The end of the machine's console, for error messages; empty if it has none.
    pub fn console_tail(&self) -> String {
        self.driver
            .console(&self.machine)
            .and_then(|path| std::fs::read(path).ok())
            .map(|bytes| berth_driver_api::process::last_lines(&bytes, 12))
            .unwrap_or_default()
    }
}
