//! Whether a distributor signed a file, by `gpgv` and keys that berth brings.

use std::path::Path;

use berth_driver_api::process;

use crate::run::command;
use crate::{Error, Result};

/// Who has to have signed.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    /// The primary key's fingerprint.
    pub(crate) fingerprint: String,
    /// The key itself, as `gpg --export` writes it.
    pub(crate) keyring: Vec<u8>,
}

/// Checks the detached `signature` of `text`. Both are written to the folder `work`, which is the caller's own.
///
/// # Errors
/// [`Error::Unsigned`] if it is not the signer's, [`Error::ToolMissing`] without gpgv.
pub(crate) async fn check_detached(
    signer: &Signer,
    text: &[u8],
    signature: &[u8],
    work: &Path,
) -> Result<()> {
    let (text_file, signature_file) = (work.join("signed"), work.join("signature"));
    std::fs::write(&text_file, text).map_err(Error::io(&text_file))?;
    std::fs::write(&signature_file, signature).map_err(Error::io(&signature_file))?;
    gpgv(signer, work, &[&signature_file, &text_file]).await
}

/// Checks a clear-signed `message`, and returns what was signed: text around it was not.
///
/// # Errors
/// As [`check_detached`].
pub(crate) async fn check_clear(signer: &Signer, message: &[u8], work: &Path) -> Result<Vec<u8>> {
    let (file, signed) = (work.join("message"), work.join("signed"));
    std::fs::write(&file, message).map_err(Error::io(&file))?;
    gpgv(
        signer,
        work,
        &[Path::new("--output"), &signed, Path::new("--"), &file],
    )
    .await?;
    std::fs::read(&signed).map_err(Error::io(&signed))
}

async fn gpgv(signer: &Signer, work: &Path, arguments: &[&Path]) -> Result<()> {
    let keyring = work.join("keyring.gpg");
    std::fs::write(&keyring, &signer.keyring).map_err(Error::io(&keyring))?;
    let mut gpgv = command("gpgv")?;
    gpgv.args(["--status-fd", "1", "--homedir"])
        .arg(work)
        .arg("--keyring")
        .arg(&keyring)
        .args(arguments);
    let status = match process::output(gpgv).await {
        Err(berth_driver_api::Error::Tool { detail, .. }) => {
            return Err(Error::Unsigned {
                fingerprint: signer.fingerprint.clone(),
                detail,
            });
        }
        output => output?,
    };
    // An expired key of the right fingerprint counts: distributors prolong theirs, and the fingerprint is what is pinned.
    match signed_by(&String::from_utf8_lossy(&status), &signer.fingerprint) {
        true => Ok(()),
        false => Err(Error::Unsigned {
            fingerprint: signer.fingerprint.clone(),
            detail: "another key signed it".into(),
        }),
    }
}

/// `VALIDSIG` ends with the primary key's fingerprint (GnuPG's `doc/DETAILS`).
fn signed_by(status: &str, fingerprint: &str) -> bool {
    status.lines().any(|line| {
        line.strip_prefix("[GNUPG:] VALIDSIG ")
            .and_then(|rest| rest.split_whitespace().last())
            == Some(fingerprint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pinned_primary_key_counts() {
        let status = "[GNUPG:] GOODSIG 0A someone\n\
                      [GNUPG:] VALIDSIG SUBKEY 2026-01-01 1 0 4 0 1 10 00 PRIMARY\n";
        assert!(signed_by(status, "PRIMARY"));
        assert!(!signed_by(status, "SUBKEY"));
        assert!(!signed_by("[GNUPG:] GOODSIG PRIMARY x\n", "PRIMARY"));
    }
}
