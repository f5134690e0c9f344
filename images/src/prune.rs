//! Removing what nothing leads to any more.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::{Digest, Image, Result, Store, fetch};

/// An image that was just made or used may be on its way into a machine whose record is not written yet.
const FRESH: Duration = Duration::from_secs(60 * 60);

/// Something that is removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// What it is, for people.
    pub what: String,
    /// What it takes on this computer's disk, in bytes.
    pub size: u64,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Image(Digest),
    Download(PathBuf),
}

impl Pruned {
    /// The image's digest; `None` for a download that broke off.
    pub fn digest(&self) -> Option<&Digest> {
        match &self.kind {
            Kind::Image(digest) => Some(digest),
            Kind::Download(_) => None,
        }
    }
}

impl Store {
    /// What can go: images that have no name, because a later one has it or because they never had one, and that no
    /// machine was made of; and downloads that broke off. `in_use` tells which machines are made of an image.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn prunable(&self, in_use: &dyn Fn(&Digest) -> Vec<String>) -> Result<Vec<Pruned>> {
        let mut found = Vec::new();
        for image in self.list()? {
            if image.names.is_empty() && in_use(&image.digest).is_empty() && !is_fresh(&image) {
                found.push(Pruned {
                    what: image.os.clone(),
                    size: image.size_on_disk,
                    kind: Kind::Image(image.digest),
                });
            }
        }
        for (path, size) in fetch::old(&self.folder, Duration::ZERO)? {
            found.push(Pruned {
                what: "a download that broke off".into(),
                size,
                kind: Kind::Download(path),
            });
        }
        Ok(found)
    }

    /// Removes what [`Store::prunable`] found.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn prune(&self, doomed: &Pruned) -> Result<()> {
        match &doomed.kind {
            Kind::Image(digest) => self.discard(digest),
            Kind::Download(path) => fetch::discard(&self.folder, path),
        }
    }
}

fn is_fresh(image: &Image) -> bool {
    let now = SystemTime::now();
    [Some(&image.created), image.used.as_ref()]
        .into_iter()
        .flatten()
        .filter_map(|at| at.parse::<jiff::Timestamp>().ok())
        .any(|at| {
            let age = now.duration_since(SystemTime::from(at));
            age.is_ok_and(|age| age < FRESH)
        })
}
