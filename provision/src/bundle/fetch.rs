//! Fetching a bundle that someone else made.

use std::path::Path;
use std::process::Stdio;

use berth_driver_api::Progress;
use berth_driver_api::process::last_lines;
use tokio::process::Command;

use super::{Bundle, SIZE_LIMIT, refused, sha256};
use crate::{Error, Result};

/// Fetches the archive at an `http` or `https` address into the file `to`, if it has this SHA-256 (hexadecimal digits,
/// `sha256:` before them or not) and is a bundle. The archive has the name that the address has, which tells a static
/// release's version.
///
/// # Errors
/// [`Error::Word`] if the digest is none; [`Error::Fetch`]; [`Error::Bundle`] if it is not the one of the digest, or
/// no bundle; [`Error::Io`].
pub async fn from_url(url: &str, digest: &str, to: &Path, progress: &dyn Progress) -> Result<()> {
    let wanted = digest.strip_prefix("sha256:").unwrap_or(digest);
    let wanted = wanted.to_ascii_lowercase();
    if wanted.len() != 64 || !wanted.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(Error::Word {
            what: "a digest",
            word: digest.chars().take(100).collect(),
            known: "sha256: and 64 hexadecimal digits",
        });
    }
    let beside = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let beside = beside.unwrap_or(Path::new("."));
    let work = tempfile::Builder::new()
        .prefix(".berth-bundle-")
        .tempdir_in(beside)
        .map_err(Error::io(beside))?;
    let name = url.rsplit('/').next().unwrap_or_default();
    let name = super::plain_name(name.as_ref()).unwrap_or("bundle");
    let draft = work.path().join(name);
    progress.phase("Fetching the bundle");
    curl(url, &draft).await?;
    let (hashed, path) = (draft.clone(), draft.clone());
    let found = tokio::task::spawn_blocking(move || sha256(&hashed)).await;
    let found = found
        .map_err(std::io::Error::other)
        .and_then(|found| found)
        .map_err(Error::io(&path))?;
    if found != wanted {
        return Err(refused(
            Path::new(url),
            &format!("its digest is sha256:{found}, and sha256:{wanted} is wanted"),
        ));
    }
    Bundle::open(&draft).await?;
    tokio::fs::rename(&draft, to).await.map_err(Error::io(to))
}

async fn curl(url: &str, to: &Path) -> Result<()> {
    let failed = |detail: String| Error::Fetch {
        url: url.chars().take(500).collect(),
        detail,
    };
    let output = Command::new("curl")
        .args(["-fsSL", "--proto", "=http,https", "--retry", "2"])
        .args([
            "--connect-timeout",
            "30",
            "--speed-limit",
            "1000",
            "--speed-time",
            "60",
        ])
        .args(["--max-filesize", &SIZE_LIMIT.to_string()])
        .arg("--output")
        .arg(to)
        .arg("--")
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                failed("the program curl, which fetches it, is not installed here".into())
            }
            _ => failed(error.to_string()),
        })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(last_lines(&output.stderr, 3))),
    }
}
