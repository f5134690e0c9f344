//! Adopts a computer that already runs and is reached by SSH.
//!
//! Nothing is made and nothing is powered: the driver finds out, once, how the user's own ssh would reach the host, and
//! keeps that. Whether the host answers, and with which key, is for those to see who speak SSH.

#![forbid(unsafe_code)]

mod hosts;
mod options;
mod record;
mod settings;

use std::time::Duration;

use async_trait::async_trait;
use berth_driver_api::record::KeptRecord;
use berth_driver_api::{
    Access, Address, Capabilities, Credential, Driver, Error, Execution, Finding, Info, Machine,
    Needs, Probe, Progress, Result, State, check_options, files, process,
};

use crate::options::Options;
use crate::record::Adopted;
use crate::settings::Settings;

/// The driver `ssh`.
pub struct Ssh {
    info: Info,
}

impl Ssh {
    /// The driver. Starts nothing.
    pub fn new() -> Self {
        Ssh {
            info: Info {
                name: "ssh".into(),
                description: "a host that already runs, reached by SSH".into(),
                capabilities: Capabilities::default(),
                options: options::specs(),
                max_cpus: None,
                needs: Needs::default(),
            },
        }
    }

    fn cannot(&self, what: &str) -> Error {
        Error::Unsupported {
            driver: self.info.name.clone(),
            what: format!("{what}: it only adopts hosts that run already"),
        }
    }
}

impl Default for Ssh {
    fn default() -> Self {
        Ssh::new()
    }
}

#[async_trait]
impl Driver for Ssh {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn probe(&self) -> Result<Probe> {
        let findings: Vec<Finding> = ["ssh", "ssh-keygen"]
            .into_iter()
            .map(|tool| match process::find(tool) {
                Some(path) => Finding::good(tool, path.display().to_string()),
                None => Finding::missing(tool, tool),
            })
            .collect();
        Ok(Probe {
            usable: findings.iter().all(|finding| finding.good),
            execution: Execution::Native,
            findings,
        })
    }

    async fn check(&self, machine: &Machine) -> Result<()> {
        check_options(&self.info, &machine.spec.options)?;
        let options = Options::read(&machine.spec)?;
        Settings::ask(&options).await.map(drop)
    }

    async fn create(
        &self,
        machine: &Machine,
        _credentials: &[Credential],
        progress: &dyn Progress,
    ) -> Result<()> {
        // What was found out once stays, whatever becomes of the user's configuration.
        if Adopted::load(machine)?.is_some() {
            return Ok(());
        }
        let options = Options::read(&machine.spec)?;
        let adopted = Adopted::of(&options, Settings::ask(&options).await?).await?;
        let way = match adopted.jump.as_slice() {
            [] => String::new(),
            jump => format!(" over {}", jump.join(", ")),
        };
        progress.note(&format!(
            "{} is {}@{} port {}{way}",
            adopted.host, adopted.user, adopted.hostname, adopted.port
        ));
        adopted.save(machine)
    }

    async fn start(&self, machine: &Machine, _progress: &dyn Progress) -> Result<()> {
        Adopted::existing(machine)?;
        Err(self.cannot("power machines on"))
    }

    async fn stop(&self, machine: &Machine, _deadline: Duration) -> Result<()> {
        Adopted::existing(machine)?;
        Err(self.cannot("shut machines down"))
    }

    async fn kill(&self, machine: &Machine) -> Result<()> {
        Adopted::existing(machine)?;
        Err(self.cannot("power machines off"))
    }

    async fn remove(&self, machine: &Machine) -> Result<()> {
        files::remove(&machine.file(Adopted::FILE))
    }

    async fn state(&self, machine: &Machine) -> Result<State> {
        Ok(match Adopted::load(machine)? {
            Some(_) => State::Running,
            None => State::Missing,
        })
    }

    async fn address(&self, machine: &Machine) -> Result<Address> {
        let adopted = Adopted::existing(machine)?;
        Ok(Address {
            own: Some(adopted.hostname.clone()),
            host: adopted.hostname,
            port: adopted.port,
            user: adopted.user,
            jump: adopted.jump,
        })
    }

    async fn wait_stopped(&self, _machine: &Machine) -> Result<Option<String>> {
        // A host that is away may come back at any time.
        std::future::pending().await
    }

    async fn access(&self, machine: &Machine) -> Result<Option<Access>> {
        let adopted = Adopted::existing(machine)?;
        Ok(Some(Access {
            logins: adopted.logins,
            host_keys: adopted.host_keys,
            fingerprint: adopted.fingerprint,
            install_key: adopted.install_key,
            files: vec![Adopted::FILE.to_owned()],
        }))
    }
}
