//! What berth knows of a machine: `machine.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use berth_driver_api::{Address, Login, Spec};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use uuid::Uuid;

use super::Result;
use super::copy::Origin;
use super::expiry::Expiry;
use super::member::Member;
use super::mounts::Mount;
use super::pool::Pooled;
use super::settings::EngineSettings;
use super::tls::TlsWish;
use crate::store::{self, Home, MachineFolder, Migration};

/// The steps from older forms of the record to today's. Add at the end, never change one that was released.
const MIGRATIONS: &[Migration] = &[];

/// The channel of those who name none.
pub const DISTRO: &str = "distro";

/// Where Docker Engine listens, before provisioning has looked.
const DOCKER_SOCKET: &str = "/run/docker.sock";

/// Where root's podman listens.
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";

/// The record of one machine. Power state and addresses are not in it: they are asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    version: i64,
    /// Never reused, however often a name is.
    pub id: Uuid,
    /// The name, which is also the folder's.
    pub name: String,
    /// The driver's name.
    pub driver: String,
    /// When the machine was asked for.
    pub created: Timestamp,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Disk in bytes.
    pub disk: u64,
    /// The image it was made of; none for an adopted host.
    pub image: Option<ImageRef>,
    /// The driver's own kernel, where it does not boot the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<ImageRef>,
    /// The template that it was cloned from, whose disk is the base of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// How cloud-init sets the machine up, where the image is one that berth did not build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInit>,
    /// What lets berth in, where that is the user's own key and not one that berth made for the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// The engine that was asked for.
    pub engine: EngineWish,
    /// Whether the user named that engine: one of another kind that an adopted host has is not kept in its place then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub engine_named: bool,
    /// The engine that provisioning found or installed last.
    pub installed: Option<Installed>,
    /// What the machine's kernel cannot do for containers, as provisioning found it last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// The TLS endpoint, if the user asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsWish>,
    /// What the engine is told beyond berth's own settings.
    #[serde(default, skip_serializing_if = "EngineSettings::is_empty")]
    pub settings: EngineSettings,
    /// The folders of the host that it sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Which fleet file declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Member>,
    /// The machine that it is a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// When it is removed by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Expiry>,
    /// When it was found again at its hypervisor, its record here having been lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Timestamp>,
    /// The pool that it waits in, or came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pooled>,
    /// The user's labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The driver's options.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// What a later berth wrote here.
    #[serde(flatten)]
    pub unknown: Table,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// An image as it was when the machine was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// What the user wrote.
    pub reference: String,
    /// What it was: `sha256:…`.
    pub digest: String,
}

/// What berth has cloud-init do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudInit {
    /// Who is let in: root, or a user of the image's own.
    pub user: String,
    /// Whether the guest is handed credentials too: a file that was imported may be an image of berth's after all.
    pub credentials: bool,
}

/// The engine that a machine is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineWish {
    /// `docker`, `podman` or `none`.
    pub kind: String,
    /// The pinned version, or the beginning of one; `latest`; none for whichever is there.
    pub version: Option<String>,
    /// `distro`, `upstream` or `bundle:PATH`.
    pub channel: String,
}

impl EngineWish {
    /// Reads `KIND[@VERSION]` and a channel, of which a bundle's path is made independent of the current folder.
    pub fn parse(text: &str, channel: &str) -> Self {
        let bundle = channel
            .strip_prefix("bundle:")
            .filter(|path| !path.is_empty());
        let channel = match bundle.map(std::path::absolute) {
            Some(Ok(path)) => format!("bundle:{}", path.display()),
            _ => channel.to_owned(),
        };
        let (kind, version) = match text.split_once('@') {
            Some((kind, version)) => (kind, Some(version.to_owned())),
            None => (text, None),
        };
        EngineWish {
            kind: kind.to_owned(),
            version,
            channel,
        }
    }
}

/// The engine that a machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// `docker`.
    pub kind: String,
    /// The engine's own word.
    pub version: String,
    /// The engine's unix socket inside the machine.
    pub socket: String,
    /// The guest's operating system, for people.
    pub os: String,
}

impl Record {
    /// A new machine's record, of today's version and with a new id.
    pub fn new(name: &str, driver: &str, spec: &Spec, engine: EngineWish) -> Self {
        Record {
            version: MIGRATIONS.len() as i64 + 1,
            id: Uuid::new_v4(),
            name: name.to_owned(),
            driver: driver.to_owned(),
            created: Timestamp::now(),
            cpus: spec.cpus,
            memory: spec.memory,
            disk: spec.disk,
            image: None,
            kernel: None,
            template: None,
            cloud_init: None,
            login: None,
            engine,
            engine_named: false,
            installed: None,
            limits: Vec::new(),
            tls: None,
            settings: EngineSettings::default(),
            mounts: Vec::new(),
            member: None,
            origin: None,
            expiry: None,
            recovered: None,
            pool: None,
            labels: BTreeMap::new(),
            options: spec.options.clone(),
            unknown: Table::new(),
        }
    }

