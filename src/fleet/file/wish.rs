//! What the machines of a group are to be like, checked as far as that can be done without asking anything.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_images::Checksum;
use berth_provision::{Channel, Kind, Version};
use serde_json::Value;

use super::error::Wrong;
use super::schema::{At, Group};
use crate::machine::{
    AUTO, DISTRO, EngineSettings, EngineWish, Mount, Request, TlsWish, check_label, parse_size,
};

/// What a machine is to be like. Whatever is `None` may be as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// The driver's name.
    pub driver: Option<String>,
    /// Virtual CPUs.
    pub cpus: Option<u32>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Disk in bytes.
    pub disk: Option<u64>,
    /// The image: a name, an absolute path, an address.
    pub image: Option<String>,
    /// What the disk at that path or address must be.
    pub digest: Option<Checksum>,
    /// The file of user data for cloud-init.
    pub cloud_init: Option<PathBuf>,
    /// The engine.
    pub engine: Option<EngineWish>,
    /// Whether it has a TLS endpoint.
    pub tls: Option<bool>,
    /// All of its labels.
    pub labels: BTreeMap<String, String>,
    /// All of its mounts.
    pub mounts: Vec<Mount>,
    /// Options of the driver's; it may have others.
    pub options: BTreeMap<String, String>,
    /// All of its engine's settings.
    pub settings: EngineSettings,
}

impl Wish {
    /// The request that makes machine `name` so.
    pub fn request(&self, name: &str, boot_deadline: Duration) -> Request {
        let engine = self.engine.clone();
        Request {
            cpus: self.cpus,
            memory: self.memory,
            disk: self.disk,
            image: self.image.clone(),
            digest: self.digest.clone(),
            cloud_init: self.cloud_init.clone(),
            engine_named: engine.is_some(),
            engine: engine.unwrap_or_else(|| EngineWish::parse("docker", DISTRO)),
            labels: self.labels.clone(),
            tls: (self.tls == Some(true)).then(TlsWish::default),
            settings: self.settings.clone(),
            mounts: self.mounts.clone(),
            options: self.options.clone(),
            boot_deadline,
            ..Request::plain(name, self.driver.as_deref().unwrap_or(AUTO))
        }
    }
}

/// What a whole group asks for. `span` is its name's, for what has no place of its own.
pub(super) fn wish(group: &Group, folder: &Path, span: Range<usize>) -> Result<Wish, Wrong> {
    if let Some(cpus) = group.cpus.as_ref().filter(|cpus| ***cpus == 0) {
        return Err(Wrong::at(cpus.span(), "a machine has at least one"));
    }
    let size = |value: &Option<At<String>>| {
        let value = value.as_ref();
        value
            .map(|size| parse_size(size).map_err(|reason| Wrong::at(size.span(), reason)))
            .transpose()
    };
    for (key, value) in &group.labels {
        check_label(key, value).map_err(|error| Wrong::at(value.span(), error.to_string()))?;
    }
    let digest = group.digest.as_ref().map(|digest| {
        digest
            .parse()
            .map_err(|reason: &str| Wrong::at(digest.span(), reason))
    });
    let mounts = group.mounts.iter().flatten().map(|mount| {
        Mount::parse(&mount_in(folder, mount))
            .map_err(|error| Wrong::at(mount.span(), error.to_string()))
    });
    let settings = settings(group, span)?;
    Ok(Wish {
        driver: group
            .driver
            .as_ref()
            .map(|driver| driver.to_string())
            .filter(|driver| driver != AUTO),
        cpus: group.cpus.as_ref().map(|cpus| **cpus),
        memory: size(&group.memory)?,
        disk: size(&group.disk)?,
        image: group.image.as_ref().map(|image| image_in(folder, image)),
        digest: digest.transpose()?,
        cloud_init: group.cloud_init.as_ref().map(|file| path_in(folder, file)),
        engine: engine(group, folder)?,
        tls: group.tls,
        labels: group
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), value.to_string()))
            .collect(),
        mounts: mounts.collect::<Result<_, _>>()?,
        options: group
            .options
            .iter()
            .map(|(key, value)| (key.clone(), value.to_string()))
            .collect(),
        settings,
    })
}

