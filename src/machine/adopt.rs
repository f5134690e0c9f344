//! Hosts that run already: who they are, how berth gets in, and what it leaves of itself there.

use std::time::Duration;

use berth_driver_api::{Access, Info, Login, Progress, State};
use berth_provision::ssh::{
    HostKey, Key, Session, Target, find_host_key, fingerprint, greet, learn_host_key, quote,
};
use berth_provision::{Error as ProvisionError, Kind, recognise, size};
use serde::Serialize;
use tokio::time::Instant;

use super::engine::{install_engine, wanted};
use super::journal::Journal;
use super::power::SSH_DEADLINE;
use super::{Berth, Error, Installed, Opened, Request, Result, endpoint, identity, power};
use crate::context::ssh_config;
use crate::store;

/// How long a host that runs may take to show its key.
const HOST_KEY_DEADLINE: Duration = Duration::from_secs(20);

/// Refuses wishes that nobody can grant to a host that runs already.
///
/// # Errors
/// [`Error::BadRequest`] with the flag.
pub(super) fn check_wishes(request: &Request, info: &Info) -> Result<()> {
    if info.capabilities.images {
        return Ok(());
    }
    let asked = [
        ("--cpus", request.cpus.is_some()),
        ("--memory", request.memory.is_some()),
        ("--disk", request.disk.is_some()),
        ("--image", request.image.is_some()),
        ("--cloud-init", request.cloud_init.is_some()),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        None => Ok(()),
        Some((flag, _)) => Err(Error::BadRequest {
            what: flag.into(),
            reason: format!(
                "the {} driver adopts hosts that run already, as they are",
                info.name
            ),
        }),
    }
}

