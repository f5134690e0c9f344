//! Cloud images, and disks at any address, into the store.

use std::path::{Path, PathBuf};

use berth_driver_api::Progress;
use reqwest::Url;

use crate::checksum::{Algorithm, find};
use crate::cloud::Signed;
use crate::fetch::{self, Client, Part, is_safe, shown};
use crate::image::Source;
use crate::import::About;
use crate::lock::{lock, try_lock};
use crate::signature::{check_clear, check_detached};
use crate::{Checksum, CloudImage, Digest, Error, HOST_ARCH, Image, Reference, Result, Store};

/// A disk to be downloaded.
struct Wanted {
    url: Url,
    /// What it has to be; `None` if it is taken as it comes.
    checksum: Option<Checksum>,
    /// What vouches for that, for people.
    verified: String,
}

impl Store {
    /// The cloud image as its distributor has it now: downloaded, checked against the distributor's checksum file and
    /// that one's signature, and stored under its name, and under `alias` if that is another one. What is stored already
    /// is not downloaded again. Addresses are tried in order. Of several callers, in any process, one downloads; the
    /// others wait and take what came.
    ///
    /// # Errors
    /// [`Error::NoSource`] with the reason of each address, or why it could not be stored.
    pub async fn pull(
        &self,
        cloud: &CloudImage,
        alias: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Image> {
        let reference = Reference::Name(cloud.name.clone());
        let (_lock, waited) = self.lock_download(&cloud.name, progress).await?;
        let came = match waited {
            true => self.get(&reference)?,
            false => None,
        };
        let digest = match came {
            Some(image) => image.digest,
            None => self.pull_from_any(cloud, progress).await?,
        };
        self.name(&cloud.name, &digest)?;
        let alias = alias.unwrap_or(&cloud.name);
        self.name(alias, &digest)?;
        let reference = Reference::Name(alias.to_owned());
        self.get(&reference)?
            .ok_or_else(|| self.unknown_here(&reference))
    }

    /// The disk at an address, which must have `digest` if one is given. Without one it is taken as it came the first
    /// time, if nobody on the way could change it; `anew` asks for what is there now. Of several callers, in any
    /// process, one downloads; the others wait and take what came.
    ///
    /// # Errors
    /// [`Error::Unvouched`] for plain HTTP without a digest, [`Error::Mismatch`], [`Error::Download`], and those of
    /// [`Store::import`].
    pub async fn fetch(
        &self,
        url: &str,
        digest: Option<&Checksum>,
        anew: bool,
        progress: &dyn Progress,
    ) -> Result<Image> {
        let url = fetch::parse(url)?;
        let named = shown(&url);
        if digest.is_none() && !is_safe(&url) {
            return Err(Error::Unvouched { url: named });
        }
        let stored = || self.from(&named, digest);
        if !(anew && digest.is_none())
            && let Some(image) = stored()?
        {
            return Ok(image);
        }
        let (_lock, waited) = self.lock_download(&named, progress).await?;
        if waited && let Some(image) = stored()? {
            return Ok(image);
        }
        let wanted = Wanted {
            verified: match digest {
                Some(_) => "the digest that the user gave".into(),
                None => "nothing: taken as it came".into(),
            },
            checksum: digest.cloned(),
            url,
        };
        let file_name = named.rsplit('/').next().unwrap_or_default();
        let os = format!("downloaded as {file_name}");
        let digest = self.download(&wanted, os, "root", progress).await?;
        let mut image = self
            .get(&Reference::Digest(digest.clone()))?
            .ok_or_else(|| self.unknown_here(&Reference::Digest(digest)))?;
        image.reference = named.clone();
        if wanted.checksum.is_none()
            && let Some(source) = &image.source
        {
            progress.note(&format!(
                "{named} was taken as it came: --digest {} insists on the same file elsewhere",
                source.checksum
            ));
        }
        Ok(image)
    }

    /// The newest image that was downloaded from `url`, or by `digest` from anywhere.
    fn from(&self, url: &str, digest: Option<&Checksum>) -> Result<Option<Image>> {
        let fits = |source: &Source| match digest {
            Some(digest) => source.checksum == *digest,
            None => source.url == url,
        };
        let stored = self.list()?.into_iter();
        let newest = stored
            .filter(|image| image.source.as_ref().is_some_and(fits))
            .max_by(|a, b| a.created.cmp(&b.created));
        Ok(newest.map(|mut image| {
            image.reference = url.to_owned();
            image
        }))
    }

    /// The lock of a download, and whether somebody else had it.
    pub(crate) async fn lock_download(
        &self,
        what: &str,
        progress: &dyn Progress,
    ) -> Result<(crate::lock::Lock, bool)> {
        let name = format!("pull-{}", Digest::of(what.as_bytes()).hex());
        let path = self.folder.join("locks").join(name);
        match try_lock(&path)? {
            Some(lock) => Ok((lock, false)),
            None => {
                progress.phase("Waiting for another berth that downloads the same image");
                Ok((lock(&path).await?, true))
            }
        }
    }

    async fn pull_from_any(&self, cloud: &CloudImage, progress: &dyn Progress) -> Result<Digest> {
        let client = Client::new()?;
        let mut reasons = Vec::new();
        for url in cloud.urls(HOST_ARCH)? {
            let attempt = async {
                let wanted = self.look_up(&client, cloud, url, progress).await?;
                if let Some(image) = self.from(&shown(&wanted.url), wanted.checksum.as_ref())? {
                    return Ok(image.digest);
                }
                self.download(&wanted, cloud.os.clone(), &cloud.user, progress)
                    .await
            };
            match attempt.await {
                Ok(digest) => return Ok(digest),
                // What is wrong here is not the address's fault.
                Err(
                    error @ (Error::DiskFull { .. } | Error::Io { .. } | Error::ToolMissing { .. }),
                ) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::debug!("{url}: {error}");
                    reasons.push((url.clone(), error));
                }
            }
        }
        Err(Error::NoSource {
            reference: cloud.name.clone(),
            reasons,
        })
    }

