//! Rollouts on disk: `$BERTH_HOME/rollouts/ID/`, with `plan.json`, which is written once, the `journal`, and a `lock` that
//! is held by whoever is at it.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{Error, Result};
use super::journal::{Event, Journal, State, Story};
use super::plan::Plan;
use crate::store::{self, Home, Lock};

/// No plan comes near this size (bytes).
const MAX_SIZE: u64 = 1 << 28;

/// How long another berth may take to begin a rollout of its own.
const BEGINNING: Duration = Duration::from_secs(60);

/// A rollout that this process is at. Nobody else is, until it is dropped.
#[derive(Debug)]
pub struct Rollout {
    /// What it is to do.
    pub plan: Plan,
    /// Where what happens is written down.
    pub journal: Journal,
    folder: PathBuf,
    _lock: Lock,
}

/// A rollout as others see it.
#[derive(Debug)]
pub struct Seen {
    /// What it is to do.
    pub plan: Plan,
    /// How it stands.
    pub story: Story,
    /// The process that is at it, if one is.
    pub running: Option<i32>,
}

impl Rollout {
    /// Begins a rollout, unless another one that has not ended has some of its machines.
    ///
    /// # Errors
    /// [`Error::Overlap`]; if it cannot be written.
    pub async fn begin(home: &Home, mut plan: Plan) -> Result<Self> {
        let all = home.rollouts();
        store::create_private_folder(&all)?;
        let beginning = all.join(".beginning");
        let held = Lock::take(&beginning, "rollout", BEGINNING, |_| {}).await?;
        let _held = held.map_err(|holder| Error::Running {
            id: "that begins just now".into(),
            pid: holder.map_or(0, |holder| holder.pid),
        })?;
        for seen in list(home)? {
            seen.refuse_overlap(&plan)?;
        }
        plan.id = fresh_id(&all, &plan)?;
        let folder = all.join(&plan.id);
        let lock = take(&folder, &plan)?;
        let text = serde_json::to_vec_pretty(&plan).map_err(|error| store::Error::Damaged {
            path: folder.clone(),
            reason: error.to_string(),
        })?;
        store::write_private(&folder.join("plan.json"), &text)?;
        Ok(Rollout {
            journal: Journal::at(folder.join("journal")),
            plan,
            folder,
            _lock: lock,
        })
    }

    /// Takes a rollout on that broke off or was stopped.
    ///
    /// # Errors
    /// [`Error::NoSuch`], [`Error::Ended`], [`Error::Running`].
    pub fn reopen(home: &Home, id: &str) -> Result<Self> {
        let seen = look(home, id)?;
        if let Some(how) = seen.story.ended {
            return Err(Error::Ended {
                id: id.to_owned(),
                how: match how {
                    Event::Aborted => "it was aborted",
                    _ => "all of it is done",
                },
            });
        }
        let folder = home.rollouts().join(id);
        Ok(Rollout {
            _lock: take(&folder, &seen.plan)?,
            journal: Journal::at(folder.join("journal")),
            plan: seen.plan,
            folder,
        })
    }

    /// How it stands.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn story(&self) -> Result<Story> {
        Ok(Story::read(&self.folder.join("journal"), &self.plan)?)
    }
}

impl Seen {
    /// How it stands, in a word.
    pub fn word(&self) -> &'static str {
        let any = |state| self.story.count(state) > 0;
        match (self.story.ended, self.running) {
            (Some(Event::Aborted), _) if any(State::Back) => "taken back",
            (Some(Event::Aborted), _) => "aborted",
            (Some(_), _) if any(State::Failed) => "done, some failed",
            (Some(_), _) => "done",
            (None, Some(_)) => "running",
            (None, None) if self.story.stopped.is_some() => "stopped",
            (None, None) => "broke off",
        }
    }

    fn refuse_overlap(&self, plan: &Plan) -> Result<()> {
        if self.story.ended.is_some() {
            return Ok(());
        }
        let theirs = |name: &&String| self.plan.steps.iter().any(|step| step.name == **name);
        let names = plan.steps.iter().map(|step| &step.name);
        let machines: Vec<String> = names.filter(theirs).cloned().collect();
        match machines.is_empty() {
            true => Ok(()),
            false => Err(Error::Overlap {
                id: self.plan.id.clone(),
                what: self.plan.task.word(),
                owner: self.plan.owner.clone(),
                since: self.plan.began,
                machines,
                running: self.running,
            }),
        }
    }
}

/// All rollouts, the oldest first. What is no rollout is passed over.
///
/// # Errors
/// If the folder or one of them cannot be read.
pub fn list(home: &Home) -> Result<Vec<Seen>> {
    let folder = home.rollouts();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(store::Error::io(folder)(error).into()),
    };
    let mut ids: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|id| is_id(id))
        .collect();
    ids.sort();
    let mut all = Vec::new();
    for id in ids {
        match look(home, &id) {
            Ok(seen) => all.push(seen),
            // It broke off before it had a plan: then nothing was begun.
            Err(Error::NoSuch(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// One rollout.
///
/// # Errors
/// [`Error::NoSuch`]; if it cannot be read.
pub fn look(home: &Home, id: &str) -> Result<Seen> {
    let nothing = || Error::NoSuch(id.chars().take(80).collect());
    if !is_id(id) {
        return Err(nothing());
    }
    let folder = home.rollouts().join(id);
    let plan = read_plan(&folder.join("plan.json"))?.ok_or_else(nothing)?;
    Ok(Seen {
        story: Story::read(&folder.join("journal"), &plan)?,
        running: store::holder(&folder.join("lock")).map(|holder| holder.pid),
        plan,
    })
}

/// The one rollout that has not ended.
///
/// # Errors
/// [`Error::NoneOpen`], [`Error::Several`].
pub fn only_open(home: &Home) -> Result<String> {
    let all = list(home)?;
    let mut open: Vec<String> = all
        .into_iter()
        .filter(|seen| seen.story.ended.is_none())
        .map(|seen| seen.plan.id)
        .collect();
    match open.len() {
        0 => Err(Error::NoneOpen),
        1 => Ok(open.remove(0)),
        _ => Err(Error::Several(open)),
    }
}

fn read_plan(path: &Path) -> Result<Option<Plan>> {
    let mut bytes = Vec::new();
    match fs::File::open(path) {
        Ok(file) => file
            .take(MAX_SIZE)
            .read_to_end(&mut bytes)
            .map_err(store::Error::io(path))?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(store::Error::io(path)(error).into()),
    };
    let plan = serde_json::from_slice(&bytes).map_err(|error| store::Error::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Some(plan))
}

/// A name must not become a path.
fn is_id(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_digit() || c == '-';
    !id.is_empty() && id.len() <= 40 && id.chars().all(plain)
}

/// Makes the folder of a new rollout; its name is when it began (UTC), so that names sort by time.
fn fresh_id(all: &Path, plan: &Plan) -> Result<String> {
    let time = plan.began.strftime("%Y%m%d-%H%M%S").to_string();
    let mut id = time.clone();
    for more in 2..100 {
        if !all.join(&id).exists() {
            break;
        }
        id = format!("{time}-{more}");
    }
    store::create_private_folder(&all.join(&id))?;
    Ok(id)
}

fn take(folder: &Path, plan: &Plan) -> Result<Lock> {
    let doing = format!("rollout {}", plan.task.word());
    Lock::try_take(&folder.join("lock"), &doing)?.map_err(|holder| Error::Running {
        id: plan.id.clone(),
        pid: holder.map_or(0, |holder| holder.pid),
    })
}
