//! Making machines one swarm with a number of managers, from wherever they are now.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_driver_api::Progress;
use berth_provision::swarm::{self, Node, Role, Token};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::members::{Answers, Asked, Chief, address, ask, check_engine, chief};
use super::record::{Swarm, of_machine};
use super::{Error, Result, context};
use crate::machine::{self, Berth, check_name};

/// How long nodes may take to be ready, and managers to reach each other, once they have joined.
const SETTLING: Duration = Duration::from_secs(180);

/// So many managers a swarm of that many machines has by default: two of five may be lost, one of three.
pub fn default_managers(machines: usize) -> usize {
    match machines {
        0..=2 => 1,
        3..=6 => 3,
        _ => 5,
    }
}

/// What a swarm is to be.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// Its machines; those that are in it beside them stay.
    pub machines: Vec<String>,
    /// How many of them decide: an odd number. The machines that come first are preferred.
    pub managers: usize,
}

/// What was changed to make it so.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Formed {
    /// Machines that are in it now and were not.
    pub joined: Vec<String>,
    /// Machines that became managers.
    pub promoted: Vec<String>,
    /// Machines that are managers no longer.
    pub demoted: Vec<String>,
}

impl Formed {
    /// True if everything was as it should be.
    pub fn is_unchanged(&self) -> bool {
        *self == Formed::default()
    }
}

/// Refuses numbers of managers that make no sense.
///
/// # Errors
/// [`Error::EvenManagers`], [`Error::TooManyManagers`].
pub fn check_managers(managers: usize, machines: usize) -> Result<()> {
    if managers.is_multiple_of(2) {
        return Err(Error::EvenManagers(managers));
    }
    if managers > machines {
        return Err(Error::TooManyManagers { managers, machines });
    }
    Ok(())
}

/// Makes running machines one swarm as it is wished: inits it, or has those join that are not in it, and brings the
/// managers to their number. Doing it again is fine, and goes on where it broke off.
///
/// # Errors
/// What a machine, or the swarm, stands in the way with. What was done stays.
pub async fn form(berth: &Berth, wish: &Wish, progress: &dyn Progress) -> Result<Formed> {
    check_name(&wish.name).map_err(|error| match error {
        machine::Error::BadName { name, reason } => Error::BadName { name, reason },
        other => other.into(),
    })?;
    if berth.home.has_traces(&wish.name) {
        return Err(Error::NameTaken(wish.name.clone()));
    }
    check_managers(wish.managers, usize::MAX)?;
    for name in &wish.machines {
        berth.record(name)?;
        if let Some(other) = of_machine(berth, name)?.filter(|other| other.name != wish.name) {
            return Err(Error::Elsewhere {
                machine: name.clone(),
                swarm: format!("swarm {}", other.name),
            });
        }
    }
    if Swarm::find(berth, &wish.name)?.is_none() {
        check_managers(wish.managers, wish.machines.len())?;
        berth.docker.check_free(&wish.name, None)?;
    }
    let doing = format!("swarm {}", wish.name);
    let _lock = Swarm::lock(berth, &wish.name, &doing, |who| progress.note(who)).await?;
    let known = Swarm::find(berth, &wish.name)?;
    let mut record = known.unwrap_or_else(|| Swarm::new(&wish.name, wish.managers));
    let mut all: Vec<String> = wish.machines.clone();
    all.extend(
        record
            .machines
            .keys()
            .filter(|name| !wish.machines.contains(name))
            .cloned(),
    );
    check_managers(wish.managers, all.len())?;
    record.managers = wish.managers;
    let outcome = form_locked(berth, &mut record, &wish.machines, &all, progress).await;
    if outcome.is_err() && record.swarm.is_none() {
        // Nothing was made yet.
        record.forget(berth)?;
    }
    outcome
}

/// [`form`] by whoever has the lock; `named` have to answer, the rest of `all` may not.
pub(super) async fn form_locked(
    berth: &Berth,
    record: &mut Swarm,
    named: &[String],
    all: &[String],
    progress: &dyn Progress,
) -> Result<Formed> {
    progress.phase("Asking the machines");
    let mut answers = ask(berth, all).await;
    let mut addresses = BTreeMap::new();
    for name in named {
        match answers.get(name) {
            Some(Ok(asked)) => {
                check_engine(&asked.reached.opened)?;
                addresses.insert(name.clone(), address(&asked.reached.opened).await?);
            }
            _ => {
                if let Some(Err(error)) = answers.remove(name) {
                    return Err(error.into());
                }
            }
        }
    }
    let mut formed = Formed::default();
    let first = begin(berth, record, named, &addresses, &answers, progress).await?;
    if let Some(first) = first {
        formed.joined.push(first.clone());
        let again = ask(berth, [&first]).await;
        answers.extend(again);
    }
    let head = chief(&record.name, &answers, None).await?;
    let newcomers = newcomers(record, named, &answers, &head)?;
    for (name, asked) in &answers {
        // Those that have joined without our noting it.
        if let Ok(Asked {
            member: Some(member),
            ..
        }) = asked
            && head.nodes.iter().any(|node| node.id == member.node)
        {
            record.machines.insert(name.clone(), member.node.clone());
        }
    }
    for name in &newcomers {
        record.machines.entry(name.clone()).or_default();
    }
    record.write(berth)?;
    let joined = take_in(
        berth, record, &newcomers, &addresses, &answers, &head, progress,
    )
    .await?;
    formed.joined.extend(joined);
    balance(record, all, &head, &mut formed, progress).await?;
    settled(record, &head, progress).await?;
    context::point(berth, record, &head.asked.reached.opened)?;
    Ok(formed)
}

