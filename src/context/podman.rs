//! Podman's connections, in the podman client's own file (containers-common, `config/connections.go`).
//!
//! A connection has no room for an owner's mark. It is berth's if it leads to the socket of berth's machine of that
//! name; every other one is left alone.

mod lock;

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use serde_json::{Map, Value, json};

use super::{Error, Result};
use crate::store;
use lock::Lock;

/// The file holds a few lines a connection (bytes).
const MAX_SIZE: u64 = 16 << 20;

/// The podman client's file of connections.
#[derive(Debug, Clone)]
pub struct PodmanConfig {
    path: Option<PathBuf>,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its name.
    pub name: String,
    /// Where it leads: `unix://…`.
    pub uri: String,
    /// True if podman uses it when nothing else is said.
    pub default: bool,
}

impl Connection {
    /// True if it leads to `socket` on this computer.
    pub fn leads_to(&self, socket: &Path) -> bool {
        self.uri == uri(socket)
    }
}

/// Where `podman login` may have written what it took, in the order in which podman looks (containers-auth.json(5)).
pub fn logins() -> Vec<PathBuf> {
    let of = |variable| std::env::var_os(variable).filter(|path| !path.is_empty());
    if let Some(file) = of("REGISTRY_AUTH_FILE") {
        return vec![file.into()];
    }
    let runtime = of("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = etcetera::choose_base_strategy().ok();
    let folders = runtime.into_iter().chain(own.map(|base| base.config_dir()));
    folders
        .map(|folder| folder.join("containers/auth.json"))
        .collect()
}

impl PodmanConfig {
    /// `PODMAN_CONNECTIONS_CONF`, or `containers/podman-connections.json` in the XDG configuration folder.
    pub fn from_environment() -> Self {
        let named = std::env::var_os("PODMAN_CONNECTIONS_CONF").filter(|path| !path.is_empty());
        let usual = || {
            let base = etcetera::choose_base_strategy().ok()?;
            Some(base.config_dir().join("containers/podman-connections.json"))
        };
        PodmanConfig {
            path: named.map(PathBuf::from).or_else(usual),
        }
    }

    /// All connections, by name.
    ///
    /// # Errors
    /// If the file is there but cannot be read.
    pub fn list(&self) -> Result<Vec<Connection>> {
        let Some(path) = &self.path else {
            return Ok(Vec::new());
        };
        Ok(list(&read(path)?))
    }

    /// Refuses a name that somebody else's connection has.
    ///
    /// # Errors
    /// [`Error::ForeignConnection`].
    pub fn check_free(&self, name: &str, socket: &Path) -> Result<()> {
        let found = self.list()?.into_iter().find(|each| each.name == name);
        match found {
            Some(found) if !found.leads_to(socket) => {
                Err(Error::ForeignConnection { name: name.into() })
            }
            _ => Ok(()),
        }
    }

    /// Writes the machine's connection, anew if it is there. The first connection of all is podman's default, as it
    /// is when podman adds it.
    ///
    /// # Errors
    /// [`Error::ForeignConnection`] if the name is somebody else's.
    pub fn write(&self, name: &str, socket: &Path) -> Result<()> {
        self.change(|file| {
            let all = list(file);
            let found = all.iter().find(|each| each.name == name);
            match found {
                Some(found) if !found.leads_to(socket) => {
                    return Err(Error::ForeignConnection { name: name.into() });
                }
                Some(_) => return Ok(()),
                None => {}
            }
            let section = self.object(file, "Connection")?;
            if all.is_empty() {
                section.insert("Default".into(), json!(name));
            }
            let connections = self.object(section, "Connections")?;
            connections.insert(name.into(), json!({"URI": uri(socket)}));
            Ok(())
        })
    }

    /// Removes the machine's connection, and podman's choice of it. Somebody else's is left alone.
    ///
    /// # Errors
    /// If the file cannot be changed.
    pub fn remove(&self, name: &str, socket: &Path) -> Result<()> {
        let ours = |each: &Connection| each.name == name && each.leads_to(socket);
        if !self.list()?.iter().any(ours) {
            return Ok(());
        }
        self.change(|file| {
            if !list(file).iter().any(ours) {
                return Ok(());
            }
            let section = self.object(file, "Connection")?;
            self.object(section, "Connections")?.shift_remove(name);
            if section.get("Default").and_then(Value::as_str) == Some(name) {
                section.insert("Default".into(), json!(""));
            }
            Ok(())
        })
    }

    /// Makes a connection podman's default.
    ///
    /// # Errors
    /// If the file cannot be changed.
    pub fn set_default(&self, name: &str) -> Result<()> {
        self.change(|file| {
            let section = self.object(file, "Connection")?;
            section.insert("Default".into(), json!(name));
            Ok(())
        })
    }

    /// The object under `key`, made if there is none. Podman writes `null` for an empty one.
    fn object<'a>(
        &self,
        map: &'a mut Map<String, Value>,
        key: &str,
    ) -> Result<&'a mut Map<String, Value>> {
        let value = map.entry(key).or_insert(Value::Null);
        if value.is_null() {
            *value = json!({});
        }
        value.as_object_mut().ok_or_else(|| Error::Damaged {
            path: self.path.clone().unwrap_or_default(),
            reason: format!("{key} is not an object"),
        })
    }

    /// Changes the file under podman's own lock. Every other key is kept.
    fn change(&self, work: impl FnOnce(&mut Map<String, Value>) -> Result<()>) -> Result<()> {
        let path = self.path.as_ref().ok_or(Error::NoFolder)?;
        // The file is often a link into a folder of dotfiles: write what it points to.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let folder = target.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(store::Error::io(folder))?;
        let _lock = Lock::take(path)?;
        let mut file = read(&target)?;
        let before = file.clone();
        work(&mut file)?;
        if file == before {
            return Ok(());
        }
        let text = Value::Object(file).to_string();
        Ok(store::write_atomically(&target, text.as_bytes(), 0o644)?)
    }
}

