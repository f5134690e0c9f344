//! What `docker login` and `podman login` keep: in docker's `config.json` or podman's `auth.json` itself, or in a helper
//! program that the file names.
//!
//! As the docker CLI does it: a registry's own helper (`credHelpers`), else the helper for all (`credsStore`), else the
//! file's `auths`. Helpers speak the protocol of github.com/docker/docker-credential-helpers. Podman's file may have
//! entries for a part of a registry's repositories, of which the longest counts (containers-auth.json(5)).

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_driver_api::process;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use super::{Address, Problem, plain};

/// Docker's settings are a few kilobytes.
const LARGEST: u64 = 1 << 20;

/// A helper may ask its user to unlock a keyring.
const HELPER: Duration = Duration::from_secs(60);

/// What helpers say of a registry that they know nothing of.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// What stands for the user's name beside an identity token.
const TOKEN_USER: &str = "<token>";

/// Who asks. Never shown, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// A name and a password.
    Password { user: String, password: String },
    /// A token that others are had for (OAuth2's refresh token).
    Identity(String),
    /// A token that the registry takes as it is.
    Bearer(String),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    auths: HashMap<String, Entry>,
    #[serde(rename = "credsStore")]
    store: String,
    #[serde(rename = "credHelpers")]
    helpers: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    /// `USER:PASSWORD` in base64.
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// What a helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// The credentials for the repository of `address`, of the first of the files that has some; `None` if none has.
///
/// # Errors
/// [`Problem::Credentials`] if a file cannot be read, or a helper fails.
pub(super) async fn find(
    files: &[PathBuf],
    address: &Address,
) -> Result<Option<Credentials>, Problem> {
    for file in files {
        let found = find_in(file, address).await;
        let found = found.map_err(|detail| Problem::Credentials {
            registry: address.registry().to_owned(),
            detail,
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

async fn find_in(path: &Path, address: &Address) -> Result<Option<Credentials>, String> {
    let about_file = |why: String| format!("{}: {why}", path.display());
    let Some(config) = read(path).map_err(about_file)? else {
        return Ok(None);
    };
    let key = address.credentials_key();
    let own = config.helpers.get(key).map(String::as_str);
    let helper = own.or_else(|| Some(config.store.as_str()).filter(|name| !name.is_empty()));
    if let Some(helper) = helper
        && let Some(found) = ask(helper, key).await?
    {
        return Ok(Some(found));
    }
    let auths = &config.auths;
    let nearest = parts(address).find_map(|part| auths.get(&part));
    let alike = || auths.iter().find(|(name, _)| host(name) == host(key));
    let entry = nearest
        .or_else(|| auths.get(key))
        .or_else(|| alike().map(|(_, entry)| entry));
    match entry {
        Some(entry) => of_entry(entry).map_err(about_file),
        None => Ok(None),
    }
}

/// What podman may have filed credentials under: the repository, what it lies in, at last the registry.
fn parts(address: &Address) -> impl Iterator<Item = String> {
    let whole = format!("{}/{}", address.registry(), address.repository());
    std::iter::successors(Some(whole), |part| {
        part.rsplit_once('/').map(|(shorter, _)| shorter.to_owned())
    })
}

fn read(path: &Path) -> Result<Option<Config>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = Vec::new();
    let read = file.take(LARGEST).read_to_end(&mut text);
    read.map_err(|error| error.to_string())?;
    // What the parser says could repeat a password.
    let wrong = |error: serde_json::Error| format!("it is broken at line {}", error.line());
    serde_json::from_slice(&text).map(Some).map_err(wrong)
}

fn of_entry(entry: &Entry) -> Result<Option<Credentials>, String> {
    if !entry.registrytoken.is_empty() {
        return Ok(Some(Credentials::Bearer(entry.registrytoken.clone())));
    }
    if !entry.identitytoken.is_empty() {
        return Ok(Some(Credentials::Identity(entry.identitytoken.clone())));
    }
    let (user, password) = match entry.auth.is_empty() {
        true => (entry.username.clone(), entry.password.clone()),
        false => decode(&entry.auth).ok_or("an entry's auth is not USER:PASSWORD in base64")?,
    };
    let empty = user.is_empty() && password.is_empty();
    Ok((!empty).then_some(Credentials::Password { user, password }))
}

fn decode(auth: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// The host that a key is for as a whole: older dockers wrote addresses, of which the path is the API's version.
fn host(key: &str) -> Option<&str> {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    match bare.split_once('/') {
        None => Some(bare),
        Some((host, path)) => matches!(path.trim_matches('/'), "" | "v1" | "v2").then_some(host),
    }
}

/// Asks a helper. The registry's name goes to its standard input, the secret comes from its output.
async fn ask(helper: &str, key: &str) -> Result<Option<Credentials>, String> {
    let plain_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !helper.chars().all(plain_name) {
        return Err("the name of its helper is not a program's".into());
    }
    let name = format!("docker-credential-{helper}");
    let mut command = process::command(&name).map_err(|error| error.to_string())?;
    command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let work = async {
        let mut child = command.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // A helper that does not read its input says why in its output.
            let _ = input.write_all(key.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(HELPER, work).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("{name}: {error}")),
        Err(_) => return Err(format!("{name} gave no answer in {} s", HELPER.as_secs())),
    };
    if !output.status.success() {
        // Of what fails, helpers print the reason where they print the secret of what succeeds.
        let words = String::from_utf8_lossy(&output.stdout);
        return match words.contains(NOT_FOUND) {
            true => Ok(None),
            false => Err(format!("{name}: {}", plain(&words))),
        };
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("{name} printed something else than credentials"))?;
    Ok(Some(match answer.username.as_str() {
        TOKEN_USER => Credentials::Identity(answer.secret),
        _ => Credentials::Password {
            user: answer.username,
            password: answer.secret,
        },
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn of(config: &str, registry: &str) -> Result<Option<Credentials>, Problem> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), config).unwrap();
        let files = [
            folder.path().join("none"),
            folder.path().join("config.json"),
        ];
        find(&files, &format!("{registry}/acme/web").parse().unwrap()).await
    }

    fn known(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password {
            user: user.into(),
            password: password.into(),
        })
    }

    #[tokio::test]
    async fn what_docker_login_wrote_is_read() {
        let config = r#"{"auths": {
            "ghcr.io": {"auth": "bWU6c2VjOnJldA=="},
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
            "https://old.example/v1/": {"username": "a", "password": "b"},
            "azure.example": {"auth": "MDA6", "identitytoken": "t"},
            "empty.example": {}
        }}"#;
        let found = |registry| async move { of(config, registry).await.ok().flatten() };
        assert!(found("ghcr.io").await == known("me", "sec:ret"));
        assert!(found("docker.io").await == known("hub", "pw"));
        assert!(found("old.example").await == known("a", "b"));
        assert!(found("azure.example").await == Some(Credentials::Identity("t".into())));
        for registry in ["empty.example", "else.example", "ghcr.io:5000"] {
            assert!(found(registry).await.is_none(), "{registry}");
        }
    }

    #[tokio::test]
    async fn what_podman_login_wrote_is_read_and_the_nearest_counts() {
        let config = r#"{"auths": {
            "ghcr.io": {"auth": "YWxsOnB3"},
            "ghcr.io/acme": {"auth": "YWNtZTpwdw=="},
            "quay.io/else": {"auth": "ZWxzZTpwdw=="},
            "docker.io": {"auth": "aHViOnB3"}
        }}"#;
        let found = |registry| async move { of(config, registry).await.ok().flatten() };
        assert!(found("ghcr.io").await == known("acme", "pw"));
        assert!(found("ghcr.io/acme").await == known("acme", "pw"));
        assert!(found("ghcr.io/other").await == known("all", "pw"));
        assert!(found("docker.io").await == known("hub", "pw"));
        assert!(found("quay.io").await.is_none());
    }

    #[tokio::test]
    async fn what_is_broken_is_said_without_its_secrets() {
        for (config, words) in [
            (
                r#"{"auths": {"ghcr.io": {"auth": ["s3cret"]}}}"#,
                "broken at line 1",
            ),
            (
                r#"{"auths": {"ghcr.io": {"auth": "s3cret!"}}}"#,
                "not USER:PASSWORD",
            ),
            (r#"{"credsStore": "../../bin/sh"}"#, "not a program's"),
            (
                r#"{"credHelpers": {"ghcr.io": "berth-has-none"}}"#,
                "not installed",
            ),
        ] {
            let told = of(config, "ghcr.io").await.err().unwrap().to_string();
            assert!(told.contains(words) && !told.contains("s3cret"), "{told}");
        }
    }
}
