//! Machines that leave their swarm, dead or alive, while it keeps its quorum.

use std::time::Duration;

use berth_driver_api::Progress;
use berth_provision::swarm::{self, Role};
use tokio::time::{Instant, sleep};

use super::form::{Formed, form_locked};
use super::members::{Answers, Asked, address, ask, check_engine, chief};
use super::record::{Swarm, of_machine};
use super::{Error, Result, context};
use crate::machine::{self, Berth};

/// How long containers may take to move away from a node that is to leave.
const DRAINING: Duration = Duration::from_secs(180);

/// How long managers may take to see that a node left, or that it is a manager no longer.
const NOTICING: Duration = Duration::from_secs(90);

/// What became of those who are left.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Left {
    /// Machines that are in the swarm no longer.
    pub left: Vec<String>,
    /// Machines that became managers in their place.
    pub promoted: Vec<String>,
    /// Machines that had to become workers, so that the managers stay odd in number.
    pub demoted: Vec<String>,
}

/// Has machines leave their swarm: what runs there moves first, a worker takes the place of a manager. With `force` those
/// that do not answer are taken off the swarm's list. When all leave, the swarm is gone.
///
/// # Errors
/// [`Error::Dead`] for one that does not answer, without `force`; [`Error::NoQuorum`] if nobody can decide.
pub async fn leave(
    berth: &Berth,
    machines: &[String],
    force: bool,
    progress: &dyn Progress,
) -> Result<Left> {
    let mut left = Left::default();
    let mut rest = machines.to_vec();
    while let Some(first) = rest.first() {
        let Some(swarm) = of_machine(berth, first)? else {
            abandon(berth, first, force, progress).await?;
            left.left.push(rest.remove(0));
            continue;
        };
        let (these, others) = rest
            .into_iter()
            .partition(|name| swarm.machines.contains_key(name));
        rest = others;
        let these: Vec<String> = these;
        let doing = format!("swarm leave {}", these.join(" "));
        let lock = Swarm::lock(berth, &swarm.name, &doing, |who| progress.note(who)).await?;
        let mut swarm = Swarm::read(berth, &swarm.name)?;
        let stay: Vec<String> = swarm
            .machines
            .keys()
            .filter(|name| !these.contains(name))
            .cloned()
            .collect();
        if stay.is_empty() {
            dissolve(berth, &swarm, force, progress).await?;
            left.left.extend(these);
            lock.remove()?;
            swarm.forget(berth)?;
            continue;
        }
        let formed = some_leave(berth, &mut swarm, &these, &stay, force, progress).await?;
        left.left.extend(these);
        left.promoted.extend(formed.promoted);
        left.demoted.extend(formed.demoted);
    }
    Ok(left)
}

/// Has a machine leave a swarm that is not one of berth's, or that has taken it off its list while it was dead.
async fn abandon(berth: &Berth, name: &str, force: bool, progress: &dyn Progress) -> Result<()> {
    let missing = || Error::NotMember(name.to_owned());
    if !force {
        return Err(missing());
    }
    let asked = ask(berth, [&name.to_owned()]).await.remove(name);
    let asked = asked.ok_or_else(missing)??;
    match asked.member {
        None => Err(missing()),
        Some(_) => go(name, &asked, progress).await,
    }
}

/// Puts `new` into the place of `old`: the same role in the same swarm. `old` may be dead; it may also live, and then what
/// runs there moves first.
///
/// # Errors
/// As [`leave`] and [`super::form`].
pub async fn replace(
    berth: &Berth,
    old: &str,
    new: &str,
    progress: &dyn Progress,
) -> Result<Formed> {
    let swarm = of_machine(berth, old)?.ok_or_else(|| Error::NotMember(old.to_owned()))?;
    berth.record(new)?;
    if let Some(other) = of_machine(berth, new)?.filter(|other| other.name != swarm.name) {
        return Err(Error::Elsewhere {
            machine: new.to_owned(),
            swarm: format!("swarm {}", other.name),
        });
    }
    let doing = format!("swarm replace {old} {new}");
    let _lock = Swarm::lock(berth, &swarm.name, &doing, |who| progress.note(who)).await?;
    let mut swarm = Swarm::read(berth, &swarm.name)?;
    // The new one has to be fit before the old one goes.
    let answer = ask(berth, [&new.to_owned()]).await.remove(new);
    let asked = answer.ok_or_else(|| Error::NotMember(new.to_owned()))??;
    check_engine(&asked.reached.opened)?;
    address(&asked.reached.opened).await?;
    let wished = swarm.managers;
    let old = old.to_owned();
    let stay: Vec<String> = swarm
        .machines
        .keys()
        .filter(|name| **name != old)
        .cloned()
        .collect();
    let mut answers = ask(berth, swarm.machines.keys()).await;
    take_out(berth, &mut swarm, &old, true, &mut answers, progress).await?;
    swarm.managers = wished;
    swarm.write(berth)?;
    let new = [new.to_owned()];
    let mut all = new.to_vec();
    all.extend(stay.into_iter().filter(|name| *name != new[0]));
    form_locked(berth, &mut swarm, &new, &all, progress).await
}

