//! What a rollout does to one machine: looked at beforehand, carried out, and taken back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use berth_driver_api::{Progress, process};
use berth_provision::ssh::Session;
use tokio::sync::Mutex;

use super::error::{Error, Result};
use super::folder::Rollout;
use super::journal::Fared;
use super::lock::{Guard, Holder};
use super::plan::{Step, Task};
use super::swarm::Swarms;
use crate::fleet::{Capture, Captured, Remote};
use crate::machine::{self, Berth, EngineChange, UpgradeRequest};

/// How long a machine that runs may take to let us in.
const CONNECTING: Duration = Duration::from_secs(60);

/// How long a machine may take to notice that our connection has ended.
const DYING: Duration = Duration::from_secs(150);

/// How long a machine that is restarted may take to shut down, and to come up again.
const GRACE: Duration = Duration::from_secs(120);
const BOOT: Duration = Duration::from_secs(600);

/// So many of a failed command's last lines are told.
const LINES: usize = 4;

/// The work of a rollout, and the machines that are held for it.
pub struct Job<'a> {
    berth: &'a Berth,
    task: &'a Task,
    gate: Option<&'a str>,
    limit: Option<Duration>,
    /// Connections of the look beforehand, until they carry a guard.
    sessions: Mutex<HashMap<String, Session>>,
    guards: Mutex<HashMap<String, Guard>>,
    swarms: Swarms<'a>,
}

/// What a command said that ended well.
#[derive(Default)]
pub struct Said {
    /// On standard output.
    pub stdout: Captured,
    /// On standard error.
    pub stderr: Captured,
}

impl<'a> Job<'a> {
    /// The work, with no machine held yet. An upgrade that takes longer than `limit` is taken back.
    pub fn new(
        berth: &'a Berth,
        task: &'a Task,
        gate: Option<&'a str>,
        limit: Option<Duration>,
    ) -> Self {
        Job {
            berth,
            task,
            gate,
            limit,
            sessions: Mutex::default(),
            guards: Mutex::default(),
            swarms: Swarms::new(berth),
        }
    }

