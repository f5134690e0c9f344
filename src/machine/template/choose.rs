//! Which template a machine is cloned from.

use berth_driver_api::{Machine, Progress};

use super::build::{build_for, key};
use super::{Policy, Template, When, folder, list};
use crate::machine::{Berth, Record, Result};

/// The template that a planned machine is cloned from, if there is one; made now if the user's settings say so. Says why
/// one is passed over that the user may count on.
///
/// # Errors
/// If the user's settings cannot be read, or a template that they ask for cannot be made.
pub(in crate::machine) async fn choose(
    berth: &Berth,
    record: &Record,
    machine: &Machine,
    progress: &dyn Progress,
) -> Result<Option<String>> {
    let driver = berth.drivers.get(&record.driver).await?;
    // A frozen machine has none of the devices by which folders come.
    if !driver.info().capabilities.freeze || !record.mounts.is_empty() {
        return Ok(None);
    }
    let policy = Policy::read(&berth.home)?;
    if policy.when != When::Always && list(&berth.home)?.is_empty() {
        return Ok(None);
    }
    // Some machines cannot be frozen: they are made as ever.
    let Ok(key) = key(&*driver, record, machine).await else {
        return Ok(None);
    };
    let id = key.id();
    let found = Template::read(&folder(&berth.home, &id));
    if let Ok(Some(template)) = &found {
        match template.manifest.verify(&template.folder) {
            Ok(()) => {
                template.mark_used();
                return Ok(Some(id));
            }
            Err(damage) => {
                progress.note(&format!("template {id} is not used: {damage}"));
                if policy.when != When::Always {
                    return Ok(None);
                }
            }
        }
    }
    if let Err(damage) = found {
        progress.note(&format!("template {id} is not used: {damage}"));
    }
    for other in list(&berth.home)? {
        if let Some(names) = other.manifest.key.differences(&key)
            && !names.is_empty()
        {
            let (other, names) = (&other.id, names.join(", "));
            progress.note(&format!(
                "template {other} is not used: it was made with another {names}"
            ));
        }
    }
    match policy.when {
        When::Auto | When::Background | When::Never => Ok(None),
        When::Always => {
            let template = build_for(berth, record, machine, progress).await?;
            Ok(Some(template.id))
        }
    }
}
