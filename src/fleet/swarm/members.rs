//! The machines of a swarm as they are now: every one asked, all at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use berth_provision::swarm::{self, Member, Node, Role};
use futures_util::future::join_all;
use serde_json::Value;

use super::{Error, Result};
use crate::machine::{self, Berth, Opened, Reached, is_podman, reach};

/// How long a machine that runs may take to let us in and its engine to say what it is: one that has just lost a manager
/// waits for others for twenty seconds itself.
pub(super) const ASKING: Duration = Duration::from_secs(75);

/// A machine that answers.
pub(super) struct Asked {
    pub(super) reached: Reached,
    /// What it is in a swarm, if it is in one.
    pub(super) member: Option<Member>,
}

/// Machines by name, and what each answered.
pub(super) type Answers = BTreeMap<String, Result<Asked, machine::Error>>;

/// Asks machines what they are, all at once.
pub(super) async fn ask(berth: &Berth, names: impl IntoIterator<Item = &String>) -> Answers {
    let one = async |name: &String| {
        let asked = async {
            let reached = reach(berth, name, ASKING).await?;
            let member = swarm::info(&reached.engine)
                .await
                .map_err(machine::Error::provision(name))?;
            Ok(Asked { reached, member })
        };
        let asked = tokio::time::timeout(ASKING, asked).await;
        let asked = asked.unwrap_or_else(|_| {
            Err(machine::Error::Timeout {
                machine: name.clone(),
                what: "an answer".into(),
                after: ASKING,
            })
        });
        (name.clone(), asked)
    };
    join_all(names.into_iter().map(one))
        .await
        .into_iter()
        .collect()
}

/// A manager that answers and has a quorum behind it, and all nodes as it knows them.
pub(super) struct Chief<'a> {
    pub(super) machine: &'a str,
    pub(super) asked: &'a Asked,
    pub(super) nodes: Vec<Node>,
}

/// The first such manager, other than `except`.
///
/// # Errors
/// [`Error::NoQuorum`] with what the managers say.
pub(super) async fn chief<'a>(
    swarm: &str,
    answers: &'a Answers,
    except: Option<&str>,
) -> Result<Chief<'a>> {
    let mut said = Vec::new();
    for (name, answer) in answers {
        if Some(name.as_str()) == except {
            continue;
        }
        let asked = match answer {
            Ok(asked) => asked,
            Err(error) => {
                said.push(error.to_string());
                continue;
            }
        };
        if asked.member.as_ref().map(|member| member.role) != Some(Role::Manager) {
            continue;
        }
        match swarm::nodes(&asked.reached.engine).await {
            Ok(nodes) => {
                return Ok(Chief {
                    machine: name,
                    asked,
                    nodes,
                });
            }
            Err(error) => said.push(format!("{name}: {error}")),
        }
    }
    if said.is_empty() {
        said.push("none of its machines is one".into());
    }
    Err(Error::NoQuorum {
        swarm: swarm.to_owned(),
        detail: said.join("; "),
    })
}

/// Refuses a machine whose engine cannot be in a swarm.
pub(super) fn check_engine(opened: &Opened) -> Result<()> {
    let name = &opened.record.name;
    if is_podman(&opened.record) {
        return Err(Error::Podman(name.clone()));
    }
    let wished = opened.record.settings.resolve()?;
    match wished.daemon.get("live-restore") {
        Some(Value::Bool(true)) => Err(Error::LiveRestore(name.clone())),
        _ => Ok(()),
    }
}

/// The address at which the other machines reach this one.
///
/// # Errors
/// [`Error::NoAddress`] if there is none.
pub(super) async fn address(opened: &Opened) -> Result<String> {
    let address = opened.address().await?;
    let host = address.own.unwrap_or(address.host);
    let refused = |reason: String| Error::NoAddress {
        machine: opened.record.name.clone(),
        reason,
    };
    let found: Vec<IpAddr> = match host.parse() {
        Ok(address) => vec![address],
        Err(_) => {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await;
            let found = found.map_err(|error| refused(format!("{host}: {error}")))?;
            found.map(|address| address.ip()).collect()
        }
    };
    // An address of IPv4 first: engines have these everywhere.
    let first = found.iter().find(|ip| ip.is_ipv4()).or(found.first());
    match first {
        Some(ip) if ip.is_loopback() || ip.is_unspecified() => Err(refused(format!(
            "only this computer does, by a port of its own on {ip}"
        ))),
        Some(ip) => Ok(ip.to_string()),
        None => Err(refused(format!("{host} has no address"))),
    }
}
