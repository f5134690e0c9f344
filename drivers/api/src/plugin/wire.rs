//! Calls to a plugin over its standard input and output, any number at once, and what it writes to standard error.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::message::{Cancel, MAX_MESSAGE, Message, Step, read_line};
use crate::process::last_lines;
use crate::{Error, Progress, Result};

/// How long the last words of a plugin that ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// What is kept of a plugin's standard error (bytes).
const LOG_KEPT: usize = 16 << 10;

/// The way to a plugin: what the calls and the reader share.
pub(super) struct Wire {
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

impl Wire {
    /// That of a program that was just started.
    pub(super) fn over(name: &str, child: &mut Child) -> Arc<Wire> {
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
        wire
    }

    pub(super) async fn call<T: DeserializeOwned>(
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
    pub(super) fn failed(&self, why: &str) -> Error {
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
