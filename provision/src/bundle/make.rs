//! Making a bundle of what a machine's package manager offers.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use berth_driver_api::Progress;

use super::{Bundle, Contents, Listed, Manifest, manifest, refused, sha256};
use crate::context::Context;
use crate::family::{self, Source};
use crate::ssh::{Session, quote};
use crate::steps::{install, repository};
use crate::wanted::{Channel, Version, Wanted};
use crate::{Error, Result};

/// Has a machine download an engine's packages, with all that a machine without an engine lacks, and writes them into
/// the archive `to`, with a manifest. The machine's own engine is left as it is.
///
/// # Errors
/// [`Error::VersionNotOffered`], or whatever the machine says; [`Error::Io`] if `to` cannot be written.
pub async fn from_machine(
    session: &Session,
    wanted: &Wanted,
    to: &Path,
    progress: &dyn Progress,
) -> Result<Manifest> {
    let context = Context::look(session, wanted, progress).await?;
    progress.phase("Downloading packages in the machine");
    let folder = "/var/tmp/berth-packages";
    let script = script(&context, folder).await?;
    let downloaded = context.packages("downloading packages", &script).await;
    let made = match downloaded {
        Ok(_) => {
            progress.phase("Fetching the packages");
            fetch(&context, folder, to).await
        }
        Err(error) => Err(error),
    };
    let _ = context.root(&format!("rm -rf {folder}")).await;
    made
}

async fn script(context: &Context<'_>, folder: &str) -> Result<String> {
    let family = context.family;
    let kind = context.wanted.engine;
    let (source, repository) = match context.wanted.channel {
        Channel::Upstream => {
            let repository = repository::of(context)?;
            let key = repository::key(context, &repository).await?;
            (Source::Upstream, Some((repository, key)))
        }
        _ => (Source::Distro, None),
    };
    let elsewhere = repository
        .as_ref()
        .map(|(repository, key)| (repository, key.as_str()));
    let version = match &context.wanted.version {
        Version::Pinned(wanted) => {
            Some(install::offered(context, source, elsewhere, Some(wanted)).await?)
        }
        _ => None,
    };
    let download = family.download_script(kind, source, version.as_deref(), elsewhere, folder);
    // What an earlier try left may be of another version.
    Ok(format!(
        "rm -rf {folder}; mkdir -m 0700 {folder} || exit; {download}"
    ))
}

/// Brings the machine's folder here as an archive, looks it through, and writes it with its manifest.
async fn fetch(context: &Context<'_>, remote: &str, to: &Path) -> Result<Manifest> {
    let beside = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let beside = beside.unwrap_or(Path::new("."));
    let work = tempfile::Builder::new()
        .prefix(".berth-bundle-")
        .tempdir_in(beside)
        .map_err(Error::io(beside))?;
    let fetched = work.path().join("fetched.tar");
    let file = tokio::fs::File::create(&fetched)
        .await
        .map_err(Error::io(&fetched))?;
    let prefix = context.facts.prefix(context.session)?;
    let command = format!("{prefix}tar -C {} -cf - .", quote(remote));
    let mut words = Vec::new();
    let status = context
        .session
        .exec_streams(&command, tokio::io::empty(), Bounded::new(file), &mut words)
        .await?;
    if status != 0 {
        return Err(Error::Command {
            host: context.session.host().to_owned(),
            what: "fetching the packages".into(),
            status,
            words: berth_driver_api::process::last_lines(&words, 4),
        });
    }
    let (family, arch, kind) = (
        context.family,
        context.facts.arch.clone(),
        context.wanted.engine,
    );
    let distro = family::distro(&context.facts.os);
    let host = context.session.host().to_owned();
    let to = to.to_owned();
    let written = tokio::task::spawn_blocking(move || -> Result<Manifest> {
        let bundle = Bundle::look(&fetched)?;
        bundle.check(&host, family, &arch, kind, &Version::Any)?;
        let Contents::Packages(packages) = &bundle.contents else {
            return Err(refused(&fetched, "it is not of packages"));
        };
        let mut listed = Vec::new();
        for package in packages {
            let path = bundle.folder.join(&package.file);
            listed.push(Listed {
                file: package.file.clone(),
                package: package.package.clone(),
                version: package.version.clone(),
                size: fs::metadata(&path).map_err(Error::io(&path))?.len(),
                sha256: sha256(&path).map_err(Error::io(&path))?,
            });
        }
        let manifest = Manifest {
            bundle: 1,
            engine: kind,
            family: family.name().to_owned(),
            distro,
            arch,
            packages: listed,
        };
        let draft = work.path().join("bundle.tar");
        write(&draft, &bundle.folder, &manifest).map_err(Error::io(&to))?;
        fs::rename(&draft, &to).map_err(Error::io(&to))?;
        Ok(manifest)
    });
    written
        .await
        .map_err(|error| Error::io("(writing a bundle)")(io::Error::other(error)))?
}

/// Writes the archive; the same packages make the same bytes.
fn write(draft: &Path, folder: &Path, manifest: &Manifest) -> io::Result<()> {
    let mut tar = tar::Builder::new(File::create(draft)?);
    let header = |size: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header
    };
    let text = serde_json::to_vec_pretty(manifest).map_err(io::Error::other)?;
    tar.append_data(&mut header(text.len() as u64), manifest::FILE, &*text)?;
    for listed in &manifest.packages {
        let file = File::open(folder.join(&listed.file))?;
        tar.append_data(&mut header(listed.size), &listed.file, file)?;
    }
    let mut file = tar.into_inner()?;
    file.flush()?;
    file.sync_all()
}

/// A file that refuses to grow beyond the size of any bundle.
struct Bounded {
    file: tokio::fs::File,
    left: u64,
}

impl Bounded {
    fn new(file: tokio::fs::File) -> Self {
        Bounded {
            file,
            left: super::SIZE_LIMIT,
        }
    }
}

impl tokio::io::AsyncWrite for Bounded {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        if self.left < bytes.len() as u64 {
            return std::task::Poll::Ready(Err(io::Error::other("it is larger than any bundle")));
        }
        let written = std::pin::Pin::new(&mut self.file).poll_write(cx, bytes);
        if let std::task::Poll::Ready(Ok(count)) = written {
            self.left -= count as u64;
        }
        written
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.file).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.file).poll_shutdown(cx)
    }
}
