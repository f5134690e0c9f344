//! Machines whose records here are lost, found again by what their hypervisor keeps of them.
//!
//! While a machine has a record, its hypervisor is given a note: what a new record is made of when that one is gone.
//! Others may write there too, and so nothing is taken from it that reaches for this computer's own: no folders to
//! mount, no keys, no settings.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use berth_driver_api::{Found, Progress, State, check_options};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::founding::{found_folder, take_lock};
use super::labels::check_label;
use super::making::carry_out;
use super::note::{FORM, Note, computer, portable};
use super::operation::must_be_able;
use super::{Berth, Error, Record, Result, check_name};
use crate::store;

/// What a driver must be able to do for this.
const WHAT: &str = "find machines again";

/// A machine that a hypervisor has. The field names are those of `berth driver adopt --json` and stable.
#[derive(Debug, Serialize)]
pub struct Lost {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
    /// What it does.
    pub state: State,
    /// The computer that made it, if that is known.
    pub computer: Option<String>,
    /// The folder that its files are or were in there.
    pub folder: PathBuf,
    /// Why it cannot be adopted; none if it can.
    pub obstacle: Option<String>,
    #[serde(skip)]
    adoptable: Option<(Record, BTreeMap<String, String>)>,
}

impl Lost {
    /// Whether it is this computer's own, and can be adopted.
    pub fn is_ours(&self) -> bool {
        self.adoptable.is_some() && self.computer.as_deref() == Some(&*computer())
    }
}

/// The machines of berth's that a driver's hypervisor has, by name, but for those that are known here. `options` say
/// which hypervisor.
///
/// # Errors
/// If there is no such driver, it finds none again, or the hypervisor does not answer.
pub async fn lost(
    berth: &Berth,
    driver: &str,
    options: &BTreeMap<String, String>,
) -> Result<Vec<Lost>> {
    let options = settled(berth, driver, options).await?;
    let found = berth.drivers.get(driver).await?.found(&options).await;
    let mut known = Vec::new();
    for name in berth.home.machine_names()? {
        // A record that cannot be read is no reason to find none.
        known.extend(berth.record(&name).ok().map(|record| record.id));
    }
    let found = found.map_err(Error::Plugin)?;
    let strangers = found.into_iter().filter(|one| !known.contains(&one.id));
    let mut all: Vec<Lost> = strangers
        .map(|found| examined(berth, driver, &options, found))
        .collect();
    all.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
    Ok(all)
}

/// The user's options, and the environment's where the user says nothing.
async fn settled(
    berth: &Berth,
    driver: &str,
    options: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    let made = berth.drivers.get(driver).await?;
    let info = made.info();
    if !info.capabilities.adopt {
        return Err(Error::Plugin(made.never(WHAT)));
    }
    let mut options = options.clone();
    for option in &info.options {
        if let Ok(value) = std::env::var(option.variable(driver)) {
            options.entry(option.name.clone()).or_insert(value);
        }
    }
    check_options(info, &options).map_err(Error::Plugin)?;
    Ok(options)
}

fn examined(berth: &Berth, driver: &str, options: &BTreeMap<String, String>, found: Found) -> Lost {
    let note: Option<Note> = (found.note.as_deref()).and_then(|note| toml::from_str(note).ok());
    let shown = |text: &str| text.chars().filter(|c| !c.is_control()).take(253).collect();
    let computer = note.as_ref().map(|note| shown(&note.computer));
    let readable = match note {
        Some(note) => record(berth, driver, options, &found, note),
        None => Err("it has no note of what it is: its create never finished".to_owned()),
    };
    let (adoptable, obstacle) = match readable {
        Ok(record) => (Some((record, found.files)), None),
        Err(reason) => (None, Some(reason)),
    };
    Lost {
        name: shown(&found.name),
        id: found.id,
        state: found.state,
        computer,
        folder: found.folder,
        obstacle,
        adoptable,
    }
}

/// The record that a found machine is to have, or why it cannot be adopted.
fn record(
    berth: &Berth,
    driver: &str,
    options: &BTreeMap<String, String>,
    found: &Found,
    note: Note,
) -> Result<Record, String> {
    let words = |error: Error| error.to_string();
    if note.berth_note != FORM {
        return Err("its note is of another version of berth's".into());
    }
    check_name(&found.name).map_err(words)?;
    let record = Record::from_table(&PathBuf::from("its note"), note.record).map_err(words)?;
    if record.id != found.id || record.name != found.name || record.driver != driver {
        return Err("its note is another machine's".into());
    }
    if found.files.is_empty() {
        return Err("it was made by a berth that kept too little with it".into());
    }
    let plain = |name: &String| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if !found.files.keys().all(plain) {
        return Err("its driver names files that are none".into());
    }
    for (key, value) in &record.labels {
        check_label(key, value).map_err(words)?;
    }
    if found.folder.join("../machine.toml").exists() {
        return Err("it is not lost: its folder is there, of another berth home".into());
    }
    if berth.home.machine(&found.name).path().exists() {
        return Err("another machine has its name here: `berth rm` or rename that one".into());
    }
    if record.cloud_init.is_some() {
        return Err("it was set up by cloud-init, which takes keys at the first boot only".into());
    }
    let stored = |image: &super::ImageRef| match berth.stored_image(&image.digest) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!(
            "its image {} ({}) is not in the image store here",
            image.reference, image.digest
        )),
    };
    record
        .image
        .iter()
        .chain(&record.kernel)
        .try_for_each(stored)?;
    let mut record = portable(record);
    record.recovered = Some(Timestamp::now());
    record.options.extend(options.clone());
    Ok(record)
}

/// Makes a found machine one of this berth's: a record, keys of its own, which the guest takes at its next boot, and that
/// boot. One that is up is only touched with `restart`. What breaks off is finished by [`super::resume_create`].
///
/// # Errors
/// What is in the way, before anything is done; then whatever a step fails with.
pub async fn adopt_lost(
    berth: &Berth,
    lost: Lost,
    restart: bool,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<Record> {
    let Lost { name, state, .. } = lost;
    let Some((record, files)) = lost.adoptable else {
        let reason = lost.obstacle.unwrap_or_default();
        return Err(Error::NotAdoptable { name, reason });
    };
    if !restart && (state.is_up() || state == State::Suspended) {
        return Err(Error::MustReboot { name, state });
    }
    // Docker's configuration may have outlived the record.
    berth.check_contexts_free_for(Some(record.id), &name, &record.engine.kind)?;
    let opened = berth.open_record(record.clone()).await?;
    must_be_able(&opened, opened.driver.info().capabilities.adopt, WHAT)?;
    check_options(opened.driver.info(), &record.options).map_err(Error::driver(&name))?;
    berth.home.prepare()?;
    let lock = take_lock(berth, &name)?;
    if berth.home.machine(&name).path().exists() {
        return Err(Error::Exists(name));
    }
    let founded = found_folder(berth, &record, |draft| {
        files.iter().try_for_each(|(file, text)| {
            store::write_private(&draft.join("vm").join(file), text.as_bytes())
        })
    });
    if let Err(error) = founded {
        // Nothing was made yet: leave no trace of the lock either.
        let _ = lock.remove();
        return Err(error);
    }
    let record = carry_out(berth, record, boot_deadline, progress).await?;
    progress.note(
        "what could not be had again: its mounts, its TLS endpoint, its place in a fleet file, its time to live. Keys \
         that it let in before still do",
    );
    Ok(record)
}
