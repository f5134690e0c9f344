//! What a machine had before an upgrade, kept in the machine.
//!
//! `/var/lib/berth/upgrade/` is there while one is under way: `before.json` (written last), `packages/` (or a static
//! release's programs in it), `daemon.json` and what tells the package manager of upstream's repository (`repository/`)
//! if they were there, and `reserve`, space that putting back may need when the disk is full. When the upgrade has gone
//! well it becomes `/var/lib/berth/previous/`, so that the way back needs no network.

use serde::{Deserialize, Serialize};

use crate::bundle;
use crate::context::Context;
use crate::daemon_json::DAEMON_JSON;
use crate::engine::Container;
use crate::facts::RELEASE;
use crate::family::is_version;
use crate::service::RESTART_MARK;
use crate::steps::repository;
use crate::wanted::Version;
use crate::{Error, Result};

use super::health;
use super::plan::Plan;

const FOLDER: &str = "/var/lib/berth/upgrade";
const PREVIOUS: &str = "/var/lib/berth/previous";
pub(super) const PREVIOUS_PACKAGES: &str = "/var/lib/berth/previous/packages";

/// In KiB: a downgrade's unpacked files.
const RESERVE: u32 = 400 << 10;

/// No machine's is longer.
const LIMIT: usize = 1 << 20;

/// What was there.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    pub(super) plan: Plan,
    pub(super) containers: Vec<Container>,
}

impl Before {
    /// That of an upgrade that broke off, if there is one.
    pub(super) async fn read(context: &Context<'_>) -> Result<Option<Before>> {
        let script = format!("head -c {LIMIT} {FOLDER}/before.json 2>/dev/null; true");
        let output = context
            .run_root("looking for an upgrade that broke off", &script)
            .await?;
        if output.stdout.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&output.stdout)
            .map(Some)
            .map_err(|error| Error::RemoteFile {
                host: context.session.host().to_owned(),
                path: format!("{FOLDER}/before.json"),
                detail: error.to_string(),
            })
    }

    /// What the last upgrade did, if there was one.
    pub(super) async fn last(context: &Context<'_>) -> Result<Option<Plan>> {
        let script = format!("head -c {LIMIT} {PREVIOUS}/before.json 2>/dev/null; true");
        let output = context
            .run_root("looking for kept packages", &script)
            .await?;
        let before: Option<Before> = serde_json::from_slice(&output.stdout).ok();
        Ok(before.map(|before| before.plan))
    }

    /// Keeps what is there now.
    pub(super) async fn keep(context: &Context<'_>, plan: Plan) -> Result<Before> {
        let engine = super::answered(context)?;
        let before = Before {
            containers: health::running(context, &engine).await?,
            plan,
        };
        let (kind, packages) = (context.wanted.engine, format!("{FOLDER}/packages"));
        let released = context.facts.engine(kind).map(|there| &*there.name) == Some(RELEASE);
        let keep = match released {
            true => bundle::keep_script(&packages),
            false => context.family.keep_files_script(kind, &packages),
        };
        let repository =
            each_of_repository(context, "if [ -e \"$f\" ]; then cp -p \"$f\" \"$k\"; fi");
        let script = format!(
            "rm -rf {FOLDER} && mkdir -p -m 0700 {FOLDER}/repository && {repository} && \
             {{ ! [ -e {DAEMON_JSON} ] || cp -p {DAEMON_JSON} {FOLDER}/daemon.json; }} && \
             fallocate -l {RESERVE}K {FOLDER}/reserve && ( {keep} )"
        );
        context
            .packages("keeping the engine's packages", &script)
            .await?;
        let text = serde_json::to_vec(&before).map_err(|error| Error::Unhealthy {
            host: context.session.host().to_owned(),
            detail: error.to_string(),
        })?;
        let prefix = context.facts.prefix(context.session)?;
        let path = format!("{FOLDER}/before.json");
        context
            .session
            .write_file_as(prefix, &path, &text, 0o600)
            .await?;
        context.run_root("keeping what is there", "sync").await?;
        Ok(before)
    }

    /// Refuses another upgrade than the one that broke off.
    pub(super) fn must_be_for(&self, context: &Context<'_>) -> Result<()> {
        let wanted = context.wanted;
        let same = self.plan.channel == wanted.channel.to_string()
            && match &wanted.version {
                Version::Pinned(version) => is_version(&self.plan.to, version),
                Version::Any | Version::Latest => true,
            };
        match same {
            true => Ok(()),
            false => Err(Error::BrokenOff {
                host: context.session.host().to_owned(),
                to: self.plan.to.clone(),
                channel: self.plan.channel.clone(),
            }),
        }
    }

    /// Has the package manager's own upgrades leave the engine's packages, or not.
    pub(super) async fn hold(&self, context: &Context<'_>, held: bool) -> Result<()> {
        let kind = context.wanted.engine;
        let script = match held {
            true => context.family.pin_script(kind),
            false => context.family.unpin_script(kind),
        };
        context
            .packages("holding the engine's version", &script)
            .await
            .map(drop)
    }

    /// Installs the kept packages and puts the engine's settings back.
    pub(super) async fn restore(&self, context: &Context<'_>) -> Result<()> {
        let install = install_kept_script(context, &format!("{FOLDER}/packages"));
        let repository = each_of_repository(
            context,
            "if [ -e \"$k\" ]; then cp -p \"$k\" \"$f\"; elif [ -d \"${k%/*}\" ]; then rm -f \"$f\"; fi",
        );
        let script = format!(
            "rm -f {FOLDER}/reserve; {repository}; \
             if [ -e {FOLDER}/daemon.json ]; then cmp -s {FOLDER}/daemon.json {DAEMON_JSON} || \
             {{ cp -p {FOLDER}/daemon.json {DAEMON_JSON} && touch {RESTART_MARK}; }}; fi && ( {install} )"
        );
        context
            .packages("installing the old packages", &script)
            .await?;
        self.hold(context, self.plan.was_held).await
    }

    /// The upgrade has gone well: what was there stays for the way back.
    pub(super) async fn done(&self, context: &Context<'_>) -> Result<()> {
        let script =
            format!("rm -f {FOLDER}/reserve && rm -rf {PREVIOUS} && mv {FOLDER} {PREVIOUS}");
        context
            .run_root("ending the upgrade", &script)
            .await
            .map(drop)
    }

    /// All is as it was.
    pub(super) async fn forget(&self, context: &Context<'_>) -> Result<()> {
        context
            .run_root("ending the upgrade", &format!("rm -rf {FOLDER}"))
            .await
            .map(drop)
    }
}

/// A script that installs what is kept in a folder: a static release, or packages. What holds the version that is there
/// would hold it against these too.
pub(super) fn install_kept_script(context: &Context<'_>, folder: &str) -> String {
    let packages = format!(
        "{{ {}; }}; ( {} )",
        context.family.unpin_script(context.wanted.engine),
        context.family.install_files_script(folder)
    );
    bundle::restore_script(folder, &packages)
}

/// Shell lines that do something with each file `$f` that tells the package manager of upstream's repository, and with
/// `$k`, where it is kept.
fn each_of_repository(context: &Context<'_>, line: &str) -> String {
    let Ok(repository) = repository::of(context) else {
        return "true".to_owned();
    };
    let (key, list) = (repository.key_path, repository.list_path);
    format!("for f in {key} {list}; do k={FOLDER}/repository/${{f##*/}}; {line} || exit; done")
}