    /// Reads the distributor's checksum file beside the disk at `url`, and believes it if it is signed, or if nobody on
    /// the way could change it where the distributor signs none.
    async fn look_up(
        &self,
        client: &Client,
        cloud: &CloudImage,
        url: &str,
        progress: &dyn Progress,
    ) -> Result<Wanted> {
        progress.phase("Reading the distributor's checksums");
        let url = fetch::parse(url)?;
        let file = url.path().rsplit('/').next().unwrap_or_default().to_owned();
        let beside = |name: &str| {
            url.join(name).map_err(|error| Error::Download {
                url: shown(&url),
                detail: error.to_string(),
            })
        };
        let list = beside(&cloud.checksums(&file, HOST_ARCH))?;
        let (mut text, came_from) = client.text(&list).await?;
        let verified = match cloud.signed(&file, HOST_ARCH) {
            Signed::No if is_safe(&list) && is_safe(&came_from) => {
                format!("{} over {}", name_of(&list), came_from.scheme())
            }
            Signed::No => {
                return Err(Error::Unvouched {
                    url: shown(&came_from),
                });
            }
            Signed::Inline(signer) => {
                let workspace = self.workspace().await?;
                text = check_clear(&signer, &text, &workspace.folder("work")?).await?;
                format!("{} signed by {}", name_of(&list), signer.fingerprint)
            }
            Signed::Detached(signer, name) => {
                let (signature, _) = client.text(&beside(&name)?).await?;
                let workspace = self.workspace().await?;
                check_detached(&signer, &text, &signature, &workspace.folder("work")?).await?;
                format!("{} signed by {}", name_of(&list), signer.fingerprint)
            }
        };
        let found = find(&String::from_utf8_lossy(&text), &file);
        let (file, checksum) = found.map_err(|detail| Error::Checksums {
            url: shown(&list),
            detail,
        })?;
        // The newest version's name is known to where the list came from: `latest` may have led there.
        let url = match url.path().contains('*') {
            true => came_from.join(&file).map_err(|error| Error::Download {
                url: shown(&came_from),
                detail: error.to_string(),
            })?,
            false => url,
        };
        Ok(Wanted {
            url,
            checksum: Some(checksum),
            verified,
        })
    }

    async fn download(
        &self,
        wanted: &Wanted,
        os: String,
        user: &str,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        fetch::clear_old(&self.folder)?;
        let mut part = Part::of(&self.folder, &wanted.url).await?;
        let checksum = receive(wanted, &mut part, progress).await?;
        let workspace = self.workspace().await?;
        // Out of the place where downloads are continued: it is whole, or it is wrong.
        let disk = part.take(&workspace.folder("work")?)?;
        let about = About {
            named: PathBuf::from(shown(&wanted.url)),
            os,
            user: user.to_owned(),
            source: Some(Source {
                url: shown(&wanted.url),
                checksum,
                verified: wanted.verified.clone(),
            }),
        };
        self.take(&workspace, &disk, about, progress).await
    }
}

/// Downloads until the file is what it has to be. A file that was continued may have been another one when it was begun:
/// it is given one more try.
async fn receive(wanted: &Wanted, part: &mut Part, progress: &dyn Progress) -> Result<Checksum> {
    let client = Client::new()?;
    let expected = wanted.checksum.as_ref();
    let algorithm = expected.map_or(Algorithm::Sha256, Checksum::algorithm);
    loop {
        progress.phase("Downloading the image");
        let continued = part.begun();
        let found = client.file(&wanted.url, part, algorithm, progress).await?;
        match expected {
            Some(expected) if *expected != found => {
                part.forget()?;
                if !continued {
                    return Err(Error::Mismatch {
                        what: shown(&wanted.url),
                        expected: expected.clone(),
                        found,
                    });
                }
            }
            _ => return Ok(found),
        }
    }
}

fn name_of(url: &Url) -> &str {
    let path = Path::new(url.path()).file_name();
    path.and_then(|name| name.to_str()).unwrap_or_default()
}
