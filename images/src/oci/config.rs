//! What is told of an image beside its files, in a form of JSON that is versioned: enough to store the very same image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Failed, Problem, plain};
use crate::build::direct;
use crate::image::{Content, DISK, INITRD};
use crate::{Digest, Engine, Error, HOST_ARCH, Image, Reference, Result, cloud};

/// The form that this berth writes and reads.
const VERSION: u32 = 1;

/// The files that a guest's image can have, and in bytes what none of them exceeds. No other name is ever used.
const FILES: &[(&str, u64)] = &[
    (DISK, 64 << 30),
    (INITRD, 1 << 30),
    (direct::UNPACKED, 1 << 30),
    (direct::PACKED, 1 << 30),
];

/// What a guest's kernel may be told by an image of somebody else's, as `NAME` or as the beginning of `NAME=VALUE`. A
/// kernel of User Mode Linux would take others as leave to open this computer's files.
const KERNEL_WORDS: &[&str] = &[
    "root=PARTLABEL=",
    "console=",
    "rw",
    "ro",
    "rootwait",
    "quiet",
    "loglevel=",
    "panic=",
    "systemd.",
    "lsm=",
    "security=",
    "apparmor=",
    "selinux=",
    "audit=",
    "cryptomgr.notests",
    "mitigations=",
    "cgroup_",
    "cgroup.",
    "swapaccount=",
    "ipv6.",
    "net.ifnames=",
    "nomodeset",
    "module_blacklist=",
];

/// The config blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) version: u32,
    /// What the store calls the image.
    pub(super) digest: Digest,
    pub(super) content: Content,
    /// Of each file, in bytes, as it is stored.
    pub(super) sizes: BTreeMap<String, u64>,
    /// When it was built or imported, RFC 3339.
    pub(super) created: String,
    /// The operating system, for people.
    pub(super) os: String,
    /// The recipe that it was built of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) recipe: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) engine: Option<Engine>,
    /// Whom cloud-init lets in, for an image that berth did not build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    /// Where whoever pushed it had downloaded it from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<String>,
}

/// Only this much of a form that may be a later one.
#[derive(Deserialize)]
struct Form {
    version: u32,
}

impl Config {
    /// That of a stored image.
    ///
    /// # Errors
    /// [`Error::WrongKind`] for a kernel, and what [`Config::read`] would refuse.
    pub(super) fn of(image: &Image) -> Result<Self, Failed> {
        image.boot_image()?;
        let content = image.content().clone();
        let mut sizes = BTreeMap::new();
        for name in content.files.keys() {
            let path = image.folder().join(name);
            let size = std::fs::metadata(&path).map_err(Error::io(&path))?.len();
            sizes.insert(name.clone(), size);
        }
        let pulled = image
            .pulled
            .as_ref()
            .and_then(|pulled| pulled.origin.clone());
        let config = Config {
            version: VERSION,
            digest: image.digest.clone(),
            content,
            sizes,
            created: image.created.clone(),
            os: image.os.clone(),
            recipe: image.recipe.clone(),
            engine: image.engine.clone(),
            user: image.user.clone(),
            origin: image
                .source
                .as_ref()
                .map(|source| source.url.clone())
                .or(pulled),
        };
        config.check().map_err(Problem::Unfit)?;
        Ok(config)
    }

    /// Reads what came from a registry, and believes nothing that could do harm.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let broken = |why: &str| Problem::Wrong(format!("its config is broken: {why}"));
        let form: Form = serde_json::from_slice(bytes).map_err(|_| broken("it has no version"))?;
        if form.version > VERSION {
            return Err(Problem::Later);
        }
        let config: Config =
            serde_json::from_slice(bytes).map_err(|error| broken(&plain(&error.to_string())))?;
        if config.content.arch != HOST_ARCH {
            return Err(Problem::Arch {
                is: plain(&config.content.arch),
            });
        }
        config.check().map_err(|why| broken(&why))?;
        Ok(config)
    }

    /// The files in the order of the manifest's layers: their names, digests, and sizes in bytes.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &Digest, u64)> {
        FILES.iter().filter_map(|(name, _)| {
            let digest = self.content.files.get(*name)?;
            Some((*name, digest, *self.sizes.get(*name)?))
        })
    }

    fn check(&self) -> Result<(), String> {
        let content = &self.content;
        if content.version != 1 || content.digest() != self.digest {
            return Err("it does not have the digest that it names".into());
        }
        let kernel = content.kernel.is_some() || content.format.is_none();
        if kernel || content.virtual_size.is_none() || !content.files.contains_key(DISK) {
            return Err("it has no guest's disk".into());
        }
        if !content.files.keys().eq(self.sizes.keys()) {
            return Err("its files and their sizes do not go together".into());
        }
        for (name, size) in &self.sizes {
            match FILES.iter().find(|(known, _)| known == name) {
                Some((_, most)) if size <= most => {}
                Some(_) => return Err(format!("its {name} is too large: {size} bytes")),
                None => return Err(format!("it has a file {:?}", plain(name))),
            }
        }
        for word in content
            .cmdline
            .iter()
            .flat_map(|line| line.split_whitespace())
        {
            if !is_known(word) {
                return Err(format!("its kernel is to be told {:?}", plain(word)));
            }
        }
        self.check_words()
    }

    /// What is shown, or used in a guest.
    fn check_words(&self) -> Result<(), String> {
        let short = |text: &str| text.len() <= 128 && !text.chars().any(char::is_control);
        if !short(&self.os) {
            return Err("its os is no line of text".into());
        }
        if self.created.parse::<jiff::Timestamp>().is_err() {
            return Err("its created is no time".into());
        }
        let named = |name: &String| matches!(name.parse(), Ok(Reference::Name(_))) && short(name);
        if !self.recipe.iter().all(named) {
            return Err("its recipe is no name".into());
        }
        if !self.user.as_deref().is_none_or(cloud::is_user) {
            return Err("its user is no name".into());
        }
        let address = |text: &String| {
            crate::is_url(text) && text.len() <= 1024 && !text.chars().any(char::is_control)
        };
        if !self.origin.iter().all(address) {
            return Err("its origin is no address".into());
        }
        let word = |text: &String| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-+~:@".contains(&b);
            !text.is_empty() && text.len() <= 64 && text.bytes().all(plain)
        };
        let engine = self.engine.iter();
        let mut words = engine.flat_map(|engine| {
            let more = engine.package.iter().chain(&engine.version);
            [&engine.kind, &engine.unit].into_iter().chain(more)
        });
        match words.all(word) {
            true => Ok(()),
            false => Err("its engine is no engine".into()),
        }
    }
}

