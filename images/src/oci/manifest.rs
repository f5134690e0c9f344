//! The manifest of an image, and what other manifests are.

use std::collections::HashMap;

use oci_spec::image::{Descriptor, ImageManifest, ImageManifestBuilder, MediaType};
use serde_json::Value;

use super::config::Config;
use super::{Problem, plain};
use crate::build::direct;
use crate::image::{DISK, INITRD};
use crate::{Digest, Error, Result};

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What a registry is asked for: other images too, so that it can be said what they are.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                                   application/vnd.docker.distribution.manifest.v2+json, \
                                   application/vnd.docker.distribution.manifest.list.v2+json";

/// Berth's kinds of things in a registry.
const ARTIFACT: &str = "application/vnd.berth.image.v1";
const CONFIG: &str = "application/vnd.berth.image.config.v1+json";

/// What containers' images have for a config.
const CONTAINERS: &[&str] = &[
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

const TITLE: &str = "org.opencontainers.image.title";
const CREATED: &str = "org.opencontainers.image.created";
const DESCRIPTION: &str = "org.opencontainers.image.description";

/// A blob that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    /// In bytes.
    pub(super) size: u64,
}

/// A manifest of berth's, as far as it is believed.
pub(super) struct Manifest {
    pub(super) config: Blob,
    /// In the order of [`Config::files`].
    pub(super) layers: Vec<Blob>,
}

/// What a file is, for whoever looks at the registry; berth itself goes by the config.
fn media_type(file: &str) -> &'static str {
    match file {
        DISK => "application/vnd.berth.image.disk.v1.qcow2+zstd",
        INITRD => "application/vnd.berth.image.initrd.v1+zstd",
        direct::UNPACKED | direct::PACKED => "application/vnd.berth.image.kernel.v1+zstd",
        _ => "application/vnd.berth.image.file.v1+zstd",
    }
}

/// The manifest's bytes: the same for the same image, whenever and wherever it is made.
pub(super) fn write(config: &Config, of: &Blob, layers: &[Blob]) -> Result<Vec<u8>> {
    let broken = |error: &dyn std::fmt::Display| Error::tool("oci-spec", error);
    let files = config.files().map(|(name, ..)| name).zip(layers);
    let layers = files.map(|(name, blob)| {
        let mut layer = descriptor(media_type(name), blob)?;
        layer.set_annotations(Some(HashMap::from([(TITLE.to_owned(), name.to_owned())])));
        Ok(layer)
    });
    let annotations = [(CREATED, &config.created), (DESCRIPTION, &config.os)];
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .artifact_type(MediaType::from(ARTIFACT))
        .config(descriptor(CONFIG, of)?)
        .layers(layers.collect::<Result<Vec<_>>>()?)
        .annotations(annotations.map(|(key, value)| (key.to_owned(), value.clone())))
        .build()
        .map_err(|error| broken(&error))?;
    // Its maps have no order of their own.
    let mut sorted = serde_json::to_value(&manifest).map_err(|error| broken(&error))?;
    sorted.sort_all_objects();
    serde_json::to_vec(&sorted).map_err(|error| broken(&error))
}

fn descriptor(media_type: &str, blob: &Blob) -> Result<Descriptor> {
    let digest = blob.digest.to_string();
    let digest: oci_spec::image::Digest = digest
        .parse()
        .map_err(|error| Error::tool("oci-spec", error))?;
    Ok(Descriptor::new(
        MediaType::from(media_type),
        blob.size,
        digest,
    ))
}

/// Reads a manifest, if it is one of berth's.
pub(super) fn read(bytes: &[u8]) -> Result<Manifest, Problem> {
    let json: Value = serde_json::from_slice(bytes)
        .map_err(|_| Problem::Answer("sends something else than a manifest".into()))?;
    if let Some(what) = other(&json) {
        return Err(Problem::NotBerths(what));
    }
    let broken = |why: &str| Problem::Wrong(format!("its manifest is broken: {why}"));
    let manifest: ImageManifest =
        serde_json::from_value(json).map_err(|error| broken(&plain(&error.to_string())))?;
    let blob = |descriptor: &Descriptor| -> Result<Blob, Problem> {
        let digest = Digest::try_from(descriptor.digest().to_string());
        Ok(Blob {
            digest: digest.map_err(|_| broken("it names a blob by another digest than sha256"))?,
            size: descriptor.size(),
        })
    };
    let layers: Result<Vec<Blob>, Problem> = manifest.layers().iter().map(blob).collect();
    Ok(Manifest {
        config: blob(manifest.config())?,
        layers: layers?,
    })
}

/// What a manifest is, if it is not berth's.
fn other(json: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, artifact) = (text(&json["mediaType"]), text(&json["artifactType"]));
    let config = text(&json["config"]["mediaType"]);
    if artifact == ARTIFACT && config == CONFIG {
        return None;
    }
    if kind == INDEX || kind == DOCKER_LIST || json["manifests"].is_array() {
        return Some("a list of images for several kinds of computers".into());
    }
    if kind == DOCKER_MANIFEST || (artifact.is_empty() && CONTAINERS.contains(&config.as_str())) {
        return Some("a container image, for `docker run` in a machine".into());
    }
    let kind = [artifact, config].into_iter().find(|kind| !kind.is_empty());
    Some(match kind {
        Some(kind) => format!("an artifact of the type {}", plain(&kind)),
        None => "an artifact of no type".into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn others_are_told_by_what_they_are() {
        let told = |json: Value| match read(&serde_json::to_vec(&json).unwrap()) {
            Ok(_) => "berth's".into(),
            Err(problem) => problem.to_string(),
        };
        let container = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": CONTAINERS[0]}});
        assert!(told(container).contains("a container image"));
        assert!(told(json!({"mediaType": DOCKER_MANIFEST})).contains("a container image"));
        assert!(told(json!({"manifests": []})).contains("several kinds of computers"));
        let chart =
            json!({"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json\u{1b}"}});
        assert!(told(chart).contains("the type application/vnd.cncf.helm.config.v1+json,"));
        assert!(told(json!([])).contains("no type"));
        let half = json!({"artifactType": ARTIFACT, "config": {"mediaType": CONFIG}});
        assert!(told(half).contains("broken"));
    }
}
