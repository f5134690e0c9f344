//! A machine's engine: taken as the image brought it, or brought to what is asked for over SSH.

use std::path::Path;
use std::time::Duration;

use berth_driver_api::Progress;
use berth_provision::bundle::{Bundle, Manifest};
use berth_provision::ssh::Session;
use berth_provision::versions::{Versions, versions};
use berth_provision::{Channel, Kind, Settings, Upstream, Version, Wanted};

use super::journal::Journal;
use super::operation::{SSH_DEADLINE, log_in, must_run};
use super::up::publish;
use super::{
    Berth, DISTRO, EngineSettings, EngineWish, Error, Installed, Opened, Record, Result, endpoint,
};

/// How long an engine that the image brought may take to answer, from the moment that the guest's SSH server listens.
const READY_MADE_DEADLINE: Duration = Duration::from_secs(60);

/// Where docker's packages are mirrored, if not at Docker's own address.
const REPOSITORY_VARIABLE: &str = "BERTH_DOCKER_REPO";

/// The fingerprint of the key that signs this mirror's packages, if it is not Docker's own.
const KEY_VARIABLE: &str = "BERTH_DOCKER_REPO_KEY";

/// Another engine that a machine is to have from now on; what is not said stays as it is.
#[derive(Debug, Clone, Default)]
pub struct EngineChange {
    /// `KIND[@VERSION]`.
    pub engine: Option<String>,
    /// The channel. An engine that came by another one is replaced.
    pub channel: Option<String>,
}

impl EngineChange {
    /// What is asked for from now on, if it was `wish`.
    pub fn of(&self, wish: &EngineWish) -> EngineWish {
        let engine = self.engine.as_deref().unwrap_or(&wish.kind);
        let mut changed = EngineWish::parse(engine, &wish.channel);
        if self.engine.is_none() {
            changed.version.clone_from(&wish.version);
        }
        // Another engine does not come from where the one before it did.
        if changed.kind != wish.kind {
            changed.channel = DISTRO.to_owned();
        }
        match &self.channel {
            Some(channel) => EngineWish {
                version: changed.version,
                ..EngineWish::parse(&changed.kind, channel)
            },
            None => changed,
        }
    }
}

/// Brings a machine's engine to what its record asks for, with `change` from now on; what is done already is left
/// alone.
///
/// # Errors
/// If the machine does not run or a step fails.
pub async fn provision(
    berth: &Berth,
    name: &str,
    change: &EngineChange,
    progress: &dyn Progress,
) -> Result<Record> {
    bring_about(berth, name, change, None, progress).await
}

/// [`provision`] with these settings and no others: what the machine's record had before and they have not is taken
/// out of the machine as well.
///
/// # Errors
/// As [`provision`], and [`Error::BadRequest`] for settings that an engine would not start with.
pub async fn provision_exactly(
    berth: &Berth,
    name: &str,
    change: &EngineChange,
    settings: &EngineSettings,
    progress: &dyn Progress,
) -> Result<Record> {
    settings.resolve()?;
    bring_about(berth, name, change, Some(settings), progress).await
}

/// Whether [`provision`] with `change`, after `settings` were added to the record's, would find nothing to do on a machine
/// that runs.
///
/// # Errors
/// What stands in the way, such as [`Error::BadRequest`] for settings that an engine would not start with.
pub async fn is_provisioned(
    opened: &Opened,
    session: &Session,
    change: &EngineChange,
    settings: &EngineSettings,
    progress: &dyn Progress,
) -> Result<bool> {
    let record = &opened.record;
    let engine = change.of(&record.engine);
    check_engine(&engine).await?;
    let amended = record.settings.clone().amended(settings);
    let wanted = Wanted {
        replace: change.channel.is_some(),
        settings: amended.resolve()?,
        ..wanted(&engine)?
    };
    let recorded = engine == record.engine && amended == record.settings;
    let there = berth_provision::is_provisioned(session, &wanted, progress).await;
    Ok(there.map_err(Error::provision(&record.name))? && recorded)
}

