//! What an engine is told beyond berth's own settings, and what of it a machine lacks.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::facts::Facts;
use crate::ssh::Session;
use crate::{Result, daemon_json, environment};

/// Settings that the user wants an engine to have.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Keys of daemon.json. A value replaces the one that is there; lists and objects are added to.
    pub daemon: Map<String, Value>,
    /// The environment of the engine's service. Values may be secret.
    pub environment: BTreeMap<String, String>,
    /// Keys of daemon.json that were wanted before. Of these, what is as it was wanted then and is not wanted any more is
    /// taken out; what somebody changed in the machine since stays.
    pub before: Map<String, Value>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("daemon", &self.daemon)
            .field("environment", &self.environment.keys())
            .field("before", &self.before)
            .finish()
    }
}

impl Settings {
    /// True if nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.daemon.is_empty() && self.environment.is_empty()
    }
}

/// What a machine's files lack of `settings`: `registry-mirrors`, `log-opts.max-size`, `HTTP_PROXY`. Values are not
/// told.
///
/// # Errors
/// If the machine cannot be asked.
pub async fn drift(session: &Session, settings: &Settings) -> Result<Vec<String>> {
    let facts = Facts::gather(session).await?;
    let file = facts.daemon_json.as_deref().unwrap_or_default();
    let mut lacking = daemon_json::lacking(file, &settings.daemon);
    let has = environment::read(facts.environment.as_deref().unwrap_or_default());
    let differs = |(name, value): &(&String, &String)| has.get(*name) != Some(*value);
    let differing = settings.environment.iter().filter(differs);
    lacking.extend(differing.map(|(name, _)| name.clone()));
    Ok(lacking)
}
