//! A client of the guest agent, which runs in the guest: nothing that it sends is trusted.
//!
//! Its protocol has no ids. A call that was given up may still be answered, so before the next one the two sides
//! find a common mark in the stream (`guest-sync-delimited`).

use std::path::Path;
use std::time::Duration;

use berth_driver_api::process;
use qapi::Command;
use qapi::qga;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::call::{CallError, within};
use crate::lines::{Lines, Stream};
use crate::pipes::Pipes;

/// Far more than the calls made here are answered with.
const LONGEST_LINE: usize = 256 << 10;

/// Resets the parser on either side.
const MARK: u8 = 0xff;

/// A connection to the guest agent.
pub(crate) struct Agent {
    lines: Lines,
    deadline: Duration,
    in_step: bool,
}

impl Agent {
    /// Connects in its turn, and makes sure that an agent answers: nothing but the mark is sent to a guest whose agent
    /// may only start later and then obey an old command.
    pub(crate) async fn connect(path: &Path, deadline: Duration) -> Result<Self, CallError> {
        let connect = async {
            let stream = match Pipes::open(path).await? {
                Some(pipes) => Stream::Pipes(pipes),
                None => UnixStream::connect(path).await?.into(),
            };
            Self::over(stream, deadline).await
        };
        within(deadline, "the guest agent", connect).await
    }

    async fn over(stream: impl Into<Stream>, deadline: Duration) -> Result<Self, CallError> {
        let mut agent = Agent {
            lines: Lines::new(stream, LONGEST_LINE),
            deadline,
            in_step: false,
        };
        agent.fall_in_step().await?;
        Ok(agent)
    }

    /// Runs a command and returns its answer.
    pub(crate) async fn call<C: Command>(&mut self, command: C) -> Result<C::Ok, CallError> {
        self.fall_in_step().await?;
        self.in_step = false;
        self.queue(&command)?;
        let answer = within(self.deadline, C::NAME, self.answer(C::NAME)).await?;
        self.in_step = true;
        serde_json::from_value(answer).map_err(|error| CallError::Malformed(error.to_string()))
    }

    /// Has the guest's `/bin/sh` run `script`, which is handed over by its standard input and seen by nobody else in the
    /// guest. Fails with the script's last words if it does not succeed within `deadline`.
    pub(crate) async fn run(&mut self, script: &str, deadline: Duration) -> Result<(), CallError> {
        let command = qga::guest_exec {
            path: "/bin/sh".into(),
            arg: None,
            env: None,
            input_data: Some(script.as_bytes().to_vec()),
            capture_output: Some(qga::GuestExecCaptureOutput::flag(true)),
        };
        let pid = self.call(command).await?.pid;
        let wait = async {
            // The agent tells of a program's end only when it is asked.
            let mut pause = Duration::from_millis(10);
            loop {
                let status = self.call(qga::guest_exec_status { pid }).await?;
                if status.exited {
                    return Ok(status);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 3 / 2).min(Duration::from_millis(100));
            }
        };
        let status = within(deadline, "a script in the guest", wait).await?;
        if status.exitcode == Some(0) {
            return Ok(());
        }
        let words = [status.out_data, status.err_data].map(Option::unwrap_or_default);
        Err(CallError::Refused {
            command: "a script in the guest",
            reason: process::last_lines(&words.concat(), 3)
                .chars()
                .take(500)
                .collect(),
        })
    }

    /// Asks the guest to power off. The agent says nothing if it does.
    pub(crate) async fn shut_down(&mut self) -> Result<(), CallError> {
        self.fall_in_step().await?;
        self.in_step = false;
        let command = qga::guest_shutdown {
            mode: Some(qga::GuestShutdownMode::Powerdown),
        };
        self.queue(&command)?;
        let patience = Duration::from_millis(300).min(self.deadline);
        match within(
            patience,
            qga::guest_shutdown::NAME,
            self.answer(qga::guest_shutdown::NAME),
        )
        .await
        {
            Err(refused @ CallError::Refused { .. }) => Err(refused),
            _ => Ok(()),
        }
    }