/// Makes the swarm if none of its machines is in one: returns the machine that it began on.
async fn begin(
    berth: &Berth,
    record: &mut Swarm,
    named: &[String],
    addresses: &BTreeMap<String, String>,
    answers: &Answers,
    progress: &dyn Progress,
) -> Result<Option<String>> {
    for (name, answer) in answers {
        let Ok(Asked {
            member: Some(member),
            ..
        }) = answer
        else {
            continue;
        };
        let Some(id) = &member.swarm else { continue };
        match &record.swarm {
            Some(ours) if ours != id => {
                return Err(Error::Elsewhere {
                    machine: name.clone(),
                    swarm: format!("another swarm ({id})"),
                });
            }
            Some(_) => {}
            // Begun by us and broken off, or made by hand: it is taken as it is.
            None => record.swarm = Some(id.clone()),
        }
    }
    if record.swarm.is_some() {
        return Ok(None);
    }
    let (name, asked) = member_of(named, answers)
        .next()
        .ok_or_else(|| Error::NoQuorum {
            swarm: record.name.clone(),
            detail: "none of its machines answers".into(),
        })?;
    if asked.member.is_some() {
        return Err(Error::Elsewhere {
            machine: name.to_owned(),
            swarm: "a swarm whose managers are not among these machines".into(),
        });
    }
    progress.phase(&format!("Making the swarm on {name}"));
    let failed = |error| machine::Error::provision(name)(error);
    let reached = &asked.reached;
    swarm::allow_swarm(&reached.session, &reached.engine)
        .await
        .map_err(failed)?;
    let address = addresses.get(name).map(String::as_str).unwrap_or_default();
    // The record is there before the swarm is.
    record.machines.insert(name.to_owned(), String::new());
    record.write(berth)?;
    swarm::init(&reached.engine, address)
        .await
        .map_err(failed)?;
    let member = swarm::info(&reached.engine).await.map_err(failed)?;
    record.swarm = member.and_then(|member| member.swarm);
    record.write(berth)?;
    Ok(Some(name.to_owned()))
}

fn member_of<'a>(
    named: &'a [String],
    answers: &'a Answers,
) -> impl Iterator<Item = (&'a str, &'a Asked)> {
    named
        .iter()
        .filter_map(|name| Some((name.as_str(), answers.get(name)?.as_ref().ok()?)))
}

/// The machines that are not in the swarm yet, in order.
fn newcomers(
    record: &Swarm,
    named: &[String],
    answers: &Answers,
    head: &Chief<'_>,
) -> Result<Vec<String>> {
    let mut newcomers = Vec::new();
    for (name, asked) in member_of(named, answers) {
        match &asked.member {
            None => newcomers.push(name.to_owned()),
            Some(member) if head.nodes.iter().any(|node| node.id == member.node) => {}
            // It was taken off the list while it did not answer, or belongs to others.
            Some(_) => {
                return Err(Error::Elsewhere {
                    machine: name.to_owned(),
                    swarm: format!("a swarm that is not {}", record.name),
                });
            }
        }
    }
    Ok(newcomers)
}