/// Gets to know a host, and brings its engine to what is asked for.
///
/// # Errors
/// Whatever a step fails with; the create is resumable.
pub(super) async fn adopt(
    berth: &Berth,
    opened: &mut Opened,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<()> {
    let name = opened.record.name.clone();
    let access = access(opened).await?;
    journal
        .once("host-key", async { pin(opened, &access, progress).await })
        .await?;
    let session = journal
        .always("connect", async {
            progress.phase("Connecting");
            log_in(berth, opened, &access, progress).await
        })
        .await?;
    power::write_ssh_config(opened).await?;
    let size = size(&session).await.map_err(Error::provision(&name))?;
    let record = &mut opened.record;
    (record.cpus, record.memory, record.disk) = (size.cpus, size.memory, size.disk);
    record.write(&berth.home)?;
    if !keep_engine(berth, opened, &session, journal, progress).await? {
        install_engine(berth, opened, &session, false, journal, progress).await?;
    }
    if opened.record.installed.is_none() {
        progress.note(&format!("{name} is adopted as it is, without an engine"));
    }
    session.disconnect().await;
    Ok(())
}

async fn access(opened: &Opened) -> Result<Access> {
    let name = &opened.record.name;
    let access = opened.driver.access(&opened.machine).await;
    access.map_err(Error::driver(name))?.ok_or_else(|| {
        Error::driver(name)(berth_driver_api::Error::failed(
            format!("the {} driver", opened.record.driver),
            "it neither makes machines nor tells how they are entered",
        ))
    })
}

/// Writes the host's keys into the machine's known_hosts: those that are known, or else the one that it shows now.
async fn pin(opened: &Opened, access: &Access, progress: &dyn Progress) -> Result<()> {
    let known_hosts = opened.folder.known_hosts();
    if known_hosts.exists() {
        return Ok(());
    }
    let name = &opened.record.name;
    let failed = Error::provision(name);
    let lines = match (&access.fingerprint, access.host_keys.as_slice()) {
        (None, []) => {
            progress.phase("Meeting the host");
            let key = shown(opened, None).await?;
            progress.note(&format!(
                "{name} shows the host key {} {}, which is accepted from now on; to be sure, compare it with \
                 `ssh-keygen -lf` of its /etc/ssh/ssh_host_*_key.pub",
                key.algorithm, key.fingerprint
            ));
            vec![line(name, &key)]
        }
        (Some(wanted), _) => vec![line(name, &shown(opened, Some(wanted)).await?)],
        (None, known) => {
            let mut lines = Vec::new();
            for key in known {
                let fingerprint = fingerprint(key).map_err(Error::provision(name))?;
                tracing::debug!(fingerprint, "known already");
                lines.push(format!("{} {key}\n", ssh_config::alias(name)));
            }
            lines
        }
    };
    if lines.iter().any(|line| line.trim().contains('\n')) {
        return Err(failed(ProvisionError::HostKeyUnknown {
            host: name.clone(),
            known_hosts,
        }));
    }
    Ok(store::write_private(
        &known_hosts,
        lines.concat().as_bytes(),
    )?)
}

/// The key that the host shows, or the one of its keys with that fingerprint.
async fn shown(opened: &Opened, wanted: Option<&str>) -> Result<HostKey> {
    let target = opened.target().await?;
    let (host, port, jump) = (&*target.host, target.port, &*target.jump);
    let shown = match wanted {
        Some(wanted) => find_host_key(host, port, jump, wanted, HOST_KEY_DEADLINE).await,
        None => learn_host_key(host, port, jump, HOST_KEY_DEADLINE).await,
    };
    shown.map_err(Error::provision(&opened.record.name))
}

fn line(name: &str, key: &HostKey) -> String {
    let alias = ssh_config::alias(name);
    format!("{alias} {} {}\n", key.algorithm, key.base64)
}

/// A connection by the first of the user's keys that lets in, which is recorded; with berth's own from now on, if the
/// user wants that.
pub(super) async fn log_in(
    berth: &Berth,
    opened: &mut Opened,
    access: &Access,
    progress: &dyn Progress,
) -> Result<Session> {
    let name = opened.record.name.clone();
    if opened.record.login.is_some() || opened.folder.key().exists() {
        // It let in before the create broke off.
        if let Ok(session) = opened.connect(SSH_DEADLINE).await {
            return Ok(session);
        }
    }
    let target = opened.target().await?;
    let (login, session) = try_logins(&name, &target, &access.logins).await?;
    opened.record.login = Some(login);
    opened.record.write(&berth.home)?;
    if !access.install_key {
        return Ok(session);
    }
    identity::make_login_key(&opened.folder, &name)?;
    let public = public_key(opened)?;
    let line = quote(&public);
    // A last line without an end would swallow the new one.
    let script = format!(
        "umask 077; mkdir -p ~/.ssh && f=~/.ssh/authorized_keys && {{ grep -qxF -- {line} $f 2>/dev/null || \
         {{ [ -z \"$(tail -c 1 $f 2>/dev/null)\" ] || echo >>$f; printf '%s\\n' {line} >>$f; }}; }}"
    );
    let output = session.exec(&script).await;
    let output = output.map_err(Error::provision(&name))?;
    if !output.success() {
        return Err(key_failed(&name, "letting berth's key in", &output.stderr));
    }
    opened.record.login = None;
    opened.record.write(&berth.home)?;
    progress.note(&format!("{name} lets berth's own key in from now on"));
    Ok(session)
}

/// The first login that lets in, and the connection.
///
/// # Errors
/// What the last one was told if none does.
async fn try_logins(name: &str, target: &Target, logins: &[Login]) -> Result<(Login, Session)> {
    let mut refused = Vec::new();
    for login in logins {
        let target = Target {
            key: match login {
                Login::Agent => Key::Agent,
                Login::File(path) => Key::File(path.clone()),
            },
            ..target.clone()
        };
        match Session::connect(&target, SSH_DEADLINE).await {
            Ok(session) => return Ok((login.clone(), session)),
            // Another one may do.
            Err(
                error @ (ProvisionError::KeyRejected { .. }
                | ProvisionError::KeyFile { .. }
                | ProvisionError::Agent { .. }),
            ) => refused.push(error),
            Err(error) => return Err(Error::provision(name)(error)),
        }
    }
    // A key that was turned away tells more than one that could not be used.
    let told = refused
        .iter()
        .position(|error| matches!(error, ProvisionError::KeyRejected { .. }));
    let error = match refused.is_empty() {
        true => ProvisionError::Agent {
            detail: "none runs, and there is no key file: start one, or say -o key=FILE".into(),
        },
        false => refused.swap_remove(told.unwrap_or(0)),
    };
    Err(Error::provision(name)(error))
}

/// Records an engine that the host has already, if the user asked for nothing else: nothing is installed, started or
/// configured. False if there is none, or it is not what was asked for.
async fn keep_engine(
    berth: &Berth,
    opened: &mut Opened,
    session: &Session,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<bool> {
    let wish = &opened.record.engine;
    let asked = wanted(wish)?;
    let as_it_is = wish.version.is_none()
        && wish.channel == super::DISTRO
        && opened.record.settings.is_empty();
    if asked.engine == Kind::None || !as_it_is {
        return Ok(false);
    }
    let kind = opened.record.engine_named.then_some(asked.engine);
    let name = opened.record.name.clone();
    let recognised = recognise(session, kind, progress)
        .await
        .map_err(Error::provision(&name))?;
    let Some(engine) = recognised.machine.engine else {
        return Ok(false);
    };
    progress.note(&format!(
        "{name} has {} {}, which is kept as it is",
        engine.kind, engine.version
    ));
    let record = &mut opened.record;
    record.engine.kind = engine.kind.to_string();
    if let Some(channel) = recognised.channel {
        record.engine.channel = channel.to_string();
    }
    record.limits = recognised.machine.limits;
    record.installed = Some(Installed {
        kind: engine.kind.to_string(),
        version: engine.version,
        socket: engine.socket,
        os: recognised.machine.os.pretty_name,
    });
    journal
        .always("record", async { record.write(&berth.home) })
        .await?;
    Ok(true)
}

/// Makes sure that a host whose power nobody drives answers; returns until when the next thing may take.
///
/// # Errors
/// That it cannot be started, if it does not answer.
pub(super) async fn answers(
    opened: &Opened,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<Instant> {
    let name = &opened.record.name;
    journal
        .always("power", async {
            progress.phase("Looking whether it answers");
            let target = opened.target().await?;
            match greet(&target, HOST_KEY_DEADLINE).await {
                Ok(()) => Ok(()),
                Err(ProvisionError::Unreachable { last, .. }) => {
                    Err(Error::driver(name)(berth_driver_api::Error::Unsupported {
                        driver: opened.record.driver.clone(),
                        what: format!("power {name} on, which does not answer: {last}"),
                    }))
                }
                Err(error) => Err(Error::provision(name)(error)),
            }
        })
        .await?;
    Ok(Instant::now() + SSH_DEADLINE)
}

/// What a host does whose power nobody drives, by its own answer, and what is wrong with that.
pub(super) async fn state(opened: &Opened, deadline: Duration) -> (State, Option<String>) {
    let target = match opened.target().await {
        Ok(target) if target.known_hosts.exists() => target,
        Ok(_) => {
            return (
                State::Unreachable,
                Some("its host key is not known yet".into()),
            );
        }
        Err(error) => return (State::Error, Some(error.to_string())),
    };
    // A little before whoever asked gives up: why it does not answer is worth telling.
    match greet(&target, deadline.mul_f32(0.95)).await {
        Ok(()) => (State::Running, None),
        Err(ProvisionError::Unreachable { last, .. }) => (State::Unreachable, Some(last)),
        Err(error) => (State::Error, Some(error.to_string())),
    }
}

/// Reboots a host from inside and waits until it answers again.
///
/// # Errors
/// If it does not answer, the user may not, or it is not back within `deadline`.
pub(super) async fn reboot(
    opened: &Opened,
    deadline: Duration,
    progress: &dyn Progress,
) -> Result<()> {
    let failed = Error::provision(&opened.record.name);
    let session = opened.connect(SSH_DEADLINE).await?;
    progress.phase("Rebooting");
    let target = opened.target().await?;
    let again = berth_provision::reboot(&session, &target, deadline).await;
    again.map_err(failed)?.disconnect().await;
    // Its connection is to the boot before: a new one is opened when it notices, or at once.
    endpoint::end(opened).await
}

/// Takes berth's own key out of the host's authorized_keys again, if it was let in, and says what stays.
///
/// # Errors
/// If the host does not answer.
pub(super) async fn release(
    opened: &Opened,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<()> {
    let name = &opened.record.name;
    if opened.folder.key().exists() {
        journal
            .always("key", async {
                let session = match opened.connect(HOST_KEY_DEADLINE).await {
                    Ok(session) => session,
                    // It is out already.
                    Err(Error::Provision { source, .. })
                        if matches!(*source, ProvisionError::KeyRejected { .. }) =>
                    {
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                };
                let line = quote(&public_key(opened)?);
                // Its own file is written, not replaced, so that its owner and links stay.
                let script = format!(
                    "f=~/.ssh/authorized_keys; t=$(mktemp) && {{ grep -vxF -- {line} $f >$t; [ $? -le 1 ]; }} && \
                     cat $t >$f; s=$?; rm -f $t; exit $s"
                );
                let output = session.exec(&script).await;
                let output = output.map_err(Error::provision(name))?;
                session.disconnect().await;
                match output.success() {
                    true => Ok(()),
                    false => Err(key_failed(name, "taking berth's key out", &output.stderr)),
                }
            })
            .await?;
        progress.note(&format!("{name} no longer lets berth's key in"));
    }
    progress.note(&format!(
        "the host {name} itself stays as it is, with its engine and its containers"
    ));
    Ok(())
}

fn key_failed(name: &str, what: &str, words: &[u8]) -> Error {
    Error::provision(name)(ProvisionError::RemoteFile {
        host: name.to_owned(),
        path: "~/.ssh/authorized_keys".into(),
        detail: format!(
            "{what} failed: {}",
            berth_driver_api::process::last_lines(words, 3)
        ),
    })
}

/// The public half of berth's own key, one line.
fn public_key(opened: &Opened) -> Result<String> {
    let path = opened.folder.key().with_extension("pub");
    let text = std::fs::read_to_string(&path).map_err(store::Error::io(&path))?;
    Ok(text.trim().to_owned())
}

/// A machine's host keys, recorded and shown.
#[derive(Debug, Clone, Serialize)]
pub struct HostKeys {
    /// The machine's name.
    pub name: String,
    /// Types and fingerprints that are accepted: `ssh-ed25519 SHA256:…`.
    pub accepted: Vec<String>,
    /// The one that the machine shows now; none if it does not answer.
    pub shown: Option<String>,
}

/// Which host keys a machine has by its record, and which it shows.
///
/// # Errors
/// If its known_hosts cannot be read.
pub async fn host_keys(berth: &Berth, name: &str) -> Result<HostKeys> {
    let opened = berth.open(name).await?;
    let path = opened.folder.known_hosts();
    let text = std::fs::read_to_string(&path).map_err(store::Error::io(&path))?;
    let accepted = text.lines().filter_map(|line| {
        let (_, key) = line.split_once(' ')?;
        let kind = key.split(' ').next()?;
        Some(format!("{kind} {}", fingerprint(key).ok()?))
    });
    let accepted = accepted.collect();
    let shown = shown(&opened, None).await.ok();
    Ok(HostKeys {
        name: name.to_owned(),
        accepted,
        shown: shown.map(|key| format!("{} {}", key.algorithm, key.fingerprint)),
    })
}

/// Accepts another host key of a machine from now on, and only that: the one with this `SHA256:…` fingerprint.
///
/// # Errors
/// [`ProvisionError::OtherHostKey`] if the machine does not show it.
pub async fn accept_host_key(
    berth: &Berth,
    name: &str,
    wanted: &str,
    progress: &dyn Progress,
) -> Result<()> {
    berth.record(name)?;
    let doing = format!("host-key {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let opened = berth.open(name).await?;
    let key = shown(&opened, Some(wanted)).await?;
    let line = line(name, &key);
    store::write_private(&opened.folder.known_hosts(), line.as_bytes())?;
    // A connection to what had the old key is not to be trusted any more; `berth start` opens the endpoint again.
    if endpoint::is_open(&opened) {
        endpoint::end(&opened).await?;
        endpoint::ensure(&opened).await?;
    }
    Ok(())
}
