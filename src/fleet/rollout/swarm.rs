//! Nodes of a swarm: emptied before they are worked on, and let in again afterwards.

use std::time::Duration;

use berth_driver_api::Progress;
use berth_provision::engine::Engine;
use berth_provision::swarm::{self, Role};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::time::{Instant, sleep};

use super::error::{Error, Result};
use super::folder::Rollout;
use super::journal::{Event, Fared};
use crate::fleet::{default_parallel, for_each};
use crate::machine::{self, Berth};

/// How long a machine that runs may take to let us in.
const CONNECTING: Duration = Duration::from_secs(60);

/// How long containers may take to move elsewhere, and a node to be back.
const MOVING: Duration = Duration::from_secs(300);

/// How long a node whose work failed is waited for: it may be dead.
const FAILED: Duration = Duration::from_secs(60);

/// How long managers that have just come back may take to be heard of by the others, and those that lost their leader to
/// choose another one: until then they have no answer.
const RETURNING: Duration = Duration::from_secs(60);

/// Between two looks at a node that is on its way.
const PAUSE: Duration = Duration::from_millis(500);

/// The swarms that machines of berth's are nodes of.
pub struct Swarms<'a> {
    berth: &'a Berth,
    /// Machines whose engines are managers.
    managers: OnceCell<Vec<String>>,
    /// Two managers that are away at once could cost a swarm its quorum.
    one_manager: Mutex<()>,
    /// Two nodes that are emptied at once could have all replicas of a service between them.
    one_moves: Mutex<()>,
}

/// A machine's place in a swarm.
pub struct Place {
    node: String,
    role: Role,
    /// The machine whose engine is asked to change it.
    manager: String,
    availability: String,
    /// How many managers the swarm has, and how many of them beside this machine the others reach.
    managers: usize,
    others: usize,
}

impl Place {
    /// Whether the swarm can decide while this machine is away. One or two managers never can.
    fn can_spare(&self) -> bool {
        self.role == Role::Worker || self.managers < 3 || self.others > self.managers / 2
    }
}

/// A node that was emptied.
pub struct Emptied<'a> {
    place: Place,
    _alone: Option<MutexGuard<'a, ()>>,
}

impl<'a> Swarms<'a> {
    /// Nothing is asked yet.
    pub fn new(berth: &'a Berth) -> Self {
        Swarms {
            berth,
            managers: OnceCell::new(),
            one_manager: Mutex::new(()),
            one_moves: Mutex::new(()),
        }
    }

    /// A machine's place; `None` if its engine is in no swarm.
    ///
    /// # Errors
    /// [`Error::NoManager`] if no machine of berth's is a manager that could be asked.
    pub async fn place(&self, name: &str) -> Result<Option<Place>> {
        let Some(engine) = self.engine(name).await? else {
            return Ok(None);
        };
        let asked = swarm::info(&engine).await;
        let Some(member) = asked.map_err(machine::Error::provision(name))? else {
            return Ok(None);
        };
        let managers = match member.role {
            Role::Manager => vec![name.to_owned()],
            Role::Worker => self.managers().await.to_vec(),
        };
        for manager in managers {
            let Ok(Some(engine)) = self.engine(&manager).await else {
                continue;
            };
            let nodes = swarm::nodes(&engine).await.unwrap_or_default();
            let deciding = nodes.iter().filter(|node| node.role == Role::Manager);
            let others = deciding
                .clone()
                .filter(|node| node.id != member.node && node.reachable == Some(true));
            let (deciding, others) = (deciding.count(), others.count());
            if let Some(node) = nodes.into_iter().find(|node| node.id == member.node) {
                return Ok(Some(Place {
                    managers: deciding,
                    others,
                    node: node.id,
                    role: member.role,
                    manager,
                    availability: node.availability,
                }));
            }
        }
        Err(Error::NoManager(name.to_owned()))
    }

    /// Refuses a machine that its swarm cannot spare now.
    ///
    /// # Errors
    /// [`Error::Quorum`]; as [`Swarms::place`].
    pub async fn check(&self, name: &str) -> Result<()> {
        match self.place(name).await? {
            Some(place) if !place.can_spare() => Err(Error::Quorum {
                machine: name.to_owned(),
                managers: place.managers,
                others: place.others,
            }),
            _ => Ok(()),
        }
    }

