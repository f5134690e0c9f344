//! Nodes of a swarm: emptied before they are worked on, and let in again afterwards.

use std::time::Duration;

use berth_driver_api::Progress;
use berth_provision::engine::Engine;
use berth_provision::swarm::{self, Role};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::error::{Error, Result};
use super::folder::Rollout;
use super::journal::{Event, Fared};
use crate::fleet::{default_parallel, for_each};
use crate::machine::{self, Berth};

/// How long a machine that runs may take to let us in.
const CONNECTING: Duration = Duration::from_secs(60);

/// How long containers may take to move elsewhere, and a node to be back.
const MOVING: Duration = Duration::from_secs(300);

/// The swarms that machines of berth's are nodes of.
pub struct Swarms<'a> {
    berth: &'a Berth,
    /// Machines whose engines are managers.
    managers: OnceCell<Vec<String>>,
    /// Two managers that are away at once could cost a swarm its quorum.
    one_manager: Mutex<()>,
}

/// A machine's place in a swarm.
pub struct Place {
    node: String,
    role: Role,
    /// The machine whose engine is asked to change it.
    manager: String,
    availability: String,
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
            if let Some(node) = nodes.into_iter().find(|node| node.id == member.node) {
                return Ok(Some(Place {
                    node: node.id,
                    role: member.role,
                    manager,
                    availability: node.availability,
                }));
            }
        }
        Err(Error::NoManager(name.to_owned()))
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
        let Some(place) = self.place(name).await? else {
            return Ok(None);
        };
        let alone = match place.role {
            Role::Manager => Some(self.one_manager.lock().await),
            Role::Worker => None,
        };
        if place.availability != "active" && !before.drained {
            return Ok(None);
        }
        progress.phase("Moving the swarm's containers elsewhere");
        rollout
            .journal
            .note(Event::Drained, Some(name), None, None)?;
        let failed = machine::Error::provision(name);
        let manager = self.engine(&place.manager).await?;
        let manager = manager.ok_or_else(|| Error::NoManager(name.to_owned()))?;
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

    /// Lets containers come to a machine's node again.
    ///
    /// # Errors
    /// If it does not come back into its swarm.
    pub async fn fill(
        &self,
        rollout: &Rollout,
        name: &str,
        emptied: Emptied<'_>,
        progress: &dyn Progress,
    ) -> Result<()> {
        progress.phase("Letting the swarm's containers in");
        let place = &emptied.place;
        let manager = self.engine(&place.manager).await?;
        let manager = manager.ok_or_else(|| Error::NoManager(name.to_owned()))?;
        let active = swarm::activate(&manager, &place.node, MOVING).await;
        active.map_err(machine::Error::provision(name))?;
        Ok(rollout
            .journal
            .note(Event::Active, Some(name), None, None)?)
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
