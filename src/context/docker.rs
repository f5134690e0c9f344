//! Docker contexts, in the docker CLI's own files (docker/cli, `cli/context/store`).
//!
//! A context is berth's if its metadata carries berth's marks; every other one is left alone.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Error, Result};
use crate::store;

/// Metadata keys that mark a context as berth's; docker keeps keys that it does not know.
const MACHINE_MARK: &str = "dev.berth.machine";
const HOME_MARK: &str = "dev.berth.home";

/// The docker CLI's configuration folder.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    folder: PathBuf,
}

/// One context as its file tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// Where it points: `unix://…`.
    pub host: String,
    /// The machine it belongs to, if it is berth's.
    pub machine: Option<Uuid>,
    /// The berth home that made it, if it is berth's.
    pub home: Option<PathBuf>,
}

/// What a context points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `unix://…` or `tcp://…`.
    pub host: String,
    /// What docker needs to speak TLS to it.
    pub tls: Option<TlsFiles>,
}

/// The certificates of a context, PEM each.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The CA that the server is known by.
    pub ca: String,
    /// The client's certificate.
    pub certificate: String,
    /// The client's key.
    pub key: String,
}

impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsFiles")
    }
}

impl DockerConfig {
    /// `DOCKER_CONFIG`, or `~/.docker`.
    ///
    /// # Errors
    /// If neither is known.
    pub fn from_environment() -> Result<Self> {
        let folder = match std::env::var_os("DOCKER_CONFIG").filter(|path| !path.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => etcetera::home_dir()
                .map_err(|_| Error::NoFolder)?
                .join(".docker"),
        };
        Ok(DockerConfig { folder })
    }

