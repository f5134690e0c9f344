//! An engine that ends TLS itself, on a host whose clients reach it over a network.
//!
//! Docker takes its sockets from systemd (`-H fd://`), so the port is one more line of `docker.socket`, and dockerd asks
//! for certificates on it as `daemon.json` says; its unix socket stays as it is.

use std::net::SocketAddr;

use berth_driver_api::Progress;
use serde_json::{Map, Value, json};

use crate::certs::Pair;
use crate::daemon_json::DAEMON_JSON;
use crate::facts::Facts;
use crate::service::Init;
use crate::ssh::{Session, quote};
use crate::{Error, Result};

/// Where the engine's certificates are in the machine.
const FOLDER: &str = "/etc/docker/berth-tls";

/// What the engine was told before.
const BEFORE: &str = "/etc/docker/berth-tls/daemon.json.before";

const DROP_IN_FOLDER: &str = "/etc/systemd/system/docker.socket.d";
const DROP_IN: &str = "/etc/systemd/system/docker.socket.d/50-berth-tls.conf";

/// The engine has to be told of a new socket, and only systemd can hand it over. It starts nothing that was started a
/// few times just before until it is told to forget.
const AGAIN: &str = "systemctl daemon-reload && systemctl stop docker.service docker.socket; \
                     systemctl reset-failed docker.service docker.socket 2>/dev/null; \
                     systemctl start docker.socket && systemctl start docker.service";

/// Has the engine listen at `listen`, show `server`, and let in whom `ca` vouches for. It is restarted, and its
/// containers with it unless it has `live-restore`.
///
/// # Errors
/// [`Error::Unsupported`] if the engine does not take its sockets from systemd or has TLS of its own; if it does not
/// start with these settings, which are taken back then.
pub async fn serve_tls(
    session: &Session,
    listen: SocketAddr,
    ca: &str,
    server: &Pair,
    progress: &dyn Progress,
) -> Result<()> {
    let facts = Facts::gather(session).await?;
    let prefix = facts.prefix(session)?;
    let by_systemd = "systemctl cat docker.service docker.socket | grep -q 'ExecStart=.*fd://'";
    let fits = facts.init == Some(Init::Systemd) && session.exec(by_systemd).await?.success();
    if !fits {
        return Err(Error::Unsupported(
            "TLS by an engine that does not take its sockets from systemd".into(),
        ));
    }
    let settings = with_tls(session, facts.daemon_json.as_deref())?;
    progress.phase("Handing certificates to the engine");
    // What was there is kept to the letter, unless it was there before these certificates.
    let folders = format!(
        "mkdir -p -m 700 {FOLDER} && mkdir -p {DROP_IN_FOLDER} && {{ [ -e {BEFORE} ] || [ ! -e {DAEMON_JSON} ] || \
         [ -e {FOLDER}/key.pem ] || cp -p {DAEMON_JSON} {BEFORE}; }}"
    );
    root(session, prefix, "making room for certificates", &folders).await?;
    for (name, text) in [
        ("ca.pem", ca),
        ("cert.pem", &*server.certificate),
        ("key.pem", &*server.key),
    ] {
        let path = format!("{FOLDER}/{name}");
        session
            .write_file_as(prefix, &path, text.as_bytes(), 0o600)
            .await?;
    }
    let socket = format!(
        "# Of berth's: `berth certs disable` removes it.\n[Socket]\nListenStream={listen}\n"
    );
    session
        .write_file_as(prefix, DROP_IN, socket.as_bytes(), 0o644)
        .await?;
    session
        .write_file_as(prefix, DAEMON_JSON, &settings, 0o644)
        .await?;
    progress.phase("Restarting the engine");
    let started = root(session, prefix, "restarting the engine", AGAIN).await;
    if started.is_err() {
        // What it had before it was fine with.
        end_tls(session).await?;
    }
    started
}