    /// Looks whether the work can be done on a machine that runs, and what it would do; `None` if it is done there
    /// already. Changes nothing but the machine's package lists.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn check(&self, name: &str, progress: &dyn Progress) -> Result<Option<Step>> {
        let berth = self.berth;
        let record = berth.record(name)?;
        let step = |now: String, then: String| Step {
            name: name.to_owned(),
            batch: 0,
            now,
            then,
            wish: None,
        };
        let has = record.installed.as_ref().map_or("no engine".into(), |has| {
            format!("{} {}", has.kind, has.version)
        });
        let step = match self.task {
            Task::Upgrade { .. } => {
                let request = self.upgrade_to(None);
                let plan = machine::plan_upgrade(berth, name, &request, progress).await?;
                if plan.is_done() {
                    return Ok(None);
                }
                Step {
                    wish: Some(record.engine.clone()),
                    ..step(plan.from, plan.to)
                }
            }
            Task::Exec { .. } | Task::Restart => {
                self.reach(name).await?;
                step(has, self.task.word().to_owned())
            }
            Task::Provision {
                engine,
                channel,
                settings,
            } => {
                let change = EngineChange {
                    engine: engine.clone(),
                    channel: channel.clone(),
                };
                let session = self.reach(name).await?;
                let opened = berth.open(name).await?;
                let done =
                    machine::is_provisioned(&opened, &session, &change, settings, progress).await?;
                if done {
                    return Ok(None);
                }
                let wish = change.of(&record.engine);
                let version = wish.version.map(|version| format!(" {version}"));
                let version = version.unwrap_or_default();
                let told = if settings.is_empty() {
                    ""
                } else {
                    ", settings"
                };
                step(
                    has,
                    format!("{}{version} ({}){told}", wish.kind, wish.channel),
                )
            }
            Task::Apply { .. } => return Ok(None),
        };
        if self.disturbs() && record.installed.is_some() {
            self.swarms.check(name).await?;
        }
        Ok(Some(step))
    }

    /// Takes machines for the rollout, so that no other one works on them; what is ours already is fine.
    ///
    /// # Errors
    /// [`Error::Held`] with who has it.
    pub async fn hold(&self, name: &str, holder: &Holder) -> Result<Session> {
        if let Some(guard) = self.guards.lock().await.get(name)
            && !guard.is_lost()
        {
            return Ok(guard.session().clone());
        }
        let kept = self.sessions.lock().await.remove(name);
        let session = match kept.filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => self.connect(name).await?,
        };
        let until = Instant::now() + DYING;
        let mut pause = Duration::from_millis(20);
        let guard = loop {
            match Guard::take(session.clone(), name, holder).await {
                // It is ours, from a connection that has ended here and not there yet.
                Err(Error::Held { holder: who, .. })
                    if *who == *holder && Instant::now() < until =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                guard => break guard?,
            }
        };
        self.guards.lock().await.insert(name.to_owned(), guard);
        Ok(session)
    }

    /// A connection to a machine that runs, kept for the work.
    async fn reach(&self, name: &str) -> Result<Session> {
        let session = self.connect(name).await?;
        let kept = session.clone();
        self.sessions.lock().await.insert(name.to_owned(), kept);
        Ok(session)
    }

    async fn connect(&self, name: &str) -> Result<Session> {
        let opened = self.berth.open(name).await?;
        // One that is off is not waited for.
        machine::must_run(&opened).await?;
        Ok(opened.connect(CONNECTING).await?)
    }

    /// Does the work on a machine, once more if need be; what fails leaves the machine as it was where that can be.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn carry_out(
        &self,
        rollout: &Rollout,
        step: &Step,
        before: &Fared,
        progress: &dyn Progress,
    ) -> Result<Said> {
        let name = &step.name;
        let work = async |session: Session| match self.task {
            Task::Upgrade { .. } => self.upgrade(step, progress).await.map(|()| Said::default()),
            Task::Exec { command } => self.exec(&session, name, command).await,
            Task::Restart => machine::restart(self.berth, name, GRACE, BOOT, progress)
                .await
                .map(|()| Said::default())
                .map_err(Error::from),
            Task::Provision {
                engine,
                channel,
                settings,
            } => {
                let change = EngineChange {
                    engine: engine.clone(),
                    channel: channel.clone(),
                };
                let (berth, before) = (self.berth, self.berth.record(name)?.settings);
                machine::amend_settings(berth, name, settings, progress).await?;
                let done = machine::provision(berth, name, &change, progress).await;
                if done.is_err() && !settings.is_empty() {
                    machine::restore_settings(berth, name, &before, progress).await?;
                }
                Ok(done.map(|_| Said::default())?)
            }
            // A fleet file's own command does it.
            Task::Apply { .. } => Ok(Said::default()),
        };
        Box::pin(self.around(rollout, name, before, progress, work)).await
    }

    /// Does `work` on a machine that is held for it, has no container of a swarm in it meanwhile, and passes the gate
    /// afterwards.
    ///
    /// # Errors
    /// Why it was not done, or what is not well after it.
    pub async fn around<T>(
        &self,
        rollout: &Rollout,
        name: &str,
        before: &Fared,
        progress: &dyn Progress,
        work: impl AsyncFnOnce(Session) -> Result<T>,
    ) -> Result<T> {
        let session = self.hold(name, &Holder::of(&rollout.plan)).await?;
        let swarm = match self.disturbs() {
            true => self.swarms.empty(rollout, name, before, progress).await?,
            false => None,
        };
        let done = work(session).await;
        // Containers are let in again whether the work was done or not: the machine is as well as it can be.
        if let Some(place) = swarm {
            let failed = done.is_err();
            let back = self
                .swarms
                .fill(rollout, name, place, failed, progress)
                .await;
            match back {
                Err(error) if failed => progress.note(&format!(
                    "{error}; its swarm's containers stay away until the rollout goes on, or \
                     `docker node update --availability active`"
                )),
                back => back?,
            }
        }
        let said = done?;
        // An upgrade asks it itself, while it can be taken back.
        if let Some(gate) = self.gate
            && !matches!(self.task, Task::Upgrade { .. })
        {
            progress.phase("Asking the gate");
            machine::ask_gate(self.berth, name, gate).await?;
        }
        Ok(said)
    }

    /// Brings a machine back to what it had before the rollout. False if there is nothing to bring back.
    ///
    /// # Errors
    /// If that does not succeed.
    pub async fn take_back(
        &self,
        rollout: &Rollout,
        step: &Step,
        progress: &dyn Progress,
    ) -> Result<bool> {
        let (Task::Upgrade { .. }, Some(wish)) = (self.task, &step.wish) else {
            return Ok(false);
        };
        let name = &step.name;
        self.hold(name, &Holder::of(&rollout.plan)).await?;
        if machine::upgrade_broke_off(self.berth, name)? {
            machine::roll_back(self.berth, name, progress).await?;
        }
        machine::go_back(self.berth, name, &step.now, wish, progress).await?;
        Ok(true)
    }

    /// Whether containers may notice.
    fn disturbs(&self) -> bool {
        !matches!(self.task, Task::Exec { .. })
    }

    fn upgrade_to(&self, exactly: Option<&str>) -> UpgradeRequest {
        match self.task {
            Task::Upgrade { to, channel } => UpgradeRequest {
                to: to.clone(),
                channel: channel.clone(),
                gate: self.gate.map(str::to_owned),
                exactly: exactly.map(str::to_owned),
            },
            _ => UpgradeRequest::default(),
        }
    }

    async fn upgrade(&self, step: &Step, progress: &dyn Progress) -> Result<()> {
        let (berth, name) = (self.berth, &step.name);
        let request = self.upgrade_to(Some(&step.then));
        let upgrading = machine::upgrade(berth, name, &request, progress);
        let limit = self.limit.unwrap_or(Duration::MAX);
        let error = match tokio::time::timeout(limit, upgrading).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => machine::Error::Timeout {
                machine: name.clone(),
                what: "the upgrade".into(),
                after: limit,
            },
        };
        // The connection was lost, or the machine died: it is asked once more, and is not left halfway if it answers.
        if machine::upgrade_broke_off(berth, name)? {
            progress.note(&format!("{error}; it is taken back"));
            let back = machine::roll_back(berth, name, progress).await;
            return Err(Error::TakenBack {
                why: error.to_string(),
                back: match back {
                    Ok(_) => "it has what it had".into(),
                    Err(error) => format!("it is not known to have what it had: {error}"),
                },
            });
        }
        Err(error.into())
    }

    async fn exec(&self, session: &Session, name: &str, command: &Remote) -> Result<Said> {
        let (mut stdout, mut stderr) = (Capture::default(), Capture::default());
        let line = command.line(session.user());
        let ran = session.exec_streams(&line, tokio::io::empty(), &mut stdout, &mut stderr);
        let code = ran.await.map_err(machine::Error::provision(name))?;
        let kept = |error| Error::Store(crate::store::Error::io("/var/tmp")(error));
        let mut said = Said {
            stdout: stdout.finish().await.map_err(kept)?,
            stderr: stderr.finish().await.map_err(kept)?,
        };
        if code == 0 {
            return Ok(said);
        }
        let words = match said.stderr.length {
            0 => tail(&mut said.stdout),
            _ => tail(&mut said.stderr),
        };
        Err(Error::Exit {
            machine: name.to_owned(),
            code,
            words: words.map_err(kept)?,
        })
    }
}

/// A stream's last lines.
fn tail(of: &mut Captured) -> std::io::Result<String> {
    use std::io::Read;
    let before = of.length.saturating_sub(4096);
    let mut reader = of.reader()?;
    std::io::copy(&mut (&mut reader).take(before), &mut std::io::sink())?;
    let mut last = Vec::new();
    reader.take(4096).read_to_end(&mut last)?;
    Ok(process::last_lines(&last, LINES))
}