fn uri(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

fn list(file: &Map<String, Value>) -> Vec<Connection> {
    let section = file.get("Connection");
    let default = section
        .and_then(|s| s.get("Default"))
        .and_then(Value::as_str);
    let all = section.and_then(|s| s.get("Connections")?.as_object());
    let mut list: Vec<Connection> = all
        .into_iter()
        .flatten()
        .map(|(name, connection)| Connection {
            default: default == Some(name),
            uri: connection
                .get("URI")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            name: name.clone(),
        })
        .collect();
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list
}

fn read(path: &Path) -> Result<Map<String, Value>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file
            .take(MAX_SIZE)
            .read_to_end(&mut bytes)
            .map_err(store::Error::io(path))?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(store::Error::io(path)(error).into()),
    };
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(&bytes).map_err(|error| Error::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> (tempfile::TempDir, PodmanConfig) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("containers/podman-connections.json");
        (folder, PodmanConfig { path: Some(path) })
    }

    fn file(config: &PodmanConfig) -> Value {
        let text = fs::read(config.path.as_ref().unwrap()).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn a_machines_connection_comes_and_goes_and_everything_else_stays() {
        let (_keep, config) = config();
        let path = config.path.as_ref().unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // As podman 5.4.2 writes it.
        let theirs = json!({
            "Connection": {"Default": "m1", "Connections": {
                "m1": {"URI": "ssh://core@127.0.0.1:45371/run/podman.sock", "Identity": "/k", "IsMachine": true}}},
            "Farm": {"List": {"f": ["m1"]}}
        });
        fs::write(path, theirs.to_string()).unwrap();
        let socket = Path::new("/b/machines/web1/docker.sock");
        config.write("web1", socket).unwrap();
        config.write("web1", socket).unwrap();
        assert_eq!(
            file(&config)["Connection"]["Connections"]["web1"],
            json!({"URI": "unix:///b/machines/web1/docker.sock"})
        );
        assert_eq!(file(&config)["Connection"]["Default"], "m1");
        config.set_default("web1").unwrap();
        assert!(config.list().unwrap()[1].default);
        config.remove("web1", socket).unwrap();
        let mut left = theirs.clone();
        left["Connection"]["Default"] = json!("");
        assert_eq!(file(&config), left);
    }

    #[test]
    fn a_strangers_connection_is_never_touched() {
        let (_keep, config) = config();
        let mine = Path::new("/b/machines/web1/docker.sock");
        config.write("web1", Path::new("/theirs.sock")).unwrap();
        let before = file(&config);
        assert!(matches!(
            config.write("web1", mine),
            Err(Error::ForeignConnection { .. })
        ));
        assert!(config.check_free("web1", mine).is_err());
        config.remove("web1", mine).unwrap();
        assert_eq!(file(&config), before);
    }

    #[test]
    fn the_first_connection_is_the_default_and_nulls_of_podmans_are_understood() {
        let (_keep, config) = config();
        let path = config.path.as_ref().unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, r#"{"Connection":{"Connections":null},"Farm":{}}"#).unwrap();
        config.write("web1", Path::new("/s")).unwrap();
        assert_eq!(file(&config)["Connection"]["Default"], "web1");
        fs::write(path, "oops").unwrap();
        assert!(config.write("web2", Path::new("/s2")).is_err());
        assert_eq!(fs::read_to_string(path).unwrap(), "oops");
    }

    #[test]
    fn many_writers_lose_nothing() {
        let (_keep, config) = config();
        std::thread::scope(|scope| {
            for n in 0..20 {
                let config = &config;
                scope.spawn(move || {
                    let socket = format!("/b/m{n}.sock");
                    config.write(&format!("m{n}"), Path::new(&socket)).unwrap();
                });
            }
        });
        assert_eq!(config.list().unwrap().len(), 20);
    }
}
