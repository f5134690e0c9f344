//! Small images, as a store has them and as a registry does: made here by hand, so that berth agrees with something.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::http::{Answer, Request, sha256};
use crate::support::World;

/// What an image is made of.
#[derive(Clone)]
pub struct Parts {
    pub files: BTreeMap<&'static str, Vec<u8>>,
    pub cmdline: &'static str,
    pub arch: &'static str,
    pub virtual_size: u64,
}

/// An image in a registry.
#[derive(Clone)]
pub struct Artifact {
    pub config: Value,
    pub manifest: Value,
    /// By digest, with `sha256:`.
    pub blobs: BTreeMap<String, Vec<u8>>,
}

impl Parts {
    /// An empty disk, a kernel that cannot be packed any smaller, and an initrd that can.
    pub fn of(world: &World) -> Parts {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let kernel = std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u8
        });
        let files = [
            ("disk.qcow2", fs::read(world.path("tiny.qcow2")).unwrap()),
            ("initrd", vec![0; 3 << 20]),
            ("vmlinuz", kernel.take(1 << 20).collect()),
        ];
        Parts {
            files: files.into(),
            cmdline: "root=PARTLABEL=berth-root rw quiet",
            arch: "x86_64",
            virtual_size: 8 << 20,
        }
    }

    /// What the store's digest is of.
    fn content(&self) -> Value {
        let files = self.files.iter();
        let files: serde_json::Map<String, Value> = files
            .map(|(name, bytes)| (name.to_string(), digest(bytes).into()))
            .collect();
        json!({
            "version": 1, "arch": self.arch, "format": "qcow2", "virtual_size": self.virtual_size,
            "cmdline": self.cmdline, "files": files,
        })
    }

    /// The store's digest.
    pub fn digest(&self) -> String {
        digest(&serde_json::to_vec(&self.content()).unwrap())
    }

    /// Puts it into the world's store under a name, as if it had been built there.
    pub fn store(&self, world: &World, name: &str) {
        let folder = world.path("images");
        let own = folder.join(self.digest().replace(':', "-"));
        for folder in [&own, &folder.join("refs")] {
            fs::create_dir_all(folder).unwrap();
        }
        for (name, bytes) in &self.files {
            fs::write(own.join(name), bytes).unwrap();
        }
        let mut description = json!({
            "created": "2026-11-22T06:10:29.048204456Z", "os": "Debian 13.7", "recipe": "web",
            "recipe_hash": digest(b"recipe"),
            "engine": {"kind": "docker", "unit": "docker.service", "package": "docker.io", "version": "26.1.5"},
        });
        description["content"] = self.content();
        fs::write(
            own.join("image.toml"),
            toml::to_string(&description).unwrap(),
        )
        .unwrap();
        fs::write(folder.join("refs").join(name), self.digest()).unwrap();
    }

    /// As `berth image push` makes it, but packed by the program zstd.
    pub fn artifact(&self) -> Artifact {
        let sizes = self.files.iter().map(|(name, bytes)| (*name, bytes.len()));
        let config = json!({
            "version": 1, "digest": self.digest(), "content": self.content(),
            "sizes": sizes.collect::<BTreeMap<_, _>>(),
            "created": "2026-11-22T06:10:29Z", "os": "Debian 13.7", "recipe": "web",
        });
        let mut artifact = Artifact {
            config,
            manifest: json!({
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/vnd.berth.image.v1", "layers": [],
            }),
            blobs: BTreeMap::new(),
        };
        for bytes in self.files.values() {
            let layer = artifact.add("application/vnd.berth.image.file.v1+zstd", &zstd(bytes));
            artifact.manifest["layers"]
                .as_array_mut()
                .unwrap()
                .push(layer);
        }
        artifact.seal();
        artifact
    }
}

impl Artifact {
    /// Adds a blob, and returns its descriptor.
    pub fn add(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        self.blobs.insert(digest(bytes), bytes.to_vec());
        json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
    }

    /// Makes the manifest name the config as it is now.
    pub fn seal(&mut self) {
        let bytes = serde_json::to_vec(&self.config).unwrap();
        self.manifest["config"] = self.add("application/vnd.berth.image.config.v1+json", &bytes);
    }

    pub fn manifest_digest(&self) -> String {
        digest(&serde_json::to_vec(&self.manifest).unwrap())
    }

    /// The digest of a layer.
    pub fn layer(&self, index: usize) -> String {
        self.manifest["layers"][index]["digest"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// What a good registry answers, for a repository of any name.
    pub fn answer(&self, request: &Request) -> Answer {
        let (_, rest) = request.path.split_once("/v2/").unwrap();
        let place = rest.rsplit('/').take(2).collect::<Vec<_>>();
        match place[..] {
            [_, "manifests"] => Answer::bytes(&serde_json::to_vec(&self.manifest).unwrap()),
            [digest, "blobs"] => match self.blobs.get(digest) {
                Some(bytes) => Answer::file(request, bytes),
                None => Answer::status(404),
            },
            _ => Answer::status(404),
        }
    }
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

/// By the program.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("zstd")
        .args(["-q", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(bytes).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}
