//! An engine whose containers outlive it (`live-restore`, one of berth's own settings) takes part in no swarm: there the
//! swarm is to start them elsewhere. The setting goes before an engine joins, and comes back when it has left.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::Info;
use crate::daemon_json::DAEMON_JSON;
use crate::engine::Engine;
use crate::facts::Facts;
use crate::ssh::{Session, quote};
use crate::{Error, Result};

const KEY: &str = "live-restore";

/// There if it was berth that turned the setting off.
const MARK: &str = "/var/lib/berth/live-restore-before-swarm";

/// How long an engine may take to read its settings again.
const READING: Duration = Duration::from_secs(30);

/// Turns `live-restore` off for an engine that is to join a swarm; nothing is restarted.
///
/// # Errors
/// If the user may not, `daemon.json` is not valid, or the engine does not take the change.
pub async fn allow_swarm(session: &Session, engine: &Engine) -> Result<()> {
    if !is_on(engine).await? {
        return Ok(());
    }
    let facts = Facts::gather(session).await?;
    let prefix = facts.prefix(session)?;
    let mark = format!("mkdir -p -m 700 /var/lib/berth && : >{MARK}");
    root(session, prefix, "noting the engine's settings", &mark).await?;
    change(session, &facts, prefix, false).await?;
    let until = Instant::now() + READING;
    let mut pause = Duration::from_millis(50);
    // The engine does not tell when it has read its settings.
    while is_on(engine).await? {
        if Instant::now() + pause >= until {
            return Err(Error::Unhealthy {
                host: session.host().to_owned(),
                detail: format!(
                    "its engine goes on with {KEY}, with which there is no swarm: is it started with --{KEY}?"
                ),
            });
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
    Ok(())
}

/// Turns `live-restore` on again for an engine that has left its swarm, if [`allow_swarm`] turned it off.
///
/// # Errors
/// As [`allow_swarm`].
pub async fn end_swarm(session: &Session) -> Result<()> {
    let facts = Facts::gather(session).await?;
    let prefix = facts.prefix(session)?;
    let marked = format!("{prefix}test -e {MARK}");
    if !session.exec(&marked).await?.success() {
        return Ok(());
    }
    change(session, &facts, prefix, true).await?;
    root(session, prefix, "clearing a note", &format!("rm -f {MARK}")).await
}

async fn is_on(engine: &Engine) -> Result<bool> {
    let info: Info = engine.get("/info").await?;
    Ok(info.live_restore_enabled)
}

async fn change(session: &Session, facts: &Facts, prefix: &str, on: bool) -> Result<()> {
    let invalid = |detail: String| Error::InvalidConfig {
        host: session.host().to_owned(),
        path: DAEMON_JSON,
        line: 0,
        column: 0,
        detail,
        excerpt: String::new(),
    };
    let text = with(facts.daemon_json.as_deref().unwrap_or_default(), on).map_err(invalid)?;
    session
        .write_file_as(prefix, DAEMON_JSON, &text, 0o644)
        .await?;
    let Some(init) = facts.init else {
        return Err(Error::Lacking {
            host: session.host().to_owned(),
            what: "systemd or OpenRC",
            detail: "berth has engines read their settings again by their services".into(),
        });
    };
    root(
        session,
        prefix,
        "having the engine read its settings",
        init.reload_script(),
    )
    .await
}

/// The settings with `live-restore` said outright: an engine that reads them again keeps what they do not mention.
fn with(existing: &[u8], on: bool) -> Result<Vec<u8>, String> {
    let mut settings: Map<String, Value> = match existing.trim_ascii() {
        b"" => Map::new(),
        text => serde_json::from_slice(text).map_err(|error| error.to_string())?,
    };
    settings.insert(KEY.into(), json!(on));
    let mut text = format!("{:#}", Value::Object(settings)).into_bytes();
    text.push(b'\n');
    Ok(text)
}

async fn root(session: &Session, prefix: &str, what: &str, script: &str) -> Result<()> {
    let command = format!("{prefix}sh -c {}", quote(script));
    let output = session.exec(&command).await?;
    match output.success() {
        true => Ok(()),
        false => Err(Error::command(session.host(), what, &output)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_setting_changes_and_the_others_stay() {
        let with = |text: &str, on| String::from_utf8(with(text.as_bytes(), on).unwrap()).unwrap();
        assert_eq!(with("", false), "{\n  \"live-restore\": false\n}\n");
        assert_eq!(
            with(
                r#"{"bip": "10.0.0.1/24", "live-restore": true, "z": 1}"#,
                false
            ),
            "{\n  \"bip\": \"10.0.0.1/24\",\n  \"live-restore\": false,\n  \"z\": 1\n}\n"
        );
        assert!(super::with(b"[1]", true).is_err());
    }
}