    /// Where they lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The context `name`.
    ///
    /// # Errors
    /// If its file is there but cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Context>> {
        let path = self.meta_folder(name).join("meta.json");
        match read_json(&path)? {
            Some(meta) => Ok(Some(parse(&path, &meta)?)),
            None => Ok(None),
        }
    }

    /// All contexts that can be read.
    ///
    /// # Errors
    /// If the folder is there but cannot be read.
    pub fn list(&self) -> Result<Vec<Context>> {
        let folder = self.folder.join("contexts/meta");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(store::Error::io(folder)(error).into()),
        };
        let mut contexts: Vec<Context> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path().join("meta.json");
                parse(&path, &read_json(&path).ok()??).ok()
            })
            .collect();
        contexts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(contexts)
    }

    /// Refuses a name that somebody else's context has.
    ///
    /// # Errors
    /// [`Error::Foreign`]; [`Error::Others`].
    pub fn check_free(&self, name: &str, machine: Option<Uuid>) -> Result<()> {
        match self.find(name)? {
            None => Ok(()),
            Some(context) if context.machine.is_none() => Err(Error::Foreign { name: name.into() }),
            Some(context) if context.machine != machine => Err(Error::Others { name: name.into() }),
            Some(_) => Ok(()),
        }
    }

    /// Writes the context of a machine, or of a swarm that has an id too, anew if it is there; `about` is what docker
    /// shows as its description.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the name is somebody else's.
    pub fn write(
        &self,
        name: &str,
        machine: Uuid,
        home: &Path,
        endpoint: &Endpoint,
        about: &str,
    ) -> Result<()> {
        self.check_free(name, Some(machine))?;
        let meta = json!({
            "Name": name,
            "Metadata": {
                "Description": about,
                MACHINE_MARK: machine.to_string(),
                HOME_MARK: home,
            },
            "Endpoints": {
                "docker": {
                    "Host": endpoint.host,
                    "SkipTLSVerify": false,
                }
            }
        });
        let folder = self.meta_folder(name);
        fs::create_dir_all(&folder).map_err(store::Error::io(&folder))?;
        let path = folder.join("meta.json");
        // Certificates are there before a context needs them, and gone only when it does not any more.
        if let Some(tls) = &endpoint.tls {
            self.write_tls(name, tls)?;
        }
        store::write_atomically(&path, meta.to_string().as_bytes(), 0o644)?;
        if endpoint.tls.is_none() {
            store::remove_folder(&self.tls_folder(name))?;
        }
        Ok(())
    }

    fn write_tls(&self, name: &str, tls: &TlsFiles) -> Result<()> {
        let folder = self.tls_folder(name).join("docker");
        store::create_private_folder(&folder)?;
        for (file, content) in [
            ("ca.pem", &tls.ca),
            ("key.pem", &tls.key),
            ("cert.pem", &tls.certificate),
        ] {
            store::write_private(&folder.join(file), content.as_bytes())?;
        }
        Ok(())
    }

    /// Removes the machine's context, and docker's choice of it. Somebody else's is left alone.
    ///
    /// # Errors
    /// If the files cannot be changed.
    pub fn remove(&self, name: &str, machine: Uuid) -> Result<()> {
        if self
            .find(name)?
            .is_none_or(|context| context.machine != Some(machine))
        {
            return Ok(());
        }
        let current = self.current();
        if matches!(&current, Ok(Some(current)) if current == name) {
            self.set_current(None)?;
        }
        for folder in [self.meta_folder(name), self.tls_folder(name)] {
            store::remove_folder(&folder)?;
        }
        // Settings that cannot be read hold up nothing, but they are told.
        current.map(drop)
    }

    /// The context that `docker` uses when nothing else is said.
    ///
    /// # Errors
    /// If `config.json` cannot be read.
    pub fn current(&self) -> Result<Option<String>> {
        let config = read_json(&self.folder.join("config.json"))?;
        Ok(config
            .as_ref()
            .and_then(|config| config.get("currentContext")?.as_str())
            .filter(|name| !name.is_empty() && *name != "default")
            .map(str::to_owned))
    }

    /// Chooses the context that `docker` uses, or docker's own default. Every other setting is kept.
    ///
    /// # Errors
    /// If `config.json` cannot be read or written.
    pub fn set_current(&self, name: Option<&str>) -> Result<()> {
        let path = self.folder.join("config.json");
        let before = read_json(&path)?;
        let mut config = before.clone().unwrap_or_default();
        match name {
            Some(name) => config.insert("currentContext".into(), json!(name)),
            None => config.shift_remove("currentContext"),
        };
        if before.as_ref() == Some(&config) || (before.is_none() && name.is_none()) {
            return Ok(());
        }
        store::create_private_folder(&self.folder)?;
        // config.json is often a link into a folder of dotfiles: write what it points to.
        let target = fs::canonicalize(&path).unwrap_or(path);
        Ok(store::write_private(&target, &with_tabs(&config))?)
    }

    fn meta_folder(&self, name: &str) -> PathBuf {
        self.folder.join("contexts/meta").join(hash(name))
    }

    fn tls_folder(&self, name: &str) -> PathBuf {
        self.folder.join("contexts/tls").join(hash(name))
    }
}

/// What in the environment beats the chosen context, by docker's rules; `None` if nothing does.
pub fn overriding_variable() -> Option<&'static str> {
    ["DOCKER_HOST", "DOCKER_CONTEXT"]
        .into_iter()
        .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

fn hash(name: &str) -> String {
    Sha256::digest(name)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn read_json(path: &Path) -> Result<Option<Map<String, Value>>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(store::Error::io(path)(error).into()),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| Error::Damaged {
            path: path.to_owned(),
            reason: error.to_string(),
        })
}

fn parse(path: &Path, meta: &Map<String, Value>) -> Result<Context> {
    let name = meta
        .get("Name")
        .and_then(Value::as_str)
        .ok_or_else(|| Error::Damaged {
            path: path.to_owned(),
            reason: "it has no name".into(),
        })?;
    let mark = |key: &str| meta.get("Metadata")?.get(key)?.as_str();
    let host = |meta: &Map<String, Value>| {
        Some(
            meta.get("Endpoints")?
                .get("docker")?
                .get("Host")?
                .as_str()?
                .to_owned(),
        )
    };
    Ok(Context {
        name: name.to_owned(),
        host: host(meta).unwrap_or_default(),
        machine: mark(MACHINE_MARK).and_then(|id| id.parse().ok()),
        home: mark(HOME_MARK).map(PathBuf::from),
    })
}

