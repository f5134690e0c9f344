//! A client of QEMU's monitor (QMP).
//!
//! Commands and their answers are `qapi`'s types. The transport is our own: every command carries an id, so a call
//! that was dropped does not disturb the next one, and an event that no schema knows is delivered like any other.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use qapi::Command;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::call::{CallError, within};
use crate::lines::Lines;

/// QEMU is trusted, and some of its answers are long; this only bounds a mistake.
const LONGEST_LINE: usize = 16 << 20;

/// Events are kept while a call waits for its answer, the newest ones if nobody fetches them.
const MOST_EVENTS: usize = 256;

/// Something that QEMU reported on its own.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    /// Its name, such as `SHUTDOWN`.
    #[serde(rename = "event")]
    pub(crate) name: String,
    /// What it says.
    #[serde(default)]
    pub(crate) data: Value,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

/// A connection to a monitor. QEMU serves one at a time on each socket: use it and drop it.
pub(crate) struct Monitor {
    lines: Lines,
    deadline: Duration,
    next_id: u64,
    events: VecDeque<Event>,
}

impl Monitor {
    /// Connects to the monitor on `socket`. `deadline` holds for this and for each call.
    pub(crate) async fn connect(socket: &Path, deadline: Duration) -> Result<Self, CallError> {
        within(
            deadline,
            "the monitor",
            Self::connect_in_turn(socket, deadline),
        )
        .await
    }

    /// Connects, and waits for as long as another client has the monitor.
    pub(crate) async fn connect_in_turn(
        socket: &Path,
        deadline: Duration,
    ) -> Result<Self, CallError> {
        let stream = UnixStream::connect(socket).await?;
        Self::greet(stream, deadline).await
    }

    async fn greet(stream: UnixStream, deadline: Duration) -> Result<Self, CallError> {
        let mut monitor = Monitor {
            lines: Lines::new(stream, LONGEST_LINE),
            deadline,
            next_id: first_id(),
            events: VecDeque::new(),
        };
        loop {
            let message: Value = parse(&monitor.lines.next().await?)?;
            if message.get("QMP").is_some() {
                break;
            }
            // A client that has just left may have asked what QEMU answers now: to whoever has the monitor.
            if message.get("id").is_none() && message.get("event").is_none() {
                return Err(CallError::Malformed(format!("no greeting: {message}")));
            }
        }
        monitor
            .call(qapi::qmp::qmp_capabilities { enable: None })
            .await?;
        Ok(monitor)
    }

    /// Runs a command and returns its answer.
    pub(crate) async fn call<C: Command>(&mut self, command: C) -> Result<C::Ok, CallError> {
        let id = self.next_id;
        self.next_id += 1;
        let arguments = serde_json::to_value(&command)
            .map_err(|error| CallError::Malformed(error.to_string()))?;
        let mut request = json!({ "execute": C::NAME, "id": id });
        if let (Value::Object(request), true) = (&mut request, arguments.is_object()) {
            request.insert("arguments".into(), arguments);
        }
        self.lines.queue(format!("{request}\n").as_bytes());
        let answer = within(self.deadline, C::NAME, self.answer(id, C::NAME)).await?;
        serde_json::from_value(answer).map_err(|error| CallError::Malformed(error.to_string()))
    }

    /// The next event, those that arrived during calls first.
    pub(crate) async fn event(&mut self) -> Result<Event, CallError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let message = parse(&self.lines.next().await?)?;
            self.keep_event(message);
        }
    }

    async fn answer(&mut self, id: u64, command: &'static str) -> Result<Value, CallError> {
        loop {
            let mut message: Value = parse(&self.lines.next().await?)?;
            if message.get("event").is_some() {
                self.keep_event(message);
            } else if message.get("id").and_then(Value::as_u64) == Some(id) {
                if let Some(refusal) = message.get_mut("error") {
                    let refusal: Refusal = serde_json::from_value(refusal.take())
                        .map_err(|error| CallError::Malformed(error.to_string()))?;
                    return Err(CallError::Refused {
                        command,
                        reason: refusal.desc,
                    });
                }
                return Ok(message.get_mut("return").map_or(Value::Null, Value::take));
            }
            // Any other id belongs to a call that was given up.
        }
    }

    fn keep_event(&mut self, message: Value) {
        if let Ok(event) = serde_json::from_value(message) {
            if self.events.len() == MOST_EVENTS {
                self.events.pop_front();
            }
            self.events.push_back(event);
        }
    }
}

/// Where a connection's numbers begin, so that no answer to another one's call is taken for one of its own.
fn first_id() -> u64 {
    static CONNECTIONS: AtomicU32 = AtomicU32::new(0);
    let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed) % (1 << 20);
    (u64::from(std::process::id()) << 40) | (u64::from(connection) << 20)
}

fn parse(line: &[u8]) -> Result<Value, CallError> {
    serde_json::from_slice(line).map_err(|error| CallError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    /// A monitor whose other end answers every command with what `script` makes of its number and id.
    async fn scripted(script: fn(usize, &Value) -> String) -> Monitor {
        let (ours, theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let (read, mut write) = theirs.into_split();
            let mut commands = BufReader::new(read).lines();
            // As QEMU does where the client before asked, and left.
            let late = b"{\"return\": {}, \"id\": 2}\r\n{\"QMP\": {}}\r\n";
            write.write_all(late).await.unwrap();
            let mut number = 0;
            while let Ok(Some(line)) = commands.next_line().await {
                let command: Value = serde_json::from_str(&line).unwrap();
                let reply = match number {
                    0 => format!("{{\"return\": {{}}, \"id\": {}}}\n", command["id"]),
                    _ => script(number, &command["id"]),
                };
                write.write_all(reply.as_bytes()).await.unwrap();
                number += 1;
            }
        });
        Monitor::greet(ours, SHORT).await.unwrap()
    }

    fn status(id: &Value) -> String {
        format!("{{\"return\": {{\"status\": \"paused\", \"running\": false}}, \"id\": {id}}}\n")
    }

    #[tokio::test]
    async fn an_event_that_no_schema_knows_is_delivered() {
        let mut monitor = scripted(|_, id| {
            format!(
                "{{\"event\": \"OF_QEMU_99\", \"data\": {{\"x\": 1}}}}\n{}",
                status(id)
            )
        })
        .await;
        let answer = monitor.call(qapi::qmp::query_status {}).await.unwrap();
        assert_eq!(answer.status, qapi::qmp::RunState::paused);
        let event = monitor.event().await.unwrap();
        assert_eq!(
            (event.name.as_str(), event.data["x"].as_u64()),
            ("OF_QEMU_99", Some(1))
        );
    }

    #[tokio::test]
    async fn a_late_answer_does_not_disturb_the_next_call() {
        let mut monitor = scripted(|number, id| match number {
            1 => String::new(),
            _ => format!(
                "{{\"return\": {{}}, \"id\": {}}}\n{}",
                id.as_u64().unwrap() - 1,
                status(id)
            ),
        })
        .await;
        let late = monitor.call(qapi::qmp::query_status {}).await;
        assert!(matches!(late, Err(CallError::Timeout { .. })));
        let answer = monitor.call(qapi::qmp::query_status {}).await.unwrap();
        assert!(!answer.running);
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_qemus_words() {
        let mut monitor = scripted(|_, id| {
            format!("{{\"error\": {{\"class\": \"GenericError\", \"desc\": \"no way\"}}, \"id\": {id}}}\n")
        })
        .await;
        let refused = monitor.call(qapi::qmp::cont {}).await;
        assert!(matches!(refused, Err(CallError::Refused { reason, .. }) if reason == "no way"));
    }
}
