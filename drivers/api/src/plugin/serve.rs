//! The plugin's end: serving a [`Driver`] on standard input and output.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::message::{
    Cancel, Fault, Hello, Message, PROTOCOL, Params, Search, Step, Welcome, read_line,
};
use crate::{Driver, Error, Progress, Result, ready};

/// Serves `driver` until standard input ends.
///
/// # Errors
/// If standard input or output fails.
pub async fn serve(driver: impl Driver + 'static) -> std::io::Result<()> {
    let input = BufReader::new(tokio::io::stdin());
    serve_on(driver, input, tokio::io::stdout()).await
}

/// Serves `driver` on any pair of streams, until `input` ends. Calls run concurrently.
///
/// # Errors
/// If a stream fails.
pub async fn serve_on(
    driver: impl Driver + 'static,
    mut input: impl AsyncBufRead + Unpin,
    mut output: impl AsyncWrite + Unpin + Send + 'static,
) -> std::io::Result<()> {
    let driver: Arc<dyn Driver> = Arc::new(driver);
    let (out, mut messages) = mpsc::unbounded_channel::<Message>();
    tokio::spawn(async move {
        while let Some(message) = messages.recv().await {
            let mut line = serde_json::to_vec(&message).unwrap_or_default();
            line.push(b'\n');
            if output.write_all(&line).await.is_err() || output.flush().await.is_err() {
                return;
            }
        }
    });
    let mut running: HashMap<u64, AbortHandle> = HashMap::new();
    while let Some(line) = read_line(&mut input).await? {
        let message: Message = match serde_json::from_slice(&line) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%error, "what is no message was passed over");
                continue;
            }
        };
        let params = message.params.unwrap_or(Value::Null);
        running.retain(|_, task| !task.is_finished());
        match (message.id, message.method) {
            (Some(id), Some(method)) => {
                let (driver, out) = (driver.clone(), out.clone());
                let task = tokio::spawn(async move {
                    let progress = Notify {
                        id,
                        out: out.clone(),
                    };
                    let answer = answer(&*driver, &method, params, &progress).await;
                    let (result, error) = match answer {
                        Ok(value) => (Some(value), None),
                        Err(error) => (None, Some(Fault::from(&error))),
                    };
                    let _ = out.send(Message {
                        jsonrpc: "2.0".into(),
                        id: Some(id),
                        result,
                        error,
                        ..Message::default()
                    });
                });
                running.insert(id, task.abort_handle());
            }
            (None, Some(method)) if method == "cancel" => {
                if let Ok(cancel) = serde_json::from_value::<Cancel>(params)
                    && let Some(task) = running.remove(&cancel.id)
                {
                    task.abort();
                }
            }
            _ => {}
        }
    }
    for task in running.into_values() {
        task.abort();
    }
    Ok(())
}

async fn answer(
    driver: &dyn Driver,
    method: &str,
    params: Value,
    progress: &dyn Progress,
) -> Result<Value> {
    match method {
        "initialize" => {
            let hello: Hello = read(params)?;
            if hello.protocol != PROTOCOL {
                return Err(Error::failed(
                    "initialize",
                    format!("this plugin speaks version {PROTOCOL} only"),
                ));
            }
            return write(Welcome {
                protocol: PROTOCOL,
                info: driver.info().clone(),
            });
        }
        "probe" => return write(driver.probe().await?),
        "found" => {
            let search: Search = read(params)?;
            return write(driver.found(&search.options).await?);
        }
        _ => {}
    }
    let Params {
        machine,
        credentials,
        deadline,
        word,
        snapshot,
        source,
        note,
    } = read(params)?;
    let machine = &machine;
    let of_snapshot = || snapshot.as_deref().ok_or_else(|| lacks("snapshot"));
    match method {
        "check" => write(driver.check(machine).await?),
        "create" => write(driver.create(machine, &credentials, progress).await?),
        "start" => write(driver.start(machine, progress).await?),
        "stop" => {
            let deadline = Duration::try_from_secs_f64(deadline.unwrap_or(60.0))
                .map_err(|error| Error::failed("stop", error))?;
            write(driver.stop(machine, deadline).await?)
        }
        "kill" => write(driver.kill(machine).await?),
        "remove" => write(driver.remove(machine).await?),
        "state" => write(driver.state(machine).await?),
        "address" => write(driver.address(machine).await?),
        "access" => write(driver.access(machine).await?),
        "ready" => {
            let word = word.as_deref().unwrap_or(ready::SSH);
            write(driver.ready(machine, word).await?)
        }
        "wait_stopped" => write(driver.wait_stopped(machine).await?),
        "suspend" => write(driver.suspend(machine, progress).await?),
        "snapshots" => write(driver.snapshots(machine).await?),
        "snapshot" => write(driver.snapshot(machine, of_snapshot()?, progress).await?),
        "restore" => write(driver.restore(machine, of_snapshot()?, progress).await?),
        "remove_snapshot" => write(driver.remove_snapshot(machine, of_snapshot()?).await?),
        "copy" => {
            let source = source.ok_or_else(|| lacks("source"))?;
            let copied = driver.copy(&source, machine, &credentials, progress);
            write(copied.await?)
        }
        "resize" => write(driver.resize(machine, progress).await?),
        "size" => write(driver.size(machine).await?),
        "keep_note" => {
            let note = note.ok_or_else(|| lacks("note"))?;
            write(driver.keep_note(machine, &note).await?)
        }
        _ => Err(Error::Unsupported {
            driver: driver.info().name.clone(),
            what: method.to_owned(),
        }),
    }
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T> {
    serde_json::from_value(params).map_err(|error| Error::failed("the parameters", error))
}

fn lacks(what: &str) -> Error {
    Error::failed("the parameters", format!("they name no {what}"))
}

fn write(value: impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::failed("the answer", error))
}

struct Notify {
    id: u64,
    out: mpsc::UnboundedSender<Message>,
}

impl Notify {
    fn send(&self, step: Step) {
        let _ = self.out.send(Message {
            jsonrpc: "2.0".into(),
            method: Some("progress".into()),
            params: Some(json!(step)),
            ..Message::default()
        });
    }
}

impl Progress for Notify {
    fn phase(&self, title: &str) {
        self.send(Step {
            id: self.id,
            phase: Some(title.to_owned()),
            ..Step::default()
        });
    }

    fn bytes(&self, done: u64, total: Option<u64>) {
        self.send(Step {
            id: self.id,
            bytes: Some((done, total)),
            ..Step::default()
        });
    }

    fn note(&self, line: &str) {
        self.send(Step {
            id: self.id,
            note: Some(line.to_owned()),
            ..Step::default()
        });
    }
}