    /// Empties a machine's node, if it is one. Whoever drained it before is left their will, unless that was this rollout.
    ///
    /// # Errors
    /// If its containers do not leave.
    pub async fn empty(
        &self,
        rollout: &Rollout,
        name: &str,
        before: &Fared,
        progress: &dyn Progress,
    ) -> Result<Option<Emptied<'_>>> {
        let Some(place) = settled(async || self.place(name).await).await? else {
            return Ok(None);
        };
        let alone = match place.role {
            Role::Manager => Some(self.one_manager.lock().await),
            Role::Worker => None,
        };
        if place.availability != "active" && !before.drained {
            return Ok(None);
        }
        settled(async || self.check(name).await).await?;
        let _moves = self.one_moves.lock().await;
        progress.phase("Moving the swarm's containers elsewhere");
        rollout
            .journal
            .note(Event::Drained, Some(name), None, None)?;
        let failed = machine::Error::provision(name);
        let manager = settled(async || self.manager_for(name, &place).await).await?;
        let moved = swarm::drain(&manager, &place.node, MOVING).await;
        let moved = match moved {
            Ok(moved) => moved,
            Err(error) => {
                // Nothing was done to the machine.
                let _ = swarm::activate(&manager, &place.node, MOVING).await;
                return Err(failed(error).into());
            }
        };
        for homeless in moved.homeless {
            progress.note(&format!("runs nowhere for now: {homeless}"));
        }
        Ok(Some(Emptied {
            place,
            _alone: alone,
        }))
    }

    /// Lets containers come to a machine's node again, once it takes part; one whose work has `failed` is not waited for
    /// as long.
    ///
    /// # Errors
    /// If it does not come back into its swarm.
    pub async fn fill(
        &self,
        rollout: &Rollout,
        name: &str,
        emptied: Emptied<'_>,
        failed: bool,
        progress: &dyn Progress,
    ) -> Result<()> {
        progress.phase("Letting the swarm's containers in");
        let place = &emptied.place;
        let patience = if failed { FAILED } else { MOVING };
        let until = Instant::now() + patience;
        // What the others last heard of it may be from before it went.
        while !self.takes_part(name, place.role).await && Instant::now() + PAUSE < until {
            sleep(PAUSE).await;
        }
        let manager = settled(async || self.manager_for(name, place).await).await?;
        let left = until.saturating_duration_since(Instant::now());
        let active = swarm::activate(&manager, &place.node, left).await;
        active.map_err(machine::Error::provision(name))?;
        Ok(rollout
            .journal
            .note(Event::Active, Some(name), None, None)?)
    }

    /// Whether a machine's engine itself says that it is a node in good standing.
    async fn takes_part(&self, name: &str, role: Role) -> bool {
        let Ok(Some(engine)) = self.engine(name).await else {
            return false;
        };
        let member = swarm::info(&engine).await.ok().flatten();
        member.is_some_and(|member| member.role == role && member.trouble.is_none())
    }

    /// An engine that decides about a node: the one that was asked before, or another one if that does not answer.
    async fn manager_for(&self, name: &str, place: &Place) -> Result<Engine> {
        if let Some(engine) = self.decides(&place.manager, place).await {
            return Ok(engine);
        }
        for manager in self.managers().await {
            if let Some(engine) = self.decides(manager, place).await {
                return Ok(engine);
            }
        }
        Err(Error::NoManager(name.to_owned()))
    }

    async fn decides(&self, manager: &str, place: &Place) -> Option<Engine> {
        let engine = self.engine(manager).await.ok()??;
        let nodes = swarm::nodes(&engine).await.ok()?;
        let knows = nodes.iter().any(|node| node.id == place.node);
        knows.then_some(engine)
    }

    /// The machines whose engines are managers, asked once.
    async fn managers(&self) -> &[String] {
        let found = self.managers.get_or_init(async || {
            let names = self.berth.home.machine_names().unwrap_or_default();
            let asked = for_each(&names, default_parallel(), async |name: String| {
                let engine = self.engine(&name).await.ok()??;
                swarm::info(&engine).await.ok()?
            });
            let asked = asked.await.into_iter();
            asked
                .filter(|(_, member)| {
                    let well = |member: &swarm::Member| member.trouble.is_none();
                    let member = member.as_ref().filter(|member| well(member));
                    member.is_some_and(|member| member.role == Role::Manager)
                })
                .map(|(name, _)| name)
                .collect()
        });
        found.await
    }

    /// A machine's Docker, if it has one, on a connection of its own: what is restarted ends connections.
    async fn engine(&self, name: &str) -> Result<Option<Engine>> {
        let record = self.berth.record(name)?;
        let docker = record.installed.filter(|engine| engine.kind == "docker");
        let Some(docker) = docker else {
            return Ok(None);
        };
        let opened = self.berth.open(name).await?;
        let session = opened.connect(CONNECTING).await?;
        let engine = Engine::over_ssh(&session, &docker.socket);
        Ok(Some(engine.map_err(machine::Error::provision(name))?))
    }
}

/// What `ask` says once the managers can tell.
async fn settled<T>(ask: impl AsyncFn() -> Result<T>) -> Result<T> {
    let until = Instant::now() + RETURNING;
    loop {
        match ask().await {
            Err(Error::Quorum { .. } | Error::NoManager(_)) if Instant::now() + PAUSE < until => {
                sleep(PAUSE).await;
            }
            told => return told,
        }
    }
}
