//! Bringing one machine to what a fleet file says.

use std::collections::BTreeSet;
use std::time::Duration;

use berth_driver_api::{Progress, State};

use super::file::{Declared, Fleet};
use super::plan::{Action, Difference, Part, Row, mark_of};
use super::rollout::{self, Fared, Holder, Job, Rollout};
use super::swarm;
use crate::machine::{
    self, Berth, EngineChange, LabelChange, Record, Restart, Sizes, TlsWish, UpgradeRequest,
};
use crate::store;

/// An apply call's outcome.
type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a machine is not as it is to be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A machine's error.
    #[error(transparent)]
    Machine(#[from] machine::Error),
    /// Its swarm's.
    #[error(transparent)]
    Swarm(#[from] swarm::Error),
    /// Another rollout has it, or what was to be well afterwards is not.
    #[error(transparent)]
    Rollout(#[from] rollout::Error),
    /// State on disk.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// How long a guest may take to shut down.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// How long a machine may take to tell its state.
const ASK_DEADLINE: Duration = Duration::from_secs(10);

/// What applying a file needs to know.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// Whose machines.
    pub berth: &'a Berth,
    /// The file.
    pub fleet: &'a Fleet,
    /// How long a new guest may take to answer.
    pub boot_deadline: Duration,
}

/// The rollout that a change is part of.
pub struct Under<'a> {
    /// Holds machines for it, and empties nodes of swarms.
    pub job: &'a Job<'a>,
    /// Where it is written down.
    pub rollout: &'a Rollout,
    /// How the machine had fared before.
    pub before: &'a Fared,
}

impl Work<'_> {
    /// Does what a row of the plan says. What broke off goes on when the file is applied again.
    ///
    /// # Errors
    /// What a step fails with.
    pub async fn carry_out(
        &self,
        row: &Row,
        under: Option<&Under<'_>>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let (berth, name) = (self.berth, &row.name);
        let declared = self
            .fleet
            .machines
            .iter()
            .find(|machine| machine.name == *name);
        match (row.action, declared) {
            // On the heap, each: together they would be more than some stacks hold.
            (Action::Remove, _) => Box::pin(self.remove(name, progress)).await,
            (Action::Create, Some(declared)) => Box::pin(self.create(declared, progress)).await,
            (Action::Replace, Some(declared)) => {
                Box::pin(self.remove(name, progress)).await?;
                Box::pin(self.create(declared, progress)).await
            }
            (Action::Resume, Some(declared)) => {
                Box::pin(machine::resume_create(
                    berth,
                    name,
                    self.boot_deadline,
                    progress,
                ))
                .await?;
                Box::pin(self.change(declared, &row.differences, under, progress)).await
            }
            (Action::Change, Some(declared)) => {
                Box::pin(self.change(declared, &row.differences, under, progress)).await
            }
            (Action::Nothing, Some(declared)) => Ok(self.mark(declared, progress).await?),
            // There is nothing that may be done, or nothing to do it by.
            (Action::Nothing | Action::Blocked | Action::Unknown, _) | (_, None) => Ok(()),
        }
    }

    /// Takes a machine out of its swarm first, which then moves what runs there.
    async fn remove(&self, name: &str, progress: &dyn Progress) -> Result<()> {
        if swarm::of_machine(self.berth, name)?.is_some() {
            let force = machine::ask(self.berth, name, ASK_DEADLINE).await.state != State::Running;
            swarm::leave(self.berth, &[name.to_owned()], force, progress).await?;
        }
        machine::remove(self.berth, name, false, progress).await?;
        Ok(swarm::forget_gone(self.berth)?)
    }

    /// Makes a group's machines the swarm that they are to be.
    ///
    /// # Errors
    /// What stands in the way; doing it again goes on.
    pub async fn form(&self, name: &str, progress: &dyn Progress) -> Result<()> {
        let Some(declared) = self.fleet.swarms.iter().find(|swarm| swarm.name == name) else {
            return Ok(());
        };
        let wish = swarm::Wish {
            name: declared.name.clone(),
            machines: declared.machines.clone(),
            managers: declared.managers,
        };
        swarm::form(self.berth, &wish, progress).await?;
        Ok(())
    }

    async fn create(&self, declared: &Declared, progress: &dyn Progress) -> Result<()> {
        let request = declared.wish.request(&declared.name, self.boot_deadline);
        let mark = mark_of(self.fleet, declared);
        machine::create_member(self.berth, &request, mark, progress).await?;
        Ok(())
    }

    /// Notes in a machine's record whose it is, if it does not say so already.
    async fn mark(&self, declared: &Declared, progress: &dyn Progress) -> machine::Result<()> {
        let wanted = mark_of(self.fleet, declared);
        let is = self.berth.record(&declared.name)?.member;
        let same = is.is_some_and(|is| {
            (&is.fleet, &is.group, is.protect) == (&wanted.fleet, &wanted.group, wanted.protect)
        });
        match same {
            true => Ok(()),
            false => machine::mark(self.berth, &declared.name, wanted, progress).await,
        }
    }

    async fn change(
        &self,
        declared: &Declared,
        differences: &[Difference],
        under: Option<&Under<'_>>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let (berth, name) = (self.berth, &declared.name);
        let parts: BTreeSet<Part> = differences
            .iter()
            .map(|difference| difference.part)
            .collect();
        self.mark(declared, progress).await?;
        self.labels(declared, progress).await?;
        let in_guest = [Part::Engine, Part::Version, Part::Answer, Part::Setting];
        let needs_engine = in_guest.iter().any(|part| parts.contains(part));
        let state = machine::ask(berth, name, ASK_DEADLINE).await.state;
        let resizes = parts.contains(&Part::Resize);
        let disturbs = resizes && state == State::Running;
        if resizes && !disturbs {
            self.resize(declared, progress).await?;
        }
        // It is left as it was found.
        let was_stopped = needs_engine && state == State::Stopped;
        if was_stopped || parts.contains(&Part::Work) {
            machine::start(berth, name, self.boot_deadline, progress).await?;
        }
        if needs_engine || disturbs {
            let work = async || {
                if disturbs {
                    self.resize(declared, progress).await?;
                }
                match needs_engine {
                    true => self.engine(declared, &parts, progress).await,
                    false => Ok(()),
                }
            };
            match under {
                // One that does not answer cannot be asked for its swarm.
                Some(under) if parts.contains(&Part::Answer) => {
                    let holder = Holder::of(&under.rollout.plan);
                    under.job.hold(name, &holder).await?;
                    Box::pin(work()).await?;
                }
                Some(under) => {
                    let work = async |_| Ok(Box::pin(work()).await?);
                    let (rollout, before) = (under.rollout, under.before);
                    under
                        .job
                        .around(rollout, name, before, progress, work)
                        .await?;
                }
                None => Box::pin(work()).await?,
            }
        }
        self.tls(declared, progress).await?;
        self.mounts(declared, progress).await?;
        if was_stopped {
            machine::stop(berth, name, STOP_DEADLINE, progress).await?;
        }
        Ok(())
    }

    async fn labels(&self, declared: &Declared, progress: &dyn Progress) -> machine::Result<()> {
        let is = self.berth.record(&declared.name)?.labels;
        let wanted = &declared.wish.labels;
        let gone = is.keys().filter(|key| !wanted.contains_key(*key));
        let gone = gone.map(|key| LabelChange::Remove(key.clone()));
        let set = wanted
            .iter()
            .filter(|(key, value)| is.get(*key) != Some(value));
        let set = set.map(|(key, value)| LabelChange::Set(key.clone(), value.clone()));
        let changes: Vec<LabelChange> = gone.chain(set).collect();
        match changes.is_empty() {
            true => Ok(()),
            false => machine::change_labels(self.berth, &declared.name, &changes, progress)
                .await
                .map(drop),
        }
    }

    /// Restarts a machine that runs.
    async fn resize(&self, declared: &Declared, progress: &dyn Progress) -> machine::Result<()> {
        let wish = &declared.wish;
        let sizes = Sizes {
            cpus: wish.cpus,
            memory: wish.memory,
            disk: wish.disk,
        };
        let restart = Some(Restart {
            grace: STOP_DEADLINE,
            boot: self.boot_deadline,
        });
        machine::resize(self.berth, &declared.name, &sizes, restart, progress)
            .await
            .map(drop)
    }

    async fn engine(
        &self,
        declared: &Declared,
        parts: &BTreeSet<Part>,
        progress: &dyn Progress,
    ) -> machine::Result<()> {
        let (berth, name) = (self.berth, &declared.name);
        let record = berth.record(name)?;
        if parts.contains(&Part::Version) {
            let change = engine_change(declared, &record);
            let wish = declared.wish.engine.as_ref().unwrap_or(&record.engine);
            let request = UpgradeRequest {
                to: wish.version.clone(),
                channel: change.channel,
                gate: self.fleet.gate.clone(),
                exactly: None,
            };
            machine::upgrade(berth, name, &request, progress).await?;
        }
        let provisioned = [Part::Engine, Part::Answer, Part::Setting];
        if provisioned.iter().any(|part| parts.contains(part)) {
            let change = engine_change(declared, &berth.record(name)?);
            let settings = &declared.wish.settings;
            machine::provision_exactly(berth, name, &change, settings, progress).await?;
        }
        Ok(())
    }

    async fn tls(&self, declared: &Declared, progress: &dyn Progress) -> machine::Result<()> {
        let (berth, name) = (self.berth, &declared.name);
        let has = berth.record(name)?.tls.is_some();
        match declared.wish.tls {
            Some(true) if !has => machine::tls::enable(berth, name, TlsWish::default(), progress)
                .await
                .map(drop),
            Some(false) if has => machine::tls::disable(berth, name, progress).await,
            _ => Ok(()),
        }
    }

    async fn mounts(&self, declared: &Declared, progress: &dyn Progress) -> machine::Result<()> {
        let (berth, name) = (self.berth, &declared.name);
        let is = berth.record(name)?.mounts;
        let wanted = &declared.wish.mounts;
        // Room first: one may take another's place.
        for mount in is.iter().filter(|mount| !wanted.contains(mount)) {
            machine::remove_mount(berth, name, &mount.guest, progress).await?;
        }
        for mount in wanted.iter().filter(|mount| !is.contains(mount)) {
            machine::add_mount(berth, name, mount.clone(), progress).await?;
        }
        Ok(())
    }
}

/// What provisioning is to be told for the machine to have the engine that it is to have.
fn engine_change(declared: &Declared, record: &Record) -> EngineChange {
    let Some(wish) = &declared.wish.engine else {
        return EngineChange::default();
    };
    let is = &record.engine;
    let engine = match &wish.version {
        Some(version) => format!("{}@{version}", wish.kind),
        None => wish.kind.clone(),
    };
    let elsewhere = wish.channel != is.channel || wish.kind != is.kind;
    EngineChange {
        engine: Some(engine),
        channel: elsewhere.then(|| wish.channel.clone()),
    }
}