fn engine(group: &Group, folder: &Path) -> Result<Option<EngineWish>, Wrong> {
    let wrong = |at: &At<String>| {
        let span = at.span();
        move |error: berth_provision::Error| Wrong::at(span, error.to_string())
    };
    let channel = match &group.channel {
        Some(channel) => {
            channel.parse::<Channel>().map_err(wrong(channel))?;
            match channel.strip_prefix("bundle:") {
                Some(path) => format!("bundle:{}", path_in(folder, path).display()),
                None => channel.to_string(),
            }
        }
        None => DISTRO.to_owned(),
    };
    let Some(engine) = &group.engine else {
        return Ok(group
            .channel
            .is_some()
            .then(|| EngineWish::parse("docker", &channel)));
    };
    let wish = EngineWish::parse(engine, &channel);
    let kind: Kind = wish.kind.parse().map_err(wrong(engine))?;
    if let Some(version) = &wish.version {
        version.parse::<Version>().map_err(wrong(engine))?;
        if kind == Kind::None {
            return Err(Wrong::at(engine.span(), "no engine has no version"));
        }
    }
    Ok(Some(wish))
}

fn settings(group: &Group, span: Range<usize>) -> Result<EngineSettings, Wrong> {
    let span = group.daemon.as_ref().map_or(span, At::span);
    let daemon_json = match &group.daemon {
        Some(daemon) => {
            let json = serde_json::to_value(&**daemon);
            let json = json.map_err(|error| Wrong::at(span.clone(), error.to_string()))?;
            if has_date(&toml::Value::Table((**daemon).clone())) {
                return Err(Wrong::at(span, "JSON has no dates: write it as text"));
            }
            (json != Value::Object(serde_json::Map::new())).then(|| json.to_string())
        }
        None => None,
    };
    let settings = EngineSettings {
        daemon_json,
        registry_mirrors: group.registry_mirrors.clone().unwrap_or_default(),
        insecure_registries: group.insecure_registries.clone().unwrap_or_default(),
        labels: group.engine_labels.clone(),
        environment: group.engine_env.clone(),
    };
    settings.resolve().map_err(|error| {
        // Said of the options of commands elsewhere.
        let reason = error.to_string();
        Wrong::at(span, reason.trim_start_matches("--").to_owned())
    })?;
    Ok(settings)
}

fn has_date(value: &toml::Value) -> bool {
    match value {
        toml::Value::Datetime(_) => true,
        toml::Value::Array(values) => values.iter().any(has_date),
        toml::Value::Table(table) => table.values().any(has_date),
        _ => false,
    }
}

/// A path of the file's, which may begin with `~/`.
fn path_in(folder: &Path, path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => folder.join(path),
    }
}

/// A word with a slash is a path, as it is on the command line, except for addresses.
fn image_in(folder: &Path, image: &str) -> String {
    let elsewhere = berth_images::is_url(image) || berth_images::is_in_registry(image);
    match image.contains('/') && !elsewhere {
        true => {
            let path = path_in(folder, image);
            std::path::absolute(&path)
                .unwrap_or(path)
                .display()
                .to_string()
        }
        false => image.to_owned(),
    }
}

/// `HOST[:GUEST][:ro]` with the host's path made absolute.
fn mount_in(folder: &Path, mount: &str) -> String {
    let (host, rest) = match mount.split_once(':') {
        Some((host, rest)) => (host, format!(":{rest}")),
        None => (mount, String::new()),
    };
    match host.is_empty() {
        true => mount.to_owned(),
        false => format!("{}{rest}", path_in(folder, host).display()),
    }
}