async fn some_leave(
    berth: &Berth,
    swarm: &mut Swarm,
    these: &[String],
    stay: &[String],
    force: bool,
    progress: &dyn Progress,
) -> Result<Formed> {
    progress.phase("Asking the machines");
    let mut answers = ask(berth, swarm.machines.keys()).await;
    if !force {
        for name in these {
            if let Some(Err(_)) = answers.get(name)
                && let Some(Err(why)) = answers.remove(name)
            {
                return Err(Error::Dead {
                    machine: name.clone(),
                    why: Box::new(why),
                });
            }
        }
    }
    for name in these {
        take_out(berth, swarm, name, force, &mut answers, progress).await?;
    }
    // As many managers as before if there are machines for them, and always an odd number.
    let most = swarm.managers.min(stay.len());
    swarm.managers = most - usize::from(most.is_multiple_of(2));
    swarm.write(berth)?;
    form_locked(berth, swarm, &[], stay, progress).await
}

/// Takes one machine out of the swarm, by another one's manager.
async fn take_out(
    berth: &Berth,
    swarm: &mut Swarm,
    name: &str,
    force: bool,
    answers: &mut Answers,
    progress: &dyn Progress,
) -> Result<()> {
    let id = swarm.machines.get(name).cloned().unwrap_or_default();
    let mut handed_over = false;
    let (chief_name, role) = loop {
        let error = match chief(&swarm.name, answers, Some(name)).await {
            Ok(head) => {
                let node = head.nodes.iter().find(|node| node.id == id);
                break (head.machine.to_owned(), node.map(|node| node.role));
            }
            Err(error) if handed_over => return Err(error),
            Err(error) => error,
        };
        // The only manager that decides has to hand over first.
        let heir = hand_over(swarm, name, answers, error, progress).await?;
        let again = ask(berth, [&heir]).await;
        answers.extend(again);
        handed_over = true;
    };
    let Some(Ok(head)) = answers.get(&chief_name) else {
        return Err(Error::NotMember(chief_name));
    };
    let engine = &head.reached.engine;
    let failed = |error| machine::Error::provision(&chief_name)(error);
    let living = match answers.get(name) {
        Some(Ok(asked)) => Some(asked),
        _ => None,
    };
    if let Some(role) = role {
        if living.is_some() {
            progress.phase(&format!("Moving what runs on {name}"));
            let moved = swarm::drain(engine, &id, DRAINING).await;
            match moved {
                Ok(moved) => {
                    for homeless in moved.homeless {
                        progress.note(&format!("runs nowhere now: {homeless}"));
                    }
                }
                Err(error) if force => progress.note(&error.to_string()),
                Err(error) => return Err(failed(error).into()),
            }
        }
        if role == Role::Manager {
            progress.phase(&format!("{name} hands its vote back"));
            swarm::demote(engine, &id).await.map_err(failed)?;
        }
    }
    if let Some(asked) = living {
        depart(name, asked, force, progress).await?;
    }
    if role.is_some() {
        progress.phase(&format!("Taking {name} off the list"));
        off_the_list(engine, &id).await.map_err(failed)?;
    }
    swarm.machines.remove(name);
    swarm.write(berth)?;
    context::point(berth, swarm, &head.reached.opened)?;
    answers.remove(name);
    Ok(())
}

