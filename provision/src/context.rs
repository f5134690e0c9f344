//! A machine that is being worked on: what is known of it, and how its scripts are run.

use std::time::Duration;

use berth_driver_api::Progress;
use berth_driver_api::process::last_lines;
use tokio::time::{Instant, sleep};

use crate::bundle::Bundle;
use crate::facts::Facts;
use crate::family::{self, Family, Verdict};
use crate::ssh::{Output, Session, quote};
use crate::wanted::{EngineInfo, Wanted};
use crate::{Error, Result};

/// How long a cause that may pass is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// What the steps work with, and what they leave for each other.
pub(crate) struct Context<'a> {
    pub(crate) session: &'a Session,
    pub(crate) wanted: &'a Wanted,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) family: &'static dyn Family,
    pub(crate) facts: Facts,
    /// Looked through, if it is needed.
    pub(crate) bundle: Option<Bundle>,
    pub(crate) engine: Option<EngineInfo>,
    /// How long causes that may pass are waited for.
    pub(crate) patience: Duration,
}

impl<'a> Context<'a> {
    /// Asks the machine what it is.
    pub(crate) async fn look(
        session: &'a Session,
        wanted: &'a Wanted,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        progress.phase("Looking around");
        let facts = Facts::gather(session).await?;
        Ok(Context {
            family: family::of(&facts.os, session.host())?,
            session,
            wanted,
            progress,
            facts,
            bundle: None,
            engine: None,
            patience: PATIENCE,
        })
    }

    /// The same machine, of which something else is wanted.
    pub(crate) fn wanting<'b>(&'b self, wanted: &'b Wanted, bundle: Option<Bundle>) -> Context<'b> {
        Context {
            wanted,
            facts: self.facts.clone(),
            bundle,
            engine: None,
            ..*self
        }
    }

    /// Runs a script as root; whether it failed is for the caller to see.
    pub(crate) async fn root(&self, script: &str) -> Result<Output> {
        let prefix = self.facts.prefix(self.session)?;
        let script = format!("export LC_ALL=C; {script}");
        let command = format!("{prefix}sh -c {}", quote(&script));
        self.session.exec(&command).await
    }

    /// Runs a script as root that must succeed.
    pub(crate) async fn run_root(&self, what: &str, script: &str) -> Result<Output> {
        let output = self.root(script).await?;
        match output.success() {
            true => Ok(output),
            false => Err(Error::command(self.session.host(), what, &output)),
        }
    }

    /// Runs a script of the package manager's as root, again and again while the cause of its failure may pass.
    pub(crate) async fn packages(&self, what: &str, script: &str) -> Result<Vec<u8>> {
        let deadline = Instant::now() + self.patience;
        let mut pause = Duration::from_secs(2);
        let mut mended = false;
        // The work goes on when the connection breaks: half an installation would be worse. What it says is kept
        // in a file, because it would be ended by writing to a connection that is gone.
        let guarded = format!(
            "d=$(mktemp -d) || exit; trap 'rm -rf \"$d\"' EXIT; trap '' HUP PIPE; \
             ( {script} ) >\"$d/out\" 2>\"$d/err\" </dev/null; s=$?; \
             head -c 1048576 \"$d/out\"; tail -c 65536 \"$d/err\" >&2; exit $s"
        );
        loop {
            let output = self.root(&guarded).await?;
            if output.success() {
                return Ok(output.stdout);
            }
            let failure = Error::command(self.session.host(), what, &output);
            let words = last_lines(&output.stderr, 40) + "\n" + &last_lines(&output.stdout, 40);
            match self.family.verdict(&words) {
                Verdict::Passing(why) if Instant::now() + pause < deadline => {
                    self.progress.note(&format!("{why}; trying again"));
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(30));
                }
                Verdict::Mend(script) if !mended => {
                    self.progress
                        .note("an installation was cut off; finishing it first");
                    mended = true;
                    self.root(script).await?;
                }
                _ => return Err(failure),
            }
        }
    }
}
