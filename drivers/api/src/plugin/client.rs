//! Berth's end: a driver that is a program.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::message::{
    Cancel, Hello, MAX_MESSAGE, Message, PROTOCOL, Params, Search, Step, Welcome, read_line,
};
use crate::process::last_lines;
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
/// How long the last words of a plugin that ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// What is kept of a plugin's standard error (bytes).
const LOG_KEPT: usize = 16 << 10;

/// A driver in a program of its own. Dropping it ends the program.
pub struct Plugin {
    info: Info,
    wire: Arc<Wire>,
    _child: Child,
}

/// What the calls and the reader share.
struct Wire {
    name: String,
    next: AtomicU64,
    out: mpsc::Sender<Vec<u8>>,
    calls: Mutex<Calls>,
    log: Mutex<Vec<u8>>,
}

#[derive(Default)]
struct Calls {
    waiting: HashMap<u64, mpsc::UnboundedSender<Event>>,
    /// Why the plugin can no longer be used.
    broken: Option<String>,
}

enum Event {
    Answer(Box<Message>),
    Step(Step),
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
        let (out, mut lines) = mpsc::channel::<Vec<u8>>(64);
        let wire = Arc::new(Wire {
            name: name.to_owned(),
            next: AtomicU64::new(1),
            out,
            calls: Mutex::default(),
            log: Mutex::default(),
        });
        if let Some(mut stdin) = child.stdin.take() {
            tokio::spawn(async move {
                while let Some(line) = lines.recv().await {
                    if stdin.write_all(&line).await.is_err() {
                        return;
                    }
                }
            });
        }
        let log = child.stderr.take();
        let log = log.map(|stderr| tokio::spawn(keep_log(wire.clone(), stderr)));
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(read_messages(wire.clone(), stdout, log));
        }
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

impl Wire {
    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
        deadline: Duration,
        progress: Option<&dyn Progress>,
    ) -> Result<T> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, mut events) = mpsc::unbounded_channel();
        {
            let mut calls = self.calls();
            if let Some(why) = &calls.broken {
                return Err(self.failed(&why.clone()));
            }
            calls.waiting.insert(id, sender);
        }
        let mut waiting = Waiting {
            wire: self,
            id,
            answered: false,
        };
        self.send(Some(id), method, params).await?;
        let answer = async {
            while let Some(event) = events.recv().await {
                match event {
                    Event::Answer(message) => return Some(*message),
                    Event::Step(step) => tell(progress, step),
                }
            }
            None
        };
        let message = tokio::time::timeout(deadline, answer)
            .await
            .map_err(|_| Error::Timeout {
                what: format!("driver {}'s answer to {method}", self.name),
                after: deadline,
            })?;
        let Some(message) = message else {
            let why = self.calls().broken.clone();
            return Err(self.failed(&why.unwrap_or_else(|| "it ended".into())));
        };
        waiting.answered = true;
        if let Some(fault) = message.error {
            return Err(fault.into_error(&self.name));
        }
        serde_json::from_value(message.result.unwrap_or(Value::Null)).map_err(|error| {
            self.failed(&format!(
                "its answer to {method} is not understood: {error}"
            ))
        })
    }

    async fn send(&self, id: Option<u64>, method: &str, params: &impl Serialize) -> Result<()> {
        let line = self.line(id, method, params)?;
        // A writer that is gone means that the plugin is, and its reader tells why.
        let _ = self.out.send(line).await;
        Ok(())
    }

    fn line(&self, id: Option<u64>, method: &str, params: &impl Serialize) -> Result<Vec<u8>> {
        let message = Message {
            jsonrpc: "2.0".into(),
            id,
            method: Some(method.to_owned()),
            params: Some(serde_json::to_value(params).map_err(|e| Error::failed(method, e))?),
            ..Message::default()
        };
        let mut line = serde_json::to_vec(&message).map_err(|e| Error::failed(method, e))?;
        line.push(b'\n');
        if line.len() > MAX_MESSAGE {
            return Err(Error::failed(method, "the message is too long"));
        }
        Ok(line)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error that names the plugin and shows what it wrote to standard error last.
    fn failed(&self, why: &str) -> Error {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let words = last_lines(&log, 5);
        let detail = match words.is_empty() {
            true => why.to_owned(),
            false => format!("{why}; its last words: {words}"),
        };
        Error::failed(format!("driver {}", self.name), detail)
    }

    fn take(&self, line: &[u8]) -> std::result::Result<(), String> {
        let message: Message = serde_json::from_slice(line).map_err(|_| {
            format!(
                "it wrote what is no message: {}",
                last_lines(&line[..line.len().min(200)], 1)
            )
        })?;
        match (message.id, message.method.as_deref()) {
            (Some(id), None) => {
                // An answer to a call that was given up, or a second one, is nobody's.
                if let Some(sender) = self.calls().waiting.remove(&id) {
                    let _ = sender.send(Event::Answer(Box::new(message)));
                }
            }
            (None, Some("progress")) => {
                let step: Step = serde_json::from_value(message.params.unwrap_or(Value::Null))
                    .map_err(|error| format!("its progress is not understood: {error}"))?;
                if let Some(sender) = self.calls().waiting.get(&step.id) {
                    let _ = sender.send(Event::Step(step));
                }
            }
            (None, Some(_)) => {}
            _ => return Err("it calls berth, which has nothing to call".into()),
        }
        Ok(())
    }
}

/// A call under way; given up, it is cancelled.
struct Waiting<'a> {
    wire: &'a Wire,
    id: u64,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.wire.calls().waiting.remove(&self.id);
        if !self.answered
            && let Ok(line) = self.wire.line(None, "cancel", &Cancel { id: self.id })
        {
            let _ = self.wire.out.try_send(line);
        }
    }
}

async fn read_messages(wire: Arc<Wire>, stdout: ChildStdout, log: Option<JoinHandle<()>>) {
    let mut reader = BufReader::new(stdout);
    let why = loop {
        match read_line(&mut reader).await {
            Ok(Some(line)) => {
                if let Err(why) = wire.take(&line) {
                    break why;
                }
            }
            Ok(None) => break "it ended".to_owned(),
            Err(error) => break format!("its messages cannot be read: {error}"),
        }
    };
    if let Some(log) = log {
        // What it said last tells why, and may not have been read yet.
        let _ = tokio::time::timeout(LAST_WORDS, log).await;
    }
    let mut calls = wire.calls();
    calls.broken = Some(why);
    calls.waiting.clear();
}

async fn keep_log(wire: Arc<Wire>, mut stderr: ChildStderr) {
    let mut buffer = [0u8; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        tracing::debug!(driver = wire.name, "{}", last_lines(&buffer[..count], 50));
        let mut log = wire.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(&buffer[..count]);
        let excess = log.len().saturating_sub(LOG_KEPT);
        log.drain(..excess);
    }
}

fn tell(progress: Option<&dyn Progress>, step: Step) {
    let Some(progress) = progress else { return };
    let clean = |text: String| last_lines(text.as_bytes(), 1);
    if let Some(phase) = step.phase {
        progress.phase(&clean(phase));
    }
    if let Some((done, total)) = step.bytes {
        progress.bytes(done, total);
    }
    if let Some(note) = step.note {
        progress.note(&clean(note));
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