/// JSON as the docker CLI writes `config.json`: indented by tabs.
fn with_tabs(config: &Map<String, Value>) -> Vec<u8> {
    use serde::Serialize;
    let mut out = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
    match config.serialize(&mut serializer) {
        Ok(()) => out,
        // A map of values always has a JSON form; should that change, the compact one is as good.
        Err(_) => Value::Object(config.clone()).to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> (tempfile::TempDir, DockerConfig) {
        let folder = tempfile::tempdir().unwrap();
        let config = DockerConfig {
            folder: folder.path().join(".docker"),
        };
        (folder, config)
    }

    fn unix(path: &str) -> Endpoint {
        Endpoint {
            host: format!("unix://{path}"),
            tls: None,
        }
    }

    #[test]
    fn certificates_lie_where_docker_looks_for_them_and_go_with_their_use() {
        use std::os::unix::fs::PermissionsExt;
        let (_keep, config) = config();
        let id = Uuid::new_v4();
        let tls = Endpoint {
            host: "tcp://127.0.0.1:42001".into(),
            tls: Some(TlsFiles {
                ca: "A".into(),
                certificate: "C".into(),
                key: "K".into(),
            }),
        };
        config
            .write("web1", id, Path::new("/h"), &tls, "web1")
            .unwrap();
        let folder = config
            .folder
            .join("contexts/tls")
            .join(hash("web1"))
            .join("docker");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        for (file, content) in [("ca.pem", "A"), ("cert.pem", "C"), ("key.pem", "K")] {
            assert_eq!(fs::read_to_string(folder.join(file)).unwrap(), content);
            assert_eq!(mode(&folder.join(file)), 0o600);
        }
        config
            .write("web1", id, Path::new("/h"), &unix("/s"), "web1")
            .unwrap();
        assert!(!config.tls_folder("web1").exists());
        assert_eq!(config.find("web1").unwrap().unwrap().host, "unix:///s");
    }

    #[test]
    fn the_folder_is_the_one_docker_looks_in() {
        assert!(hash("dev1").starts_with("cf4b9c1f") && hash("dev1").ends_with("a13e"));
    }

    #[test]
    fn a_strangers_context_is_never_touched() {
        let (_keep, config) = config();
        let folder = config.meta_folder("web1");
        fs::create_dir_all(&folder).unwrap();
        let text = r#"{"Name":"web1","Metadata":{"Description":"mine"},"Endpoints":{"docker":{"Host":"ssh://me@host"}}}"#;
        fs::write(folder.join("meta.json"), text).unwrap();
        let id = Uuid::new_v4();
        let refused = config.write("web1", id, Path::new("/home"), &unix("/s"), "web1");
        assert!(matches!(refused, Err(Error::Foreign { .. })));
        config.remove("web1", id).unwrap();
        assert_eq!(fs::read_to_string(folder.join("meta.json")).unwrap(), text);
    }

    #[test]
    fn removing_the_chosen_context_gives_docker_its_default_back_and_keeps_the_rest() {
        let (_keep, config) = config();
        let id = Uuid::new_v4();
        fs::create_dir_all(&config.folder).unwrap();
        let path = config.folder.join("config.json");
        fs::write(
            &path,
            r#"{"auths":{"r":{}},"currentContext":"x","psFormat":"y"}"#,
        )
        .unwrap();
        config
            .write("web1", id, Path::new("/h"), &unix("/h/docker.sock"), "web1")
            .unwrap();
        config.set_current(Some("web1")).unwrap();
        assert_eq!(config.current().unwrap().as_deref(), Some("web1"));
        config.remove("web1", id).unwrap();
        assert_eq!(config.current().unwrap(), None);
        assert_eq!(config.find("web1").unwrap(), None);
        let left = fs::read_to_string(&path).unwrap();
        assert_eq!(
            left,
            "{\n\t\"auths\": {\n\t\t\"r\": {}\n\t},\n\t\"psFormat\": \"y\"\n}"
        );
    }

    #[test]
    fn a_machine_of_the_same_name_in_another_home_is_a_stranger() {
        let (_keep, config) = config();
        let (mine, theirs) = (Uuid::new_v4(), Uuid::new_v4());
        config
            .write("web1", theirs, Path::new("/other"), &unix("/o"), "web1")
            .unwrap();
        assert!(config.check_free("web1", Some(mine)).is_err());
        assert!(config.check_free("web1", None).is_err());
        assert!(config.check_free("web1", Some(theirs)).is_ok());
    }
}