/// The only manager makes a worker that lives the next one, which then can let it go: returns that one's name.
async fn hand_over(
    swarm: &Swarm,
    name: &str,
    answers: &Answers,
    error: Error,
    progress: &dyn Progress,
) -> Result<String> {
    let Some(Ok(asked)) = answers.get(name) else {
        return Err(error);
    };
    let failed = |error| machine::Error::provision(name)(error);
    let engine = &asked.reached.engine;
    let is_manager = asked.member.as_ref().map(|member| member.role) == Some(Role::Manager);
    let nodes = match is_manager {
        true => swarm::nodes(engine).await.map_err(failed)?,
        false => return Err(error),
    };
    let heir = answers.iter().find_map(|(other, answer)| {
        let member = answer.as_ref().ok()?.member.as_ref()?;
        let known = nodes.iter().any(|node| node.id == member.node);
        (other != name && known).then_some((other, &member.node))
    });
    let Some((heir, node)) = heir else {
        return Err(error);
    };
    progress.phase(&format!("{heir} becomes a manager"));
    swarm::promote(engine, node).await.map_err(failed)?;
    let Some(Ok(next)) = answers.get(heir) else {
        return Err(error);
    };
    let until = Instant::now() + NOTICING;
    let mut pause = Duration::from_millis(200);
    // It learns of it a moment later, and then decides with the old one.
    while swarm::nodes(&next.reached.engine).await.is_err() {
        if Instant::now() + pause >= until {
            return Err(Error::NotReady {
                swarm: swarm.name.clone(),
                detail: format!("{heir} is to be a manager and is none yet"),
            });
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
    Ok(heir.clone())
}

/// Has a machine that answers leave by itself.
async fn depart(name: &str, asked: &Asked, force: bool, progress: &dyn Progress) -> Result<()> {
    progress.phase(&format!("{name} leaves"));
    let failed = |error| machine::Error::provision(name)(error);
    let reached = &asked.reached;
    let until = Instant::now() + NOTICING;
    let mut pause = Duration::from_millis(200);
    loop {
        // A manager that was demoted learns of it a moment later, and may not leave before that.
        let role = swarm::info(&reached.engine).await.map_err(failed)?;
        let Some(member) = role else { break };
        let late = Instant::now() + pause >= until;
        if member.role == Role::Worker || late {
            let force = force || late;
            swarm::leave(&reached.engine, force).await.map_err(failed)?;
            break;
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
    swarm::end_swarm(&reached.session).await.map_err(failed)?;
    Ok(())
}

/// Takes a node off the list once the managers have noticed that it is a worker; whether it is down they notice later.
async fn off_the_list(
    engine: &berth_provision::engine::Engine,
    id: &str,
) -> berth_provision::Result<()> {
    let until = Instant::now() + NOTICING;
    let mut pause = Duration::from_millis(200);
    loop {
        match swarm::remove(engine, id, true).await {
            Err(berth_provision::Error::Engine { .. }) if Instant::now() + pause < until => {
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            other => return other,
        }
    }
}

/// Ends a swarm: workers first, so that nobody moves what is to end.
async fn dissolve(
    berth: &Berth,
    swarm: &Swarm,
    force: bool,
    progress: &dyn Progress,
) -> Result<()> {
    progress.phase("Asking the machines");
    let mut answers = ask(berth, swarm.machines.keys()).await;
    let mut order: Vec<(bool, String)> = Vec::new();
    for name in swarm.machines.keys() {
        match answers.get(name) {
            Some(Ok(Asked {
                member: Some(member),
                ..
            })) => {
                order.push((member.role == Role::Manager, name.clone()));
            }
            Some(Ok(_)) => {}
            _ if force || !berth.home.has_traces(name) => {
                progress.note(&format!("{name} does not answer: it is not told"));
            }
            _ => {
                let why = answers.remove(name).and_then(Result::err);
                let why = why.unwrap_or_else(|| berth.no_such_machine(name));
                return Err(Error::Dead {
                    machine: name.clone(),
                    why: Box::new(why),
                });
            }
        }
    }
    order.sort();
    for (_, name) in order {
        if let Some(Ok(asked)) = answers.get(&name) {
            go(&name, asked, progress).await?;
        }
    }
    Ok(())
}

/// Has a machine leave whatever swarm it is in, at once.
async fn go(name: &str, asked: &Asked, progress: &dyn Progress) -> Result<()> {
    progress.phase(&format!("{name} leaves"));
    let failed = |error| machine::Error::provision(name)(error);
    let reached = &asked.reached;
    swarm::leave(&reached.engine, true).await.map_err(failed)?;
    swarm::end_swarm(&reached.session).await.map_err(failed)?;
    Ok(())
}