    /// The record of a copy: what is the machine's own is not copied.
    pub fn copy(&self, name: &str, origin: Origin) -> Self {
        Record {
            id: Uuid::new_v4(),
            name: name.to_owned(),
            created: Timestamp::now(),
            tls: None,
            origin: Some(origin),
            // Its disk rests on the image, and no fleet file knows it.
            template: None,
            member: None,
            expiry: None,
            recovered: None,
            pool: None,
            ..self.clone()
        }
    }

    /// The engine's socket inside the machine, or where it will be; `None` if it is to have no engine.
    pub fn engine_socket(&self) -> Option<&str> {
        match (&self.installed, self.engine.kind.as_str()) {
            (Some(installed), _) => Some(&installed.socket),
            (None, "docker") => Some(DOCKER_SOCKET),
            (None, "podman") => Some(PODMAN_SOCKET),
            (None, _) => None,
        }
    }

    /// Whether there is something for a supervisor to do.
    pub fn is_supervised(&self) -> bool {
        self.engine_socket().is_some()
            || !self.mounts.is_empty()
            || self.expiry.is_some()
            || self.pool.is_some()
    }

    /// The driver's word on where the machine is reached, with the user that this machine lets in.
    pub fn address(&self, mut address: Address) -> Address {
        if let Some(cloud_init) = &self.cloud_init {
            address.user.clone_from(&cloud_init.user);
        }
        address
    }

    /// True while the machine waits in a pool: it is nobody's yet.
    pub fn waits(&self) -> bool {
        self.pool.as_ref().is_some_and(|pool| !pool.taken)
    }

    /// The name that the machine was made with. Its driver knows it by that one: only berth's own has changed since.
    pub fn first_name(&self) -> &str {
        self.pool
            .as_ref()
            .map_or(&self.name, |pool| &pool.first_name)
    }

    /// The record of machine `name`; `None` if there is none. What the machine's folder is called is its name: of one
    /// that is taken from a pool, nothing else changes in that moment.
    ///
    /// # Errors
    /// As [`Record::read`].
    pub fn of(home: &Home, name: &str) -> Result<Option<Self>> {
        let mut record = Record::read(&home.machine(name))?;
        if let Some(record) = record.as_mut().filter(|record| record.pool.is_some()) {
            record.name = name.to_owned();
        }
        Ok(record)
    }

    /// Reads the record in `folder`; `None` if there is none.
    ///
    /// # Errors
    /// If it is damaged or from a later berth.
    pub fn read(folder: &MachineFolder) -> Result<Option<Self>> {
        let path = folder.record();
        match store::read_table(&path)? {
            Some(table) => Record::from_table(&path, table).map(Some),
            None => Ok(None),
        }
    }

    /// A record of today's form or an older one; `path` is for messages.
    ///
    /// # Errors
    /// If it is damaged or from a later berth.
    pub fn from_table(path: &Path, mut table: Table) -> Result<Self> {
        store::migrate(path, &mut table, MIGRATIONS)?;
        let record = Record::deserialize(Value::Table(table));
        Ok(record.map_err(|error| store::Error::Damaged {
            path: path.to_owned(),
            reason: error.to_string().trim().replace('\n', " "),
        })?)
    }

    /// Writes the record into the machine's folder.
    ///
    /// # Errors
    /// If the file cannot be written; the old one is then still there.
    pub fn write(&self, home: &Home) -> Result<()> {
        self.write_in(&home.machine(&self.name))
    }

    /// Writes the record into a folder that may have another name still.
    ///
    /// # Errors
    /// As [`Record::write`].
    pub(super) fn write_in(&self, folder: &MachineFolder) -> Result<()> {
        let path = folder.record();
        Ok(store::write_toml(&path, self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_later_berth_survive_a_rewrite() {
        let spec = Spec {
            cpus: 2,
            memory: 1 << 30,
            disk: 1 << 34,
            image: None,
            options: BTreeMap::new(),
        };
        let wish = EngineWish {
            kind: "docker".into(),
            version: None,
            channel: "distro".into(),
        };
        let record = Record::new("web1", "qemu", &spec, wish);
        let text = toml::to_string(&record).unwrap() + "\n[fleet]\ngroup = 'ci'\n";
        let read: Record = toml::from_str(&text).unwrap();
        let again = toml::to_string(&read).unwrap();
        assert!(again.contains("group = \"ci\""), "{again}");
        assert_eq!(read.id, record.id);
    }
}
