//! The engine's settings on the command line.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueHint;

use super::pair::pair;
use crate::machine::EngineSettings;

/// The variables by which programs are told of a proxy; some read the one spelling only, some the other.
const PROXY: [&str; 6] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// A daemon.json is far smaller (bytes).
const MAX_SIZE: u64 = 1 << 20;

/// What the engine is told, for `create`, `up` and `provision`. It is kept in the machine's record, and every `provision` applies it again.
#[derive(Debug, Clone, clap::Args)]
pub struct SettingsArgs {
    /// Settings for the engine, as in docker's daemon.json
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    daemon_json: Option<PathBuf>,

    /// A mirror of Docker Hub (repeatable)
    #[arg(long = "registry-mirror", value_name = "URL")]
    registry_mirrors: Vec<String>,

    /// A registry without valid TLS: host, host:port or CIDR (repeatable)
    #[arg(long = "insecure-registry", value_name = "HOST")]
    insecure_registries: Vec<String>,

    /// A label of the engine's own, as `docker info` shows it (repeatable)
    #[arg(long = "engine-label", value_name = "KEY=VALUE", value_parser = pair)]
    engine_labels: Vec<(String, String)>,

    /// A variable of the engine's environment (repeatable); NAME alone takes the value from this shell
    #[arg(long = "engine-env", value_name = "NAME[=VALUE]", value_parser = variable)]
    engine_env: Vec<(String, String)>,

    /// Hand HTTP_PROXY, HTTPS_PROXY and NO_PROXY of this shell on to the engine
    #[arg(long)]
    pass_proxy: bool,
}

impl SettingsArgs {
    /// As they go into the record.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn settings(&self) -> Result<EngineSettings> {
        let mut environment = std::collections::BTreeMap::new();
        if self.pass_proxy {
            let set = PROXY.iter().filter_map(|name| {
                let value = std::env::var(name).ok()?;
                (!value.is_empty()).then(|| ((*name).to_owned(), value))
            });
            environment.extend(set);
        }
        environment.extend(self.engine_env.iter().cloned());
        Ok(EngineSettings {
            daemon_json: self.daemon_json.as_deref().map(read).transpose()?,
            registry_mirrors: self.registry_mirrors.clone(),
            insecure_registries: self.insecure_registries.clone(),
            labels: self.engine_labels.iter().cloned().collect(),
            environment,
        })
    }
}

fn read(path: &std::path::Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_SIZE).read_to_string(&mut text))
        .with_context(|| path.display().to_string())?;
    Ok(text)
}

/// A secret given as `NAME` alone is seen in no list of processes.
fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) => Err("write NAME=VALUE".into()),
        None => match std::env::var(text) {
            Ok(value) => Ok((text.to_owned(), value)),
            Err(_) => Err(format!("{text} is not set in this shell")),
        },
    }
}