    fn queue<C: Command>(&mut self, command: &C) -> Result<(), CallError> {
        let arguments = serde_json::to_value(command)
            .map_err(|error| CallError::Malformed(error.to_string()))?;
        let mut request = json!({ "execute": C::NAME });
        if let (Value::Object(request), true) = (&mut request, arguments.is_object()) {
            request.insert("arguments".into(), arguments);
        }
        self.lines.queue(format!("{request}\n").as_bytes());
        Ok(())
    }

    async fn answer(&mut self, command: &'static str) -> Result<Value, CallError> {
        let line = self.lines.next().await?;
        let mut answer: Value = serde_json::from_slice(&line)
            .map_err(|error| CallError::Malformed(error.to_string()))?;
        if let Some(refusal) = answer.get("error") {
            let reason = refusal
                .get("desc")
                .and_then(Value::as_str)
                .unwrap_or("no reason given");
            return Err(CallError::Refused {
                command,
                reason: reason
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(500)
                    .collect(),
            });
        }
        answer
            .get_mut("return")
            .map(Value::take)
            .ok_or_else(|| CallError::Malformed("neither a return nor an error".into()))
    }

    async fn fall_in_step(&mut self) -> Result<(), CallError> {
        if self.in_step {
            return Ok(());
        }
        // JSON numbers of the agent are 64 bits with a sign.
        let id = uuid::Uuid::new_v4().as_u128() as u32;
        let request = json!({ "execute": "guest-sync-delimited", "arguments": { "id": id } });
        self.lines.queue(&[MARK]);
        self.lines.queue(format!("{request}\n").as_bytes());
        within(self.deadline, "the guest agent", self.find_mark(id)).await?;
        self.in_step = true;
        Ok(())
    }

    async fn find_mark(&mut self, id: u32) -> Result<(), CallError> {
        loop {
            let line = self.lines.next().await?;
            let after_mark = line.rsplit(|byte| *byte == MARK).next().unwrap_or_default();
            let found = line.contains(&MARK)
                && serde_json::from_slice::<Value>(after_mark).is_ok_and(|answer| {
                    answer.get("return").and_then(Value::as_u64) == Some(id.into())
                });
            if found {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    /// An agent that first says `noise`, leaves its first command unanswered and then falls in step again.
    fn guest(theirs: UnixStream, noise: &'static [u8]) {
        tokio::spawn(async move {
            let (read, mut write) = theirs.into_split();
            let mut lines = BufReader::new(read).split(b'\n');
            write.write_all(noise).await.unwrap();
            let mut commands = 0;
            let mut unanswered = String::new();
            while let Ok(Some(line)) = lines.next_segment().await {
                let marked = line.first() == Some(&MARK);
                let command: Value = serde_json::from_slice(&line[usize::from(marked)..]).unwrap();
                let reply = if marked {
                    write.write_all(unanswered.as_bytes()).await.unwrap();
                    write.write_all(&[MARK]).await.unwrap();
                    command["arguments"]["id"].to_string()
                } else {
                    commands += 1;
                    "{}".into()
                };
                if commands == 1 && !marked {
                    unanswered = "{\"error\": {\"desc\": \"too late\"}}\n".into();
                    continue;
                }
                let reply = format!("{{\"return\": {reply}}}\n");
                write.write_all(reply.as_bytes()).await.unwrap();
            }
        });
    }

    #[tokio::test]
    async fn noise_and_late_answers_are_passed_over() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        guest(theirs, b"{\"return\": 1}\nhalf a li");
        let mut agent = Agent::over(ours, SHORT).await.unwrap();
        let late = agent.call(qga::guest_ping {}).await;
        assert!(matches!(late, Err(CallError::Timeout { .. })));
        agent.call(qga::guest_ping {}).await.unwrap();
    }

    #[tokio::test]
    async fn a_guest_cannot_make_us_remember_without_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let mut sink = [0; 256];
            let _ = theirs.read(&mut sink).await;
            while theirs.write_all(&[b'x'; 4096]).await.is_ok() {}
        });
        let flooded = Agent::over(ours, Duration::from_secs(5)).await;
        assert!(matches!(flooded, Err(CallError::Malformed(_))));
    }

    #[tokio::test]
    async fn a_guest_without_an_agent_is_given_up() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let silent = Agent::over(ours, SHORT).await;
        assert!(matches!(silent, Err(CallError::Timeout { .. })));
    }
}
