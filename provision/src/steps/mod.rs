//! Bringing a machine to what is wanted, step by step. Each step sees for itself whether it is done, so that a
//! provisioning that was cut off is simply started again. One file a step.

mod access;
mod check;
mod configure;
mod install;
mod settle;
mod start;

use std::time::Duration;

use async_trait::async_trait;
use berth_driver_api::Progress;
use berth_driver_api::process::last_lines;
use tokio::time::{Instant, sleep};

use crate::facts::Facts;
use crate::family::{self, Family, Verdict};
use crate::ssh::{Output, Session, quote};
use crate::wanted::{Channel, EngineInfo, Installed, Kind, Wanted};
use crate::{Error, Result};

/// How long a cause that may pass is waited for.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// What the steps work with, and what they leave for each other.
struct Context<'a> {
    session: &'a Session,
    wanted: &'a Wanted,
    progress: &'a dyn Progress,
    family: &'static dyn Family,
    facts: Facts,
    engine: Option<EngineInfo>,
}

/// One step on the way.
#[async_trait]
trait Step: Send + Sync {
    /// What it does, as a line of progress: `Installing docker`.
    fn title(&self) -> &'static str;

    /// True if there is nothing to do.
    async fn done(&self, context: &Context<'_>) -> Result<bool>;

    /// Does it. Done twice, it does no harm.
    async fn run(&self, context: &mut Context<'_>) -> Result<()>;
}

const STEPS: &[&dyn Step] = &[
    &settle::Settle,
    &configure::Configure,
    &install::Install,
    &start::Start,
    &access::Access,
    &check::Check,
];

/// Brings a machine to what is wanted and tells what it has. A machine that is there already costs one command
/// and one request. `on_step` is called with the title of each step that was carried out, when it is.
///
/// # Errors
/// [`Error::Unsupported`] before anything is done; otherwise whatever went wrong. Calling it again goes on from there.
pub async fn provision(
    session: &Session,
    wanted: &Wanted,
    progress: &dyn Progress,
    on_step: &(dyn Fn(&str) + Send + Sync),
) -> Result<Installed> {
    supported(wanted)?;
    progress.phase("Looking around");
    let facts = Facts::gather(session).await?;
    let mut found = Installed {
        os: facts.os.clone(),
        arch: facts.arch.clone(),
        engine: None,
        limits: facts.limits.clone(),
    };
    if wanted.engine == Kind::None {
        return Ok(found);
    }
    let mut context = Context {
        session,
        wanted,
        progress,
        family: family::of(&found.os, session.host())?,
        facts,
        engine: None,
    };
    for step in STEPS {
        if !step.done(&context).await? {
            progress.phase(step.title());
            step.run(&mut context).await?;
            on_step(step.title());
        }
    }
    found.engine = context.engine;
    Ok(found)
}

fn supported(wanted: &Wanted) -> Result<()> {
    match (wanted.engine, &wanted.channel) {
        (Kind::None, _) | (Kind::Docker, Channel::Distro) => Ok(()),
        (Kind::Podman, _) => Err(Error::Unsupported("installing podman".into())),
        (Kind::Docker, channel) => Err(Error::Unsupported(format!("the channel {channel}"))),
    }
}

impl Context<'_> {
    /// Runs a script as root; whether it failed is for the caller to see.
    async fn root(&self, script: &str) -> Result<Output> {
        let prefix = self.facts.prefix(self.session)?;
        let script = format!("export LC_ALL=C; {script}");
        let command = format!("{prefix}sh -c {}", quote(&script));
        self.session.exec(&command).await
    }

    /// Runs a script as root that must succeed.
    async fn run_root(&self, what: &str, script: &str) -> Result<Output> {
        let output = self.root(script).await?;
        match output.success() {
            true => Ok(output),
            false => Err(Error::command(self.session.host(), what, &output)),
        }
    }

    /// Runs a script of the package manager's as root, again and again while the cause of its failure may pass.
    async fn packages(&self, what: &str, script: &str) -> Result<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_yet_says_so() {
        let wanted = |engine, channel| Wanted {
            engine,
            channel,
            version: None,
            ..Wanted::default()
        };
        assert!(supported(&wanted(Kind::Docker, Channel::Distro)).is_ok());
        assert!(supported(&wanted(Kind::None, Channel::Upstream)).is_ok());
        for (engine, channel) in [
            (Kind::Podman, Channel::Distro),
            (Kind::Docker, Channel::Upstream),
            (Kind::Docker, Channel::Bundle("x".into())),
        ] {
            assert!(matches!(
                supported(&wanted(engine, channel)),
                Err(Error::Unsupported(_))
            ));
        }
    }
}