async fn bring_about(
    berth: &Berth,
    name: &str,
    change: &EngineChange,
    settings: Option<&EngineSettings>,
    progress: &dyn Progress,
) -> Result<Record> {
    berth.record(name)?;
    let doing = format!("provision {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let mut opened = berth.open(name).await?;
    must_run(&opened).await?;
    let engine = change.of(&opened.record.engine);
    if engine != opened.record.engine {
        check_engine(&engine).await?;
        opened.record.engine = engine;
        opened.record.write(&berth.home)?;
    }
    let mut journal = Journal::begin(&opened.folder.journal(), "provision")?;
    let session = opened.connect(SSH_DEADLINE).await?;
    let mut wanted = Wanted {
        replace: change.channel.is_some(),
        ..wanted(&opened.record.engine)?
    };
    if let Some(settings) = settings {
        // Recorded when the machine has them: until then it is known what is to be taken out.
        wanted.settings.before = opened.record.settings.resolve()?.daemon;
        opened.record.settings = settings.clone();
    }
    install(berth, &mut opened, &session, wanted, &mut journal, progress).await?;
    publish(berth, &opened, &mut journal, progress).await?;
    journal.end()?;
    Ok(opened.record)
}

/// Refuses a wish that cannot be met, before anything is done for it. A bundle is looked through.
///
/// # Errors
/// [`Error::BadRequest`]; [`berth_provision::Error::Bundle`].
pub(super) async fn check_engine(wish: &EngineWish) -> Result<()> {
    let wanted = wanted(wish)?;
    let bad = |what: &str, reason: String| {
        Err(Error::BadRequest {
            what: what.to_owned(),
            reason,
        })
    };
    match (wanted.engine, &wanted.channel) {
        (Kind::None, _) if wanted.version != Version::Any => {
            bad("--engine", "no engine has no version".into())
        }
        (Kind::Podman, Channel::Upstream) => bad(
            "--channel",
            "podman's makers publish no packages: use distro or bundle:PATH".into(),
        ),
        (Kind::Docker | Kind::Podman, Channel::Bundle(path)) => {
            let looked = Bundle::open(path).await;
            looked
                .map(drop)
                .or_else(|error| bad("--channel", error.to_string()))
        }
        _ => Ok(()),
    }
}

/// Records the engine that the image brought; false if there is none, or it is not what was asked for.
pub(super) async fn take_ready_made(
    berth: &Berth,
    opened: &mut Opened,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<bool> {
    let Some(installed) = ready_made(berth, opened, progress).await? else {
        return Ok(false);
    };
    opened.record.installed = Some(installed);
    opened.record.limits = kernel_limits(berth, &opened.record)?;
    journal
        .always("record", async { opened.record.write(&berth.home) })
        .await?;
    Ok(true)
}

/// The engine that the image brought, if that is what was asked for and it answers: then there is nothing to look at in
/// the guest and nothing to do there, and the supervisor's connection is the only one.
async fn ready_made(
    berth: &Berth,
    opened: &Opened,
    progress: &dyn Progress,
) -> Result<Option<Installed>> {
    let record = &opened.record;
    let (Some(image), Some(socket)) = (&record.image, record.engine_socket()) else {
        return Ok(None);
    };
    let image = berth.stored_image(&image.digest)?;
    let wish = &record.engine;
    let brings = |engine: &berth_images::Engine| engine.kind == wish.kind;
    let as_it_is = wish.version.is_none() && wish.channel == DISTRO && record.settings.is_empty();
    if !as_it_is || !image.engine.as_ref().is_some_and(brings) {
        return Ok(None);
    }
    progress.phase("Starting the engine");
    // An engine that does not come up by itself is provisioning's business: it finds out why.
    let answer = tokio::time::timeout(READY_MADE_DEADLINE, endpoint::first_version(opened)).await;
    let Ok(Ok(version)) = answer else {
        return Ok(None);
    };
    Ok(Some(Installed {
        kind: wish.kind.clone(),
        version,
        socket: socket.to_owned(),
        os: image.os,
    }))
}

/// What a driver's own kernel cannot do, as the image store knows.
fn kernel_limits(berth: &Berth, record: &Record) -> Result<Vec<String>> {
    let Some(kernel) = &record.kernel else {
        return Ok(Vec::new());
    };
    let kernel = berth.stored_image(&kernel.digest)?.kernel;
    Ok(kernel.map(|kernel| kernel.limits).unwrap_or_default())
}

/// Installs what the machine's record asks for. With `replace`, an engine of another channel makes room.
pub(super) async fn install_engine(
    berth: &Berth,
    opened: &mut Opened,
    session: &Session,
    replace: bool,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<()> {
    let wanted = Wanted {
        replace,
        ..wanted(&opened.record.engine)?
    };
    install(berth, opened, session, wanted, journal, progress).await
}

async fn install(
    berth: &Berth,
    opened: &mut Opened,
    session: &Session,
    mut wanted: Wanted,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<()> {
    let name = opened.record.name.clone();
    wanted.settings = Settings {
        before: wanted.settings.before,
        ..opened.record.settings.resolve()?
    };
    let reached = |title: &str| {
        // A journal that cannot be written fails at the next step's own entry.
        let _ = journal.reached(&format!("provision: {title}"));
    };
    let outcome = berth_provision::provision(session, &wanted, progress, &reached)
        .await
        .map_err(Error::provision(&name));
    let installed = outcome.inspect_err(|error| journal.failed("provision", error))?;
    let socket = opened.record.engine_socket().map(str::to_owned);
    opened.record.limits = installed.limits;
    opened.record.installed = installed.engine.map(|engine| Installed {
        kind: engine.kind.to_string(),
        version: engine.version,
        socket: engine.socket,
        os: installed.os.pretty_name,
    });
    journal
        .always("record", async { opened.record.write(&berth.home) })
        .await?;
    // A supervisor that runs since before forwards to where it was told to, as who it was let in as.
    if opened.record.engine_socket() != socket.as_deref() || installed.needs_login {
        endpoint::end(opened).await?;
    }
    Ok(())
}

/// Asks a machine which versions of engines it has, and which its channels offer.
///
/// # Errors
/// If the machine does not run or cannot be asked.
pub async fn engine_versions(
    berth: &Berth,
    name: &str,
    progress: &dyn Progress,
) -> Result<Versions> {
    let opened = berth.open(name).await?;
    let upstream = upstream()?;
    let session = log_in(&opened).await?;
    versions(&session, &upstream, progress)
        .await
        .map_err(Error::provision(name))
}

/// Makes a bundle of what a machine's package manager offers: of the engine that its record asks for, with `change`.
///
/// # Errors
/// If the machine does not run, has no such engine on offer, or `to` cannot be written.
pub async fn bundle_engine(
    berth: &Berth,
    name: &str,
    change: &EngineChange,
    to: &Path,
    progress: &dyn Progress,
) -> Result<Manifest> {
    let opened = berth.open(name).await?;
    let wanted = wanted(&change.of(&opened.record.engine))?;
    if wanted.engine == Kind::None {
        return Err(Error::BadRequest {
            what: "--engine".into(),
            reason: format!("machine {name} is to have none: say which, such as docker"),
        });
    }
    if matches!(wanted.channel, Channel::Bundle(_)) {
        return Err(Error::BadRequest {
            what: "--channel".into(),
            reason: "a bundle is made of what distro or upstream offers".into(),
        });
    }
    let session = log_in(&opened).await?;
    berth_provision::bundle::from_machine(&session, &wanted, to, progress)
        .await
        .map_err(Error::provision(name))
}

/// What provisioning is to be told of a wish.
///
/// # Errors
/// [`Error::BadRequest`] if it has a word that is none.
pub(super) fn wanted(wish: &EngineWish) -> Result<Wanted> {
    let version = wish.version.as_deref().map(str::parse).transpose();
    Ok(Wanted {
        engine: wish.kind.parse().map_err(bad("--engine"))?,
        version: version.map_err(bad("--engine"))?.unwrap_or_default(),
        channel: wish.channel.parse().map_err(bad("--channel"))?,
        upstream: upstream()?,
        ..Wanted::default()
    })
}

fn bad(what: &str) -> impl FnOnce(berth_provision::Error) -> Error {
    move |error| Error::BadRequest {
        what: what.to_owned(),
        reason: error.to_string(),
    }
}

/// Docker's repositories, or the mirror that this process's environment names.
fn upstream() -> Result<Upstream> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (variable(REPOSITORY_VARIABLE), variable(KEY_VARIABLE)) {
        (None, None) => Ok(Upstream::default()),
        (Some(base), key) => {
            Upstream::mirror(&base, key.as_deref()).map_err(bad(REPOSITORY_VARIABLE))
        }
        (None, Some(_)) => Err(Error::BadRequest {
            what: KEY_VARIABLE.into(),
            reason: format!(
                "set {REPOSITORY_VARIABLE} too: Docker's own packages bear Docker's key"
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays_as_it_is() {
        let wish = EngineWish::parse("docker@28", "upstream");
        let changed = |engine: Option<&str>, channel: Option<&str>| {
            let change = EngineChange {
                engine: engine.map(Into::into),
                channel: channel.map(Into::into),
            };
            let wish = change.of(&wish);
            (wish.kind, wish.version, wish.channel)
        };
        let is = |kind: &str, version: Option<&str>, channel: &str| {
            (
                kind.to_owned(),
                version.map(str::to_owned),
                channel.to_owned(),
            )
        };
        assert_eq!(changed(None, None), is("docker", Some("28"), "upstream"));
        assert_eq!(
            changed(Some("docker@latest"), None),
            is("docker", Some("latest"), "upstream")
        );
        assert_eq!(
            changed(Some("docker"), None),
            is("docker", None, "upstream")
        );
        assert_eq!(
            changed(None, Some("distro")),
            is("docker", Some("28"), "distro")
        );
        assert_eq!(changed(Some("podman"), None), is("podman", None, "distro"));
        assert_eq!(
            changed(None, Some("bundle:/x")),
            is("docker", Some("28"), "bundle:/x")
        );
    }

    #[test]
    fn a_bundles_path_holds_in_every_folder() {
        let wish = EngineWish::parse("docker", "bundle:x.tar");
        let here = std::env::current_dir().unwrap();
        assert_eq!(wish.channel, format!("bundle:{}/x.tar", here.display()));
    }
}
