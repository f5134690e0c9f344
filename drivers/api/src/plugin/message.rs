//! The messages of the plugin protocol.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use crate::{Credential, Error, Info, Machine, State};

/// The protocol's version; both ends must name the same.
pub const PROTOCOL: u32 = 1;

/// No message is longer than this (bytes).
pub const MAX_MESSAGE: usize = 4 << 20;

/// Anything on the wire: a call has `id` and `method`, a notification `method`, an answer `id`.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Always `2.0`.
    pub jsonrpc: String,
    /// Names the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// What is called or told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// The answer, if all went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// The answer, if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
}

/// The `error` member of an answer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// JSON-RPC's code; -32000 for a driver's own errors.
    pub code: i64,
    /// For people.
    pub message: String,
    /// What berth tells apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Kind>,
}

/// Errors that berth treats in a way of their own.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kind {
    /// [`Error::Missing`]
    Missing {
        /// The machine's name.
        machine: String,
    },
    /// [`Error::Unsupported`]
    Unsupported {
        /// The driver's name.
        driver: String,
        /// The verb.
        what: String,
    },
    /// [`Error::InvalidOption`]
    InvalidOption {
        /// The option's name.
        option: String,
        /// Its value.
        value: String,
        /// Why it is refused.
        reason: String,
    },
    /// [`Error::ToolMissing`]
    ToolMissing {
        /// The program's name.
        tool: String,
    },
    /// [`Error::Timeout`]
    Timeout {
        /// What was waited for.
        what: String,
        /// Seconds.
        after: f64,
    },
    /// [`Error::PortsExhausted`]
    PortsExhausted {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// [`Error::WrongState`]
    WrongState {
        /// What the machine does.
        state: State,
    },
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        let data = match error {
            Error::Missing(machine) => Some(Kind::Missing {
                machine: machine.clone(),
            }),
            Error::Unsupported { driver, what } => Some(Kind::Unsupported {
                driver: driver.clone(),
                what: what.clone(),
            }),
            Error::InvalidOption {
                option,
                value,
                reason,
            } => Some(Kind::InvalidOption {
                option: option.clone(),
                value: value.clone(),
                reason: reason.clone(),
            }),
            Error::ToolMissing { tool } => Some(Kind::ToolMissing { tool: tool.clone() }),
            Error::Timeout { what, after } => Some(Kind::Timeout {
                what: what.clone(),
                after: after.as_secs_f64(),
            }),
            Error::PortsExhausted { first, last } => Some(Kind::PortsExhausted {
                first: *first,
                last: *last,
            }),
            Error::WrongState { state, .. } => Some(Kind::WrongState { state: *state }),
            _ => None,
        };
        Fault {
            code: -32000,
            message: error.to_string(),
            data,
        }
    }
}

impl Fault {
    /// The error that this was on the plugin's side.
    pub fn into_error(self, driver: &str) -> Error {
        match self.data {
            Some(Kind::Missing { machine }) => Error::Missing(machine),
            Some(Kind::Unsupported { driver, what }) => Error::Unsupported { driver, what },
            Some(Kind::InvalidOption {
                option,
                value,
                reason,
            }) => Error::InvalidOption {
                option,
                value,
                reason,
            },
            Some(Kind::ToolMissing { tool }) => Error::ToolMissing { tool },
            Some(Kind::Timeout { what, after }) => Error::Timeout {
                what,
                after: Duration::try_from_secs_f64(after).unwrap_or_default(),
            },
            Some(Kind::PortsExhausted { first, last }) => Error::PortsExhausted { first, last },
            Some(Kind::WrongState { state }) => Error::WrongState {
                state,
                wanted: "in the state that this needs",
            },
            None => Error::failed(format!("driver {driver}"), self.message),
        }
    }
}

/// The parameters of every method but `initialize`, `probe`, `found` and `cancel`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// The machine that the call is about.
    pub machine: Machine,
    /// `create` and `copy` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credential>,
    /// `stop` only: seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<f64>,
    /// `ready` only: what the guest is to say; `ssh` if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word: Option<String>,
    /// `snapshot`, `restore` and `remove_snapshot` only: the snapshot's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// `copy` only: the machine whose disk is copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Box<Machine>>,
    /// `keep_note` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Params {
    /// What is said of a machine in every call.
    pub fn of(machine: &Machine) -> Self {
        Params {
            machine: machine.clone(),
            credentials: Vec::new(),
            deadline: None,
            word: None,
            snapshot: None,
            source: None,
            note: None,
        }
    }

    /// What is said of a snapshot of a machine.
    pub fn of_snapshot(machine: &Machine, name: &str) -> Self {
        Params {
            snapshot: Some(name.to_owned()),
            ..Params::of(machine)
        }
    }
}

/// The parameters of `found`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Search {
    /// The options that say which hypervisor is asked, by name.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// The parameters of `initialize`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// The version that berth speaks.
    pub protocol: u32,
}

/// The answer to `initialize`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Welcome {
    /// The version that the plugin speaks.
    pub protocol: u32,
    /// The driver's description of itself.
    pub info: Info,
}

/// The parameters of the notification `cancel`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Cancel {
    /// The call that is given up.
    pub id: u64,
}

/// The parameters of the notification `progress`; one of the rest is there.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// The call that it is about.
    pub id: u64,
    /// A phase begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Bytes done, and bytes in all if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<(u64, Option<u64>)>,
    /// Something worth telling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Reads one line of at most [`MAX_MESSAGE`] bytes; `None` at the end.
pub async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            return Ok((!line.is_empty()).then_some(line));
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(buffer.len(), |end| end + 1);
        line.extend_from_slice(&buffer[..taken]);
        reader.consume(taken);
        if line.len() > MAX_MESSAGE {
            return Err(std::io::Error::other(format!(
                "a message of more than {MAX_MESSAGE} bytes"
            )));
        }
        if end.is_some() {
            line.pop();
            return Ok(Some(line));
        }
    }
}
