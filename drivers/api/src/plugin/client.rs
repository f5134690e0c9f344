//! Berth's end: a driver that is a program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::message::{Hello, PROTOCOL, Params, Search, Welcome};
use super::wire::Wire;
use crate::{
    Access, Address, Credential, Driver, Error, Found, Info, Machine, Probe, Progress, Resource,
    Result, Size, Snapshot, State,
};

/// A program that says nothing at first is no driver: nobody is kept waiting for it.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Calls that only ask; a plugin that does not answer in this time is broken.
const QUICK: Duration = Duration::from_secs(60);
/// Calls that make or move disks.
const SLOW: Duration = Duration::from_secs(3600);
/// A driver in a program of its own. Dropping it ends the program.
pub struct Plugin {
    info: Info,
    wire: Arc<Wire>,
    _child: Child,
}

impl Plugin {
    /// Starts the program and shakes hands with it.
    ///
    /// # Errors
    /// If it does not start, answer, or speak this version.
    pub async fn start(name: &str, program: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal's Ctrl-C is for berth, which ends its plugins in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Error::failed(format!("driver {name} does not start"), error))?;
        let wire = Wire::over(name, &mut child);
        let hello = Hello { protocol: PROTOCOL };
        let welcome: Value = wire.call("initialize", &hello, HANDSHAKE, None).await?;
        // Another version may describe itself in another form: the version is looked at first.
        let version = welcome.get("protocol").unwrap_or(&Value::Null);
        if *version != PROTOCOL {
            return Err(wire.failed(&format!(
                "it speaks version {version} of the plugin protocol, berth speaks {PROTOCOL}"
            )));
        }
        let welcome: Welcome = serde_json::from_value(welcome).map_err(|error| {
            wire.failed(&format!(
                "its answer to initialize is not understood: {error}"
            ))
        })?;
        if welcome.info.name != name {
            return Err(wire.failed(&format!("it says that it is {:?}", welcome.info.name)));
        }
        Ok(Plugin {
            info: welcome.info,
            wire,
            _child: child,
        })
    }

    async fn about<T: DeserializeOwned>(
        &self,
        method: &str,
        machine: &Machine,
        deadline: Duration,
        progress: Option<&dyn Progress>,
    ) -> Result<T> {
        let params = Params::of(machine);
        self.wire.call(method, &params, deadline, progress).await
    }
}

#[async_trait]
impl Driver for Plugin {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn probe(&self) -> Result<Probe> {
        self.wire.call("probe", &Value::Null, QUICK, None).await
    }

    async fn check(&self, machine: &Machine) -> Result<()> {
        self.about("check", machine, QUICK, None).await
    }

    async fn create(
        &self,
        machine: &Machine,
        credentials: &[Credential],
        progress: &dyn Progress,
    ) -> Result<()> {
        let params = Params {
            credentials: credentials.to_vec(),
            ..Params::of(machine)
        };
        self.wire
            .call("create", &params, SLOW, Some(progress))
            .await
    }

    async fn start(&self, machine: &Machine, progress: &dyn Progress) -> Result<()> {
        self.about("start", machine, SLOW, Some(progress)).await
    }

    async fn stop(&self, machine: &Machine, deadline: Duration) -> Result<()> {
        let params = Params {
            deadline: Some(deadline.as_secs_f64()),
            ..Params::of(machine)
        };
        self.wire
            .call("stop", &params, deadline + QUICK, None)
            .await
    }

    async fn kill(&self, machine: &Machine) -> Result<()> {
        self.about("kill", machine, QUICK, None).await
    }

    async fn remove(&self, machine: &Machine) -> Result<()> {
        self.about("remove", machine, SLOW, None).await
    }

    async fn state(&self, machine: &Machine) -> Result<State> {
        self.about("state", machine, QUICK, None).await
    }

    async fn address(&self, machine: &Machine) -> Result<Address> {
        self.about("address", machine, QUICK, None).await
    }

    async fn access(&self, machine: &Machine) -> Result<Option<Access>> {
        // Who makes machines has nothing to tell.
        if self.info.capabilities.images {
            return Ok(None);
        }
        match self.about("access", machine, QUICK, None).await {
            Err(Error::Unsupported { .. }) => Ok(None),
            told => told,
        }
    }

    async fn ready(&self, machine: &Machine, word: &str) -> Result<()> {
        let params = Params {
            word: Some(word.to_owned()),
            ..Params::of(machine)
        };
        self.wire.call("ready", &params, SLOW, None).await
    }

    async fn wait_stopped(&self, machine: &Machine) -> Result<Option<String>> {
        let forever = Duration::from_secs(u64::from(u32::MAX));
        self.about("wait_stopped", machine, forever, None).await
    }

    async fn suspend(&self, machine: &Machine, progress: &dyn Progress) -> Result<()> {
        self.about("suspend", machine, SLOW, Some(progress)).await
    }

    async fn snapshots(&self, machine: &Machine) -> Result<Vec<Snapshot>> {
        self.about("snapshots", machine, QUICK, None).await
    }

    async fn snapshot(&self, machine: &Machine, name: &str, progress: &dyn Progress) -> Result<()> {
        let params = Params::of_snapshot(machine, name);
        let call = self.wire.call("snapshot", &params, SLOW, Some(progress));
        call.await
    }

    async fn restore(&self, machine: &Machine, name: &str, progress: &dyn Progress) -> Result<()> {
        let params = Params::of_snapshot(machine, name);
        let call = self.wire.call("restore", &params, SLOW, Some(progress));
        call.await
    }

    async fn remove_snapshot(&self, machine: &Machine, name: &str) -> Result<()> {
        let params = Params::of_snapshot(machine, name);
        self.wire.call("remove_snapshot", &params, SLOW, None).await
    }

    async fn copy(
        &self,
        source: &Machine,
        machine: &Machine,
        credentials: &[Credential],
        progress: &dyn Progress,
    ) -> Result<()> {
        let params = Params {
            credentials: credentials.to_vec(),
            source: Some(Box::new(source.clone())),
            ..Params::of(machine)
        };
        self.wire.call("copy", &params, SLOW, Some(progress)).await
    }

    async fn resize(&self, machine: &Machine, progress: &dyn Progress) -> Result<Vec<Resource>> {
        self.about("resize", machine, SLOW, Some(progress)).await
    }

    async fn size(&self, machine: &Machine) -> Result<Size> {
        self.about("size", machine, QUICK, None).await
    }

    async fn keep_note(&self, machine: &Machine, note: &str) -> Result<()> {
        let params = Params {
            note: Some(note.to_owned()),
            ..Params::of(machine)
        };
        self.wire.call("keep_note", &params, QUICK, None).await
    }

    async fn found(&self, options: &BTreeMap<String, String>) -> Result<Vec<Found>> {
        let search = Search {
            options: options.clone(),
        };
        self.wire.call("found", &search, QUICK, None).await
    }

    fn console(&self, machine: &Machine) -> Option<PathBuf> {
        self.info
            .capabilities
            .console
            .then(|| machine.file("console.log"))
    }
}
