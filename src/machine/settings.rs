//! What a machine's engine is told beyond berth's own settings.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_driver_api::Progress;
use berth_provision::Settings;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Berth, Error, Record, Result};

/// More than this many bytes are no settings.
const MAX_SIZE: usize = 64 << 10;

/// The engine's settings as the user gave them, in the machine's record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineSettings {
    /// A daemon.json of the user's, whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daemon_json: Option<String>,
    /// Mirrors of Docker Hub, as URLs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub registry_mirrors: Vec<String>,
    /// Registries that are spoken to without valid TLS.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub insecure_registries: Vec<String>,
    /// The engine's labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The environment of the engine's service. Values may be secret.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
}

impl EngineSettings {
    /// True if nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == EngineSettings::default()
    }

    /// The same without what may be secret, to be shown.
    pub fn shown(&self) -> Self {
        let hidden = |name: &String| (name.clone(), "***".to_owned());
        EngineSettings {
            environment: self.environment.keys().map(hidden).collect(),
            ..self.clone()
        }
    }

    /// These with `other` above them: its file replaces the one that is there, its lists and variables are added.
    pub(super) fn amended(mut self, other: &Self) -> Self {
        if other.daemon_json.is_some() {
            self.daemon_json.clone_from(&other.daemon_json);
        }
        for (own, more) in [
            (&mut self.registry_mirrors, &other.registry_mirrors),
            (&mut self.insecure_registries, &other.insecure_registries),
        ] {
            for each in more {
                if !own.contains(each) {
                    own.push(each.clone());
                }
            }
        }
        self.labels.extend(other.labels.clone());
        self.environment.extend(other.environment.clone());
        self
    }

    /// What provisioning is to bring about.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for what an engine would not start with.
    pub fn resolve(&self) -> Result<Settings> {
        let mut daemon = self.daemon()?;
        for mirror in &self.registry_mirrors {
            if !is_url(mirror) {
                let reason = format!("{mirror:?} is not a URL such as https://mirror.example.org");
                return Err(bad("--registry-mirror", reason));
            }
        }
        for registry in &self.insecure_registries {
            if !is_registry(registry) {
                let reason =
                    format!("{registry:?} is not HOST, HOST:PORT or a network such as 10.0.0.0/8");
                return Err(bad("--insecure-registry", reason));
            }
        }
        let values = |values: &[String]| values.iter().map(|value| json!(value)).collect();
        add(
            &mut daemon,
            "registry-mirrors",
            values(&self.registry_mirrors),
        )?;
        add(
            &mut daemon,
            "insecure-registries",
            values(&self.insecure_registries),
        )?;
        let labels = self.labels.iter();
        let labels = labels.map(|(name, value)| json!(format!("{name}={value}")));
        add(&mut daemon, "labels", labels.collect())?;
        for (name, value) in &self.environment {
            if !is_variable(name) || value.chars().any(char::is_control) || value.len() > MAX_SIZE {
                return Err(bad(
                    "--engine-env",
                    format!("{name:?} cannot be a variable"),
                ));
            }
        }
        Ok(Settings {
            daemon,
            environment: self.environment.clone(),
            before: Map::new(),
        })
    }

    fn daemon(&self) -> Result<Map<String, Value>> {
        let Some(text) = &self.daemon_json else {
            return Ok(Map::new());
        };
        let what = "--daemon-json";
        if text.len() > MAX_SIZE {
            return Err(bad(what, "it is too long".into()));
        }
        let daemon: Value =
            serde_json::from_str(text).map_err(|error| bad(what, error.to_string()))?;
        let Value::Object(daemon) = daemon else {
            return Err(bad(what, "it is not a JSON object".into()));
        };
        if daemon.contains_key("hosts") {
            let reason =
                "it has hosts: berth reaches the engine by its socket; see `berth certs enable`";
            return Err(bad(what, reason.into()));
        }
        Ok(daemon)
    }
}

