//! Templates that nobody asked for: a machine that was booted leaves one behind, so that the next ones like it are cloned.
//!
//! It is made by another process, of a low priority, after the create has ended. Where guests' code is translated,
//! that would take both the computer and the minutes that are short there, for a machine that may stay the only one:
//! there only `template = "background"` has it made.

use std::process::Stdio;

use berth_driver_api::{Execution, Machine, Progress, process};
use jiff::{SignedDuration, Timestamp};
use nix::sys::statvfs::statvfs;

use super::build::key;
use super::failure::Failure;
use super::{Policy, When, folder};
use crate::background;
use crate::machine::{Berth, Error, Record, Request, Result, choice};
use crate::store::{self, Home};

/// What could not be made is not tried again for this long.
const RETRY: SignedDuration = SignedDuration::from_hours(24);

/// Has the template of a machine that was just booted made in the background, if the user's settings say so, and says
/// so in one line. It is no part of the create, which has succeeded.
pub(in crate::machine) async fn leave_behind(
    berth: &Berth,
    request: &Request,
    record: &Record,
    progress: &dyn Progress,
) {
    match begin(berth, request, record).await {
        Ok(true) => progress.note(
            "a template of it is made in the background: the next machines like it are cloned",
        ),
        Ok(false) => {}
        Err(error) => tracing::debug!(%error, "no template is left behind"),
    }
}

async fn begin(berth: &Berth, request: &Request, record: &Record) -> Result<bool> {
    // A machine with mounts is never cloned: its template would be of no use to the next one like it.
    if request.cold || record.template.is_some() || !record.mounts.is_empty() {
        return Ok(false);
    }
    let driver = berth.drivers.get(&record.driver).await?;
    if !driver.info().capabilities.freeze {
        return Ok(false);
    }
    let policy = Policy::read(&berth.home)?;
    if matches!(policy.when, When::Never | When::Always) {
        return Ok(false);
    }
    // Its memory is a file of that size, and its disk comes on top.
    if policy.space < record.memory || !has_room(&berth.home, record.memory) {
        return Ok(false);
    }
    let silent = berth_driver_api::Silent;
    let machine: Machine = berth.machine(record, driver.info(), &silent).await?;
    let key = key(&*driver, record, &machine).await?;
    let id = key.id();
    let failed = Failure::read(&berth.home, &id)
        .is_some_and(|failure| Timestamp::now().duration_since(failure.at) < RETRY);
    let lock = berth.home.templates().join(format!(".lock-{id}"));
    if failed || folder(&berth.home, &id).exists() || store::holder(&lock).is_some() {
        return Ok(false);
    }
    if policy.when == When::Auto {
        let found = choice::look(&berth.drivers, &record.driver).await?;
        if !matches!(found.execution, Execution::Hardware | Execution::Native) {
            return Ok(false);
        }
    }
    spawn(berth, request, record)?;
    Ok(true)
}

/// Whether there is twice as much space left as the memory takes: nobody's disk is filled unasked.
fn has_room(home: &Home, memory: u64) -> bool {
    let free = statvfs(home.data()).map(|about| {
        about
            .blocks_available()
            .saturating_mul(about.fragment_size())
    });
    free.is_ok_and(|free| free / 2 > memory)
}

fn spawn(berth: &Berth, request: &Request, record: &Record) -> Result<()> {
    let failed = |error| Error::supervisor(&record.name)(error);
    let program = background::program().map_err(failed)?;
    // Nobody waits for it. What it starts ends with it, so that no machine stays slow.
    let mut command = match process::command("nice") {
        Ok(mut nice) => {
            nice.args(["-n", "10"]).arg(program.as_std().get_program());
            nice
        }
        Err(_) => program,
    };
    command
        .args(["template", "build", "--unasked", "--driver", &record.driver])
        .args(["--cpus", &record.cpus.to_string()])
        .args(["--memory", &record.memory.to_string()])
        .args(["--disk", &record.disk.to_string()]);
    if let Some(image) = &record.image {
        // People know it by its name, unless that stands for another one by now.
        let named = berth.stored_image(&image.reference);
        let same = named.is_ok_and(|named| named.digest.to_string() == image.digest);
        let reference = if same {
            &image.reference
        } else {
            &image.digest
        };
        command.args(["--image", reference]);
    }
    for (name, value) in &request.options {
        command.arg("--option").arg(format!("{name}={value}"));
    }
    background::leave(command, Stdio::null()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_would_fill_the_disk_is_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::of_test(folder.path());
        assert!(has_room(&home, 1));
        assert!(!has_room(&home, u64::MAX / 2));
    }
}
