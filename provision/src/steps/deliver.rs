//! Bringing a bundle's files into the machine.

use std::path::Path;

use super::Context;
use crate::bundle::Bundle;
use crate::family::{self, is_version};
use crate::wanted::{Channel, Version};
use crate::{Error, Result};

/// Sends the bundle's files into a new folder of the machine, and returns its path. [`remove`] takes it away.
pub(super) async fn send(context: &Context<'_>, bundle: &Bundle) -> Result<String> {
    let os = &context.facts.os;
    let here = family::distro(os);
    if let Some(distro) = bundle.distro().filter(|distro| *distro != here) {
        context.progress.note(&format!(
            "the bundle's packages are of {distro}, and this is {here}"
        ));
    }
    let prefix = context.facts.prefix(context.session)?;
    let made = context
        .run_root(
            "making room for a bundle",
            "d=$(mktemp -d /var/tmp/berth-bundle.XXXXXX) && chmod 0755 \"$d\" && echo \"$d\"",
        )
        .await?;
    let folder = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/.-".contains(c);
    if !folder.starts_with("/var/tmp/berth-bundle.") || !folder.chars().all(plain) {
        return Err(Error::RemoteFile {
            host: context.session.host().to_owned(),
            path: "/var/tmp".into(),
            detail: "no folder could be made there".into(),
        });
    }
    let sent = async {
        for file in bundle.files(context.family) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let remote = format!("{folder}/{name}");
            context
                .session
                .send_file_as(prefix, &file, &remote, 0o644)
                .await?;
        }
        Ok(())
    };
    if let Err(error) = sent.await {
        remove(context, &folder).await;
        return Err(error);
    }
    Ok(folder)
}

/// Removes a folder that [`send`] made. What is left for want of a connection goes with the system's own cleaning.
pub(super) async fn remove(context: &Context<'_>, folder: &str) {
    let _ = context.root(&format!("rm -rf {folder}")).await;
}

/// The bundle's path, if it is needed now: an engine that is there and may stay does without.
pub(super) fn path<'a>(context: &'a Context<'_>) -> Option<&'a Path> {
    let Channel::Bundle(path) = &context.wanted.channel else {
        return None;
    };
    let wanted = context.wanted;
    let kept = match context.facts.engine(wanted.engine) {
        None => false,
        Some(package) => match &wanted.version {
            Version::Any | Version::Latest => true,
            Version::Pinned(version) => is_version(&package.version, version),
        },
    };
    (!kept || wanted.replace).then_some(path)
}