/// Adds settings to a machine's record; provisioning brings them about.
///
/// # Errors
/// [`Error::BadRequest`] for what an engine would not start with.
pub async fn amend_settings(
    berth: &Berth,
    name: &str,
    settings: &EngineSettings,
    progress: &dyn Progress,
) -> Result<()> {
    if settings.is_empty() {
        return Ok(());
    }
    berth.record(name)?;
    let doing = format!("provision {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let mut record = berth.record(name)?;
    record.settings = record.settings.amended(settings);
    record.settings.resolve()?;
    record.write(&berth.home)
}

/// Has a machine's record say what it said before, when its engine could not be brought to more.
pub async fn restore_settings(
    berth: &Berth,
    name: &str,
    before: &EngineSettings,
    progress: &dyn Progress,
) -> Result<()> {
    let doing = format!("provision {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let mut record = berth.record(name)?;
    record.settings = before.clone();
    record.write(&berth.home)
}

/// What the machine lacks of its settings; `None` if it has none of its own or does not answer in time.
pub async fn drift(berth: &Berth, record: &Record, deadline: Duration) -> Option<Vec<String>> {
    let settings = record.settings.resolve().ok()?;
    if settings.is_empty() || record.installed.is_none() {
        return None;
    }
    let asked = async {
        let opened = berth.open(&record.name).await.ok()?;
        let session = opened.connect(deadline).await.ok()?;
        let drift = berth_provision::drift(&session, &settings).await.ok();
        session.disconnect().await;
        drift
    };
    tokio::time::timeout(deadline, asked).await.ok().flatten()
}

fn add(daemon: &mut Map<String, Value>, key: &str, values: Vec<Value>) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let list = daemon.entry(key).or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else {
        return Err(bad("--daemon-json", format!("{key} is not a list")));
    };
    list.extend(values);
    Ok(())
}

fn bad(what: &str, reason: String) -> Error {
    Error::BadRequest {
        what: what.to_owned(),
        reason,
    }
}

fn is_url(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && is_plain(host))
}

/// `host`, `host:port` or `10.0.0.0/8`.
fn is_registry(text: &str) -> bool {
    !text.is_empty() && !text.contains("://") && is_plain(text)
}

fn is_plain(text: &str) -> bool {
    text.len() <= 1024 && text.chars().all(|c| c.is_ascii_graphic() && c != '"')
}

fn is_variable(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.len() <= 256 && name.chars().all(good) && name.starts_with(|c: char| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_added_to_the_users_file() {
        let settings = EngineSettings {
            daemon_json: Some(r#"{"registry-mirrors": ["https://a"], "debug": true}"#.into()),
            registry_mirrors: vec!["https://b".into()],
            insecure_registries: vec!["10.0.0.0/8".into(), "reg.lan:5000".into()],
            labels: BTreeMap::from([("role".into(), "ci".into())]),
            environment: BTreeMap::new(),
        };
        assert_eq!(
            Value::Object(settings.resolve().unwrap().daemon),
            json!({
                "registry-mirrors": ["https://a", "https://b"], "debug": true,
                "insecure-registries": ["10.0.0.0/8", "reg.lan:5000"], "labels": ["role=ci"]
            })
        );
    }

    #[test]
    fn what_an_engine_would_not_start_with_is_refused() {
        let file = |text: &str| EngineSettings {
            daemon_json: Some(text.into()),
            ..EngineSettings::default()
        };
        let mirror = |text: &str| EngineSettings {
            registry_mirrors: vec![text.into()],
            ..EngineSettings::default()
        };
        let variable = |name: &str, value: &str| EngineSettings {
            environment: BTreeMap::from([(name.into(), value.into())]),
            ..EngineSettings::default()
        };
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_SIZE));
        for wrong in [
            file("[1]"),
            file("{"),
            file(r#"{"hosts": ["tcp://0.0.0.0:2375"]}"#),
            file(&long),
            mirror("mirror.lan"),
            mirror("https://"),
            variable("A B", "x"),
            variable("1A", "x"),
            variable("", "x"),
            variable("A", "x\nB=y"),
        ] {
            assert!(wrong.resolve().is_err(), "{wrong:?}");
        }
        assert!(EngineSettings::default().resolve().unwrap().is_empty());
    }

    #[test]
    fn later_settings_are_added_to_earlier_ones() {
        let with = |mirror: &str, value: &str| EngineSettings {
            daemon_json: Some("{}".into()),
            registry_mirrors: vec![mirror.into()],
            environment: BTreeMap::from([("A".into(), value.into())]),
            ..EngineSettings::default()
        };
        let later = EngineSettings {
            daemon_json: None,
            ..with("https://b", "2")
        };
        let both = with("https://a", "1").amended(&later).amended(&later);
        assert_eq!(both.registry_mirrors, ["https://a", "https://b"]);
        assert_eq!(both.environment["A"], "2");
        assert_eq!(both.daemon_json.as_deref(), Some("{}"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = EngineSettings {
            environment: BTreeMap::from([("HTTP_PROXY".into(), "http://u:pw@p".into())]),
            ..EngineSettings::default()
        };
        let shown = serde_json::to_string(&settings.shown()).unwrap();
        assert!(shown.contains("HTTP_PROXY") && !shown.contains("pw"));
        let debug = format!("{:?}", settings.resolve().unwrap());
        assert!(!debug.contains("pw"), "{debug}");
    }
}