fn is_known(word: &str) -> bool {
    KERNEL_WORDS
        .iter()
        .any(|known| match known.ends_with(['=', '.', '_']) {
            true => word.starts_with(known),
            false => word == *known,
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config() -> Config {
        let content = Content {
            version: 1,
            arch: HOST_ARCH.into(),
            format: Some(berth_driver_api::DiskFormat::Qcow2),
            virtual_size: Some(8 << 20),
            cmdline: Some("root=PARTLABEL=berth-root rw systemd.gpt_auto=0".into()),
            kernel: None,
            files: [(DISK.to_owned(), Digest::of(b"disk"))].into(),
        };
        Config {
            version: VERSION,
            digest: content.digest(),
            content,
            sizes: [(DISK.to_owned(), 4)].into(),
            created: "2026-11-22T06:10:29Z".into(),
            os: "Debian 13.7".into(),
            recipe: Some("debian-13".into()),
            engine: None,
            user: None,
            origin: None,
        }
    }

    /// What is said of a config in which something is put in another's place; it has the digest that it should.
    fn told(path: &str, value: Value) -> String {
        let mut json = serde_json::to_value(config()).unwrap();
        *json.pointer_mut(path).unwrap() = value;
        if let Ok(content) = serde_json::from_value::<Content>(json["content"].clone()) {
            json["digest"] = content.digest().to_string().into();
        }
        match Config::read(&serde_json::to_vec(&json).unwrap()) {
            Ok(_) => "fine".into(),
            Err(problem) => problem.to_string(),
        }
    }

    #[test]
    fn a_config_comes_back_as_it_went() {
        assert_eq!(told("/os", json!("Debian 13.8")), "fine");
        let bytes = serde_json::to_vec(&config()).unwrap();
        let back = Config::read(&bytes).unwrap();
        assert_eq!(serde_json::to_vec(&back).unwrap(), bytes);
        assert_eq!(
            back.files()
                .map(|(name, _, size)| (name, size))
                .collect::<Vec<_>>(),
            [(DISK, 4)]
        );
    }

    #[test]
    fn what_could_do_harm_is_refused() {
        for (path, value, words) in [
            ("/version", json!(2), "a later berth"),
            ("/version", json!("x"), "no version"),
            ("/content/arch", json!("m68k"), "is an image for m68k"),
            (
                "/content/cmdline",
                json!("rw ubd3=/etc/shadow"),
                "told \"ubd3=/etc/shadow\"",
            ),
            ("/content/cmdline", json!("root=/dev/ubda"), "told"),
            (
                "/content/files",
                json!({"../../x": Digest::of(b"x")}),
                "no guest's disk",
            ),
            (
                "/sizes",
                json!({"disk.qcow2": 4, "initrd": 4}),
                "do not go together",
            ),
            ("/sizes", json!({"disk.qcow2": 1_u64 << 40}), "too large"),
            ("/created", json!("yesterday"), "no time"),
            ("/recipe", json!("../x"), "no name"),
            ("/os", json!("Debian\u{1b}[2J"), "no line of text"),
        ] {
            let told = told(path, value);
            assert!(told.contains(words), "{path}: {told}");
        }
        let mut other = config();
        other.digest = Digest::of(b"another");
        let told = Config::read(&serde_json::to_vec(&other).unwrap()).unwrap_err();
        assert!(told.to_string().contains("digest"), "{told}");
        let mut more = config();
        more.content.files.insert("linux".into(), Digest::of(b"x"));
        more.sizes.insert("linux".into(), 1);
        more.digest = more.content.digest();
        let told = Config::read(&serde_json::to_vec(&more).unwrap()).unwrap_err();
        assert!(
            told.to_string().contains("it has a file \"linux\""),
            "{told}"
        );
    }
}