/// Takes back what [`serve_tls`] did, if it did.
///
/// # Errors
/// If the user may not, or the engine does not start.
pub async fn end_tls(session: &Session) -> Result<()> {
    let facts = Facts::gather(session).await?;
    let prefix = facts.prefix(session)?;
    let there = format!("test -e {DROP_IN} || test -e {FOLDER}");
    if !session
        .exec(&format!("{prefix}sh -c {}", quote(&there)))
        .await?
        .success()
    {
        return Ok(());
    }
    let before = session
        .exec(&format!("{prefix}cat {BEFORE} 2>/dev/null"))
        .await?;
    let now = facts.daemon_json.as_deref();
    let untouched = before.success()
        && with_tls(session, Some(&before.stdout)).is_ok_and(|text| Some(&*text) == now);
    match without_tls(session, now)? {
        Some(_) if untouched => {
            session
                .write_file_as(prefix, DAEMON_JSON, &before.stdout, 0o644)
                .await?;
        }
        Some(settings) if settings.is_empty() => {
            root(
                session,
                prefix,
                "removing settings",
                &format!("rm -f {DAEMON_JSON}"),
            )
            .await?;
        }
        Some(settings) => {
            session
                .write_file_as(prefix, DAEMON_JSON, &text(&settings), 0o644)
                .await?;
        }
        None => {}
    }
    let remove = format!("rm -rf {FOLDER} {DROP_IN}; rmdir {DROP_IN_FOLDER} 2>/dev/null; {AGAIN}");
    root(session, prefix, "closing the engine's TLS port", &remove).await
}

async fn root(session: &Session, prefix: &str, what: &str, script: &str) -> Result<()> {
    let command = format!("{prefix}sh -c {}", quote(script));
    let output = session.exec(&command).await?;
    match output.success() {
        true => Ok(()),
        false => Err(Error::command(session.host(), what, &output)),
    }
}

fn parse(session: &Session, existing: Option<&[u8]>) -> Result<Map<String, Value>> {
    let existing = existing.filter(|bytes| !bytes.trim_ascii().is_empty());
    let Some(existing) = existing else {
        return Ok(Map::new());
    };
    let invalid = |line, column, detail: String| Error::InvalidConfig {
        host: session.host().to_owned(),
        path: DAEMON_JSON,
        line,
        column,
        detail,
        excerpt: String::new(),
    };
    match serde_json::from_slice(existing) {
        Ok(Value::Object(settings)) => Ok(settings),
        Ok(_) => Err(invalid(0, 0, "it is not an object".into())),
        Err(error) => Err(invalid(error.line(), error.column(), error.to_string())),
    }
}

/// What is told to dockerd (`dockerd --help`, the settings of the same names).
fn ours() -> [(&'static str, Value); 4] {
    [
        ("tlsverify", json!(true)),
        ("tlscacert", json!(format!("{FOLDER}/ca.pem"))),
        ("tlscert", json!(format!("{FOLDER}/cert.pem"))),
        ("tlskey", json!(format!("{FOLDER}/key.pem"))),
    ]
}

fn with_tls(session: &Session, existing: Option<&[u8]>) -> Result<Vec<u8>> {
    let mut settings = parse(session, existing)?;
    for (name, value) in ours() {
        match settings.get(name) {
            Some(other) if *other != value => {
                return Err(Error::Unsupported(format!(
                    "TLS beside that which {DAEMON_JSON} has by {name}"
                )));
            }
            _ => settings.insert(name.to_owned(), value),
        };
    }
    Ok(text(&settings))
}

/// `None` if there is nothing of ours in it.
fn without_tls(session: &Session, existing: Option<&[u8]>) -> Result<Option<Map<String, Value>>> {
    let mut settings = parse(session, existing)?;
    if ours()
        .iter()
        .any(|(name, value)| settings.get(*name) != Some(value))
    {
        return Ok(None);
    }
    for (name, _) in ours() {
        settings.shift_remove(name);
    }
    Ok(Some(settings))
}

fn text(settings: &Map<String, Value>) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(settings).unwrap_or_default();
    text.push(b'\n');
    text
}