/// Has machines join: managers one after another, for each changes by how many the others decide; workers at once.
async fn take_in(
    berth: &Berth,
    record: &mut Swarm,
    newcomers: &[String],
    addresses: &BTreeMap<String, String>,
    answers: &Answers,
    head: &Chief<'_>,
    progress: &dyn Progress,
) -> Result<Vec<String>> {
    if newcomers.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |error| machine::Error::provision(head.machine)(error);
    let tokens = swarm::tokens(&head.asked.reached.engine)
        .await
        .map_err(failed)?;
    let at: Vec<String> = head
        .nodes
        .iter()
        .filter(|node| node.reachable == Some(true))
        .map(|node| node.address.clone())
        // A node that has only now made its swarm does not know itself by its address yet.
        .filter(|address| !address.is_empty() && address != "0.0.0.0")
        .chain(addresses.get(head.machine).cloned())
        .collect();
    let have = head.nodes.iter().filter(|node| node.role == Role::Manager);
    let missing = record.managers.saturating_sub(have.count());
    let (managers, workers) = newcomers.split_at(missing.min(newcomers.len()));
    let one = async |name: &String, token: &Token| -> Result<(String, String)> {
        let asked = match answers.get(name) {
            Some(Ok(asked)) => asked,
            _ => return Err(Error::NotMember(name.clone())),
        };
        let address = addresses.get(name).map(String::as_str).unwrap_or_default();
        let node = join(asked, address, &at, token).await;
        Ok((name.clone(), node.map_err(machine::Error::provision(name))?))
    };
    let mut joined = Vec::new();
    for name in managers {
        progress.phase(&format!("{name} joins as a manager"));
        let (name, node) = one(name, tokens.of(Role::Manager)).await?;
        record.machines.insert(name.clone(), node);
        record.write(berth)?;
        joined.push(name);
    }
    if !workers.is_empty() {
        progress.phase(&format!("As workers: {}", workers.join(", ")));
    }
    let worker = tokens.of(Role::Worker);
    let mut failure = None;
    for outcome in join_all(workers.iter().map(|name| one(name, worker))).await {
        match outcome {
            Ok((name, node)) => {
                record.machines.insert(name.clone(), node);
                joined.push(name);
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    record.write(berth)?;
    failure.map_or(Ok(joined), Err)
}

/// Returns the new node's id.
async fn join(
    asked: &Asked,
    address: &str,
    managers: &[String],
    token: &Token,
) -> berth_provision::Result<String> {
    let reached = &asked.reached;
    swarm::allow_swarm(&reached.session, &reached.engine).await?;
    let joining = swarm::join(&reached.engine, address, managers, token).await;
    let member = swarm::info(&reached.engine).await?;
    match (joining, member) {
        // A slow machine goes on joining after its engine stopped waiting; what comes of it shows in the end.
        (_, Some(member)) if !member.node.is_empty() => Ok(member.node),
        (Err(error), _) => Err(error),
        (Ok(()), _) => Ok(String::new()),
    }
}

/// Brings the number of managers to what it should be.
async fn balance(
    record: &Swarm,
    order: &[String],
    head: &Chief<'_>,
    formed: &mut Formed,
    progress: &dyn Progress,
) -> Result<()> {
    let engine = &head.asked.reached.engine;
    let failed = |error| machine::Error::provision(head.machine)(error);
    let nodes = swarm::nodes(engine).await.map_err(failed)?;
    let node_of = |name: &String| {
        let id = record.machines.get(name)?;
        nodes.iter().find(|node| node.id == *id)
    };
    let managers = nodes.iter().filter(|node| node.role == Role::Manager);
    let mut have = managers.count();
    for name in order {
        if have >= record.managers {
            break;
        }
        let Some(node) = node_of(name).filter(|node| node.role == Role::Worker) else {
            continue;
        };
        if node.state != "ready" {
            continue;
        }
        progress.phase(&format!("{name} becomes a manager"));
        swarm::promote(engine, &node.id).await.map_err(failed)?;
        formed.promoted.push(name.clone());
        have += 1;
    }
    // Those that are dead first, then the last ones, and the leader never.
    let mut too_many: Vec<(&String, &Node)> = order
        .iter()
        .rev()
        .filter_map(|name| Some((name, node_of(name)?)))
        .filter(|(_, node)| node.role == Role::Manager && !node.leader)
        .collect();
    too_many.sort_by_key(|(_, node)| node.reachable == Some(true));
    for (name, node) in too_many {
        if have <= record.managers {
            break;
        }
        progress.phase(&format!("{name} becomes a worker"));
        swarm::demote(engine, &node.id).await.map_err(failed)?;
        formed.demoted.push(name.clone());
        have -= 1;
    }
    Ok(())
}

/// Waits until the machines that answer are ready nodes, and managers reach each other.
async fn settled(record: &Swarm, head: &Chief<'_>, progress: &dyn Progress) -> Result<()> {
    progress.phase("Waiting until all nodes are ready");
    let until = Instant::now() + SETTLING;
    let mut pause = Duration::from_millis(100);
    let was_down = |id: &String| {
        let node = head.nodes.iter().find(|node| node.id == *id);
        node.is_some_and(|node| node.state != "ready")
    };
    loop {
        let nodes = swarm::nodes(&head.asked.reached.engine)
            .await
            .map_err(machine::Error::provision(head.machine))?;
        let unready: Vec<&str> = record
            .machines
            .iter()
            // One that was dead before is not waited for.
            .filter(|(_, id)| !was_down(id))
            .filter(|(_, id)| {
                let node = nodes.iter().find(|node| node.id == **id);
                node.is_none_or(|node| {
                    node.state != "ready"
                        || (node.role == Role::Manager && node.reachable != Some(true))
                        || (node.role == Role::Worker && node.reachable.is_some())
                })
            })
            .map(|(name, _)| name.as_str())
            .collect();
        if unready.is_empty() {
            return Ok(());
        }
        if Instant::now() + pause >= until {
            return Err(Error::NotReady {
                swarm: record.name.clone(),
                detail: format!("{} not ready yet", unready.join(", ")),
            });
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_are_odd_and_no_more_than_machines() {
        for (managers, machines, good) in [
            (1, 1, true),
            (3, 4, true),
            (0, 3, false),
            (2, 3, false),
            (3, 2, false),
        ] {
            assert_eq!(check_managers(managers, machines).is_ok(), good);
        }
        for machines in 1..20 {
            check_managers(default_managers(machines), machines).unwrap();
        }
    }
}
