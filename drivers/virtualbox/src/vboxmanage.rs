//! Running VBoxManage, VirtualBox's command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_driver_api::{Error, Machine, Result, process};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::arguments::Version;
use crate::explain;
use crate::properties::Properties;
use crate::service;

/// The program's name.
pub(crate) const PROGRAM: &str = "VBoxManage";

/// What changes nothing, and may be asked while something is changed. Lists are none of that: the one of the disks fails if
/// a disk goes meanwhile.
const QUESTIONS: &[&str] = &["--version", "showvminfo", "dhcpserver"];

/// The oldest VirtualBox whose options are known here.
pub(crate) const OLDEST: Version = (6, 1);

/// How long a VM may be held by another call, or by its own process that ends.
const LOCKED: Duration = Duration::from_secs(30);

/// VBoxManage, and the version that it told.
pub(crate) struct VBoxManage {
    pub(crate) version: Version,
    /// Its version in its own words.
    pub(crate) words: String,
}

impl VBoxManage {
    /// Finds it and asks for its version.
    pub(crate) async fn find() -> Result<VBoxManage> {
        let told = service::call(false, output(vec!["--version".to_owned()])).await?;
        // Debian's begins with a warning where the kernel module is missing.
        let words = told.lines().last().unwrap_or_default().trim().to_owned();
        match version(&words) {
            Some(version) if version >= OLDEST => Ok(VBoxManage { version, words }),
            Some(_) => Err(Error::failed(
                "VirtualBox",
                format!("{words} is too old: {}.{} is needed", OLDEST.0, OLDEST.1),
            )),
            None => Err(Error::failed(
                "VirtualBox",
                format!(
                    "{PROGRAM} does not tell its version: {}",
                    process::last_lines(told.as_bytes(), 3)
                ),
            )),
        }
    }

    /// Runs it to its end, again as long as another one holds the VM.
    pub(crate) async fn run(&self, arguments: &[String]) -> Result<String> {
        let deadline = Instant::now() + LOCKED;
        let mut pause = Duration::from_millis(100);
        let mut again = false;
        loop {
            match once(arguments).await {
                Err(error) if explain::is_locked(&error) && Instant::now() + pause < deadline => {
                    tracing::debug!(?arguments, "the VM is locked: {error}");
                    again = true;
                }
                // The first one did it, and failed only afterwards.
                Err(error) if again && explain::is_made_already(&error) => return Ok(String::new()),
                outcome => return outcome,
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// As [`VBoxManage::run`], for words without blanks.
    pub(crate) async fn call(&self, verb: &str, id: Uuid, rest: &[&str]) -> Result<String> {
        let arguments: Vec<String> = [verb.to_owned(), id.to_string()]
            .into_iter()
            .chain(rest.iter().map(|word| (*word).to_owned()))
            .collect();
        self.run(&arguments).await
    }

    /// The machine's VM; `None` if VirtualBox knows none.
    ///
    /// # Errors
    /// If a VM has the machine's id and lies elsewhere: it is none of ours.
    pub(crate) async fn show(&self, machine: &Machine) -> Result<Option<Properties>> {
        let shown = match self
            .call("showvminfo", machine.id, &["--machinereadable"])
            .await
        {
            Ok(shown) => Properties::parse(&shown),
            Err(error) if explain::is_unknown(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let settings = PathBuf::from(shown.get("CfgFile").unwrap_or_default());
        if !belongs(&settings, &machine.folder) {
            return Err(Error::failed(
                format!("VirtualBox's VM {}", machine.id),
                format!(
                    "has its settings in {}, not in {}: it is left alone",
                    settings.display(),
                    machine.folder.display()
                ),
            ));
        }
        Ok(Some(shown))
    }
}

/// True if `path` lies in `folder`, by whichever names.
pub(crate) fn belongs(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder)
        || folder
            .canonicalize()
            .is_ok_and(|folder| path.starts_with(folder))
}

/// `7.2.22_Debianr175245` is (7, 2).
fn version(words: &str) -> Option<Version> {
    let mut parts = words.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

async fn once(arguments: &[String]) -> Result<String> {
    let run = output(arguments.to_vec());
    let asks = arguments
        .first()
        .is_some_and(|verb| QUESTIONS.contains(&verb.as_str()));
    if !asks {
        return service::change(run).await?;
    }
    // One that is killed has the service wait for it, ten seconds long: if nobody wants the answer any more, it is
    // left to end by itself.
    tokio::spawn(service::call(true, run))
        .await
        .map_err(|error| Error::failed(PROGRAM, error))?
}

async fn output(arguments: Vec<String>) -> Result<String> {
    let mut command = process::command(PROGRAM)?;
    // Its words are read.
    command.args(arguments).env("LC_ALL", "C");
    let bytes = process::output(command).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("7.2.22_Debianr175245"), Some((7, 2)));
        assert_eq!(version("6.1.50r161033"), Some((6, 1)));
        assert_eq!(
            version("WARNING: The vboxdrv kernel module is not loaded."),
            None
        );
    }
}
