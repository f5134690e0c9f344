//! Bringing one machine to what a fleet file says.

use std::collections::BTreeSet;
use std::time::Duration;

use berth_driver_api::{Progress, State};

use super::file::{Declared, Fleet};
use super::plan::{Action, Difference, Part, Row, mark_of};
use crate::machine::{
    self, Berth, EngineChange, LabelChange, Record, Result, TlsWish, UpgradeRequest,
};

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

impl Work<'_> {
    /// Does what a row of the plan says. What broke off goes on when the file is applied again.
    ///
    /// # Errors
    /// What a step fails with.
    pub async fn carry_out(&self, row: &Row, progress: &dyn Progress) -> Result<()> {
        let (berth, name) = (self.berth, &row.name);
        let declared = self
            .fleet
            .machines
            .iter()
            .find(|machine| machine.name == *name);
        match (row.action, declared) {
            (Action::Remove, _) => machine::remove(berth, name, false, progress).await,
            (Action::Create, Some(declared)) => self.create(declared, progress).await,
            (Action::Replace, Some(declared)) => {
                machine::remove(berth, name, false, progress).await?;
                self.create(declared, progress).await
            }
            (Action::Resume, Some(declared)) => {
                machine::resume_create(berth, name, self.boot_deadline, progress).await?;
                self.change(declared, &row.differences, progress).await
            }
            (Action::Change, Some(declared)) => {
                self.change(declared, &row.differences, progress).await
            }
            (Action::Nothing, Some(declared)) => self.mark(declared, progress).await,
            // There is nothing that may be done, or nothing to do it by.
            (Action::Nothing | Action::Blocked | Action::Unknown, _) | (_, None) => Ok(()),
        }
    }

    async fn create(&self, declared: &Declared, progress: &dyn Progress) -> Result<()> {
        let request = declared.wish.request(&declared.name, self.boot_deadline);
        let mark = mark_of(self.fleet, declared);
        machine::create_member(self.berth, &request, mark, progress)
            .await
            .map(drop)
    }

    /// Notes in a machine's record whose it is, if it does not say so already.
    async fn mark(&self, declared: &Declared, progress: &dyn Progress) -> Result<()> {
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
        progress: &dyn Progress,
    ) -> Result<()> {
        let (berth, name) = (self.berth, &declared.name);
        let parts: BTreeSet<Part> = differences
            .iter()
            .map(|difference| difference.part)
            .collect();
        self.mark(declared, progress).await?;
        self.labels(declared, progress).await?;
        let in_guest = [Part::Engine, Part::Version, Part::Setting];
        let needs_engine = in_guest.iter().any(|part| parts.contains(part));
        let state = machine::ask(berth, name, ASK_DEADLINE).await.state;
        // It is left as it was found.
        let was_stopped = needs_engine && state == State::Stopped;
        if was_stopped || parts.contains(&Part::Work) {
            machine::start(berth, name, self.boot_deadline, progress).await?;
        }
        if needs_engine {
            self.engine(declared, &parts, progress).await?;
        }
        self.tls(declared, progress).await?;
        self.mounts(declared, progress).await?;
        if was_stopped {
            machine::stop(berth, name, STOP_DEADLINE, progress).await?;
        }
        Ok(())
    }

    async fn labels(&self, declared: &Declared, progress: &dyn Progress) -> Result<()> {
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

    async fn engine(
        &self,
        declared: &Declared,
        parts: &BTreeSet<Part>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let (berth, name) = (self.berth, &declared.name);
        let record = berth.record(name)?;
        if parts.contains(&Part::Version) {
            let change = engine_change(declared, &record);
            let wish = declared.wish.engine.as_ref().unwrap_or(&record.engine);
            let request = UpgradeRequest {
                to: wish.version.clone(),
                channel: change.channel,
                gate: self.fleet.gate.clone(),
            };
            machine::upgrade(berth, name, &request, progress).await?;
        }
        if parts.contains(&Part::Engine) || parts.contains(&Part::Setting) {
            let change = engine_change(declared, &berth.record(name)?);
            let settings = &declared.wish.settings;
            machine::provision_exactly(berth, name, &change, settings, progress).await?;
        }
        Ok(())
    }

    async fn tls(&self, declared: &Declared, progress: &dyn Progress) -> Result<()> {
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

    async fn mounts(&self, declared: &Declared, progress: &dyn Progress) -> Result<()> {
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
