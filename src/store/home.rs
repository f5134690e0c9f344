//! Where berth's files lie.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};

use super::{Error, Result, create_private_folder, linked};

/// Longest path that fits `sun_path` with its closing zero (unix(7)), less room for the longest socket name.
const MAX_SOCKET_FOLDER: usize = 107 - 20;

/// The folders of one berth user.
#[derive(Debug, Clone)]
pub struct Home {
    data: PathBuf,
    config: PathBuf,
    images: PathBuf,
}

impl Home {
    /// `BERTH_HOME`, or `berth` in the XDG data folder; configuration in the XDG configuration folder; images in
    /// `BERTH_IMAGES` or the home. Makes nothing.
    ///
    /// # Errors
    /// If no home is known, or `BERTH_HOME` is relative.
    pub fn from_environment() -> Result<Self> {
        let base = etcetera::choose_base_strategy().map_err(|_| Error::NoHome);
        let absolute = |name: &str| match std::env::var_os(name).filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(path) if Path::new(&path).is_absolute() => Ok(Some(PathBuf::from(path))),
            Some(path) => Err(Error::RelativeHome(path.to_string_lossy().into_owned())),
        };
        let (data, config) = match (absolute("BERTH_HOME")?, base) {
            (Some(home), Ok(base)) => (home, base.config_dir().join("berth")),
            (Some(home), Err(_)) => (home.clone(), home.join("config")),
            (None, Ok(base)) => (
                base.data_dir().join("berth"),
                base.config_dir().join("berth"),
            ),
            (None, Err(error)) => return Err(error),
        };
        let images = absolute("BERTH_IMAGES")?.unwrap_or_else(|| data.join("images"));
        Ok(Home {
            data,
            config,
            images,
        })
    }

    /// A home in a folder of a test's own.
    #[cfg(test)]
    pub fn of_test(data: &Path) -> Self {
        Home {
            data: data.to_owned(),
            config: data.join("config"),
            images: data.join("images"),
        }
    }

    /// The home folder itself.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The user's recipes and settings.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The image store.
    pub fn images(&self) -> &Path {
        &self.images
    }

    /// What drivers may keep between runs and lose at any time.
    pub fn cache(&self) -> PathBuf {
        self.data.join("cache")
    }

    /// The leases of loopback ports.
    pub fn ports(&self) -> PathBuf {
        self.data.join("ports")
    }

    /// The networks that machines share.
    pub fn networks(&self) -> PathBuf {
        self.data.join("networks")
    }

    /// What is known of swarms.
    pub fn swarms(&self) -> PathBuf {
        self.data.join("swarms")
    }

    /// The CA's certificates.
    pub fn ca(&self) -> PathBuf {
        self.data.join("ca")
    }

    /// Rollouts, a folder each.
    pub fn rollouts(&self) -> PathBuf {
        self.data.join("rollouts")
    }

    /// The process that keeps connections open: its lock and log, and its socket where that has room.
    pub fn kept(&self) -> PathBuf {
        self.data.join("kept")
    }

    /// Secrets that no keyring keeps.
    pub fn secrets(&self) -> PathBuf {
        self.data.join("secrets")
    }

    /// Programs named `berth-driver-NAME`.
    pub fn plugins(&self) -> PathBuf {
        self.data.join("plugins")
    }

    /// Pools of waiting machines, a folder each.
    pub fn pools(&self) -> PathBuf {
        self.data.join("pools")
    }

    /// The folder of all machines.
    pub fn machines(&self) -> PathBuf {
        self.data.join("machines")
    }

    /// Frozen machines that others are cloned from.
    pub fn templates(&self) -> PathBuf {
        self.data.join("templates")
    }

    /// The locks of all machines' writers.
    pub fn locks(&self) -> PathBuf {
        self.data.join("locks")
    }

    /// The lock of a machine's writers. The folder of locks must exist.
    pub fn lock(&self, name: &str) -> PathBuf {
        self.locks().join(name)
    }

    /// Where a machine's folder is made before it gets its name. Whoever has the machine's lock may clear it.
    pub fn draft(&self, name: &str) -> PathBuf {
        self.machines().join(format!(".new-{name}"))
    }

    /// Where a machine's folder is put to be deleted. Whoever has the machine's lock may clear it.
    pub fn doomed(&self, name: &str) -> PathBuf {
        self.machines().join(format!(".rm-{name}"))
    }

    /// True if a machine is there, or what an interrupted berth left of one.
    pub fn has_traces(&self, name: &str) -> bool {
        [self.entry(name), self.draft(name), self.doomed(name)]
            .iter()
            // A link that leads nowhere is a trace too.
            .any(|path| path.symlink_metadata().is_ok())
    }

    /// What has a machine's name: its folder, or the link to it of a machine that came from a pool.
    pub fn entry(&self, name: &str) -> PathBuf {
        self.machines().join(name)
    }

    /// The folder of one machine, which need not exist.
    pub fn machine(&self, name: &str) -> MachineFolder {
        MachineFolder {
            path: linked::resolve(&self.entry(name)),
        }
    }

    /// Makes the folders that writers need, private.
    ///
    /// # Errors
    /// If one cannot be made.
    pub fn prepare(&self) -> Result<()> {
        for folder in [self.machines(), self.locks(), self.ports(), self.cache()] {
            create_private_folder(&folder)?;
        }
        Ok(())
    }

    /// The names of the user's machines, sorted. No file is opened.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn machine_names(&self) -> Result<Vec<String>> {
        let mut names = self.all_names()?;
        names.retain(|name| !linked::waits(name));
        Ok(names)
    }

    /// The names of the machines that wait in pools, sorted. No file is opened.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn waiting_names(&self) -> Result<Vec<String>> {
        let mut names = self.all_names()?;
        names.retain(|name| linked::waits(name));
        Ok(names)
    }

    /// The names of the user's machines and of those that wait in pools, for what all of them rest on.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn all_names(&self) -> Result<Vec<String>> {
        let folder = self.machines();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(folder)(error)),
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        Ok(names)
    }
}

/// Where the sockets of what lies in `folder` go: there, or if their paths would not fit a socket address, in a short
/// folder under the runtime folder.
pub fn sockets_of(folder: &Path) -> PathBuf {
    if folder.as_os_str().len() <= MAX_SOCKET_FOLDER {
        return folder.to_owned();
    }
    let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    let short: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| folder.len() < 60) {
        Some(runtime) => Path::new(&runtime).join("berth").join(short),
        None => PathBuf::from(format!("/tmp/berth-{}", nix::unistd::getuid())).join(short),
    }
}

/// The files of one machine.
#[derive(Debug, Clone)]
pub struct MachineFolder {
    path: PathBuf,
}

impl MachineFolder {
    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The record.
    pub fn record(&self) -> PathBuf {
        self.path.join("machine.toml")
    }

    /// The machine's driver and its id, for when the record cannot be read. It is never written again.
    pub fn origin(&self) -> PathBuf {
        self.path.join("origin")
    }

    /// The journal of the operation under way.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// The driver's own folder.
    pub fn vm(&self) -> PathBuf {
        self.path.join("vm")
    }

    /// The private key that the machine lets in; the public one is beside it with `.pub`.
    pub fn key(&self) -> PathBuf {
        self.path.join("id_ed25519")
    }

    /// The machine's host key, and no other.
    pub fn known_hosts(&self) -> PathBuf {
        self.path.join("known_hosts")
    }

    /// The user's own data for cloud-init, where some was given.
    pub fn user_data(&self) -> PathBuf {
        self.path.join("user-data")
    }

    /// The seed of a machine that cloud-init sets up.
    pub fn seed(&self) -> PathBuf {
        self.path.join("seed.img")
    }

    /// The certificates of the machine's TLS endpoint.
    pub fn tls(&self) -> PathBuf {
        self.path.join("tls")
    }

    /// What `ssh NAME.berth` reads.
    pub fn ssh_config(&self) -> PathBuf {
        self.path.join("ssh_config")
    }

    /// What the supervisor says of itself.
    pub fn supervisor_status(&self) -> PathBuf {
        self.path.join("supervisor.json")
    }

    /// Held by the supervisor while it lives.
    pub fn supervisor_lock(&self) -> PathBuf {
        self.path.join("supervisor.lock")
    }

    /// What the supervisor logs.
    pub fn supervisor_log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }

    /// Where the machine's sockets go: its folder, or a short one under the runtime folder if its path would not
    /// fit a socket address.
    pub fn sockets(&self) -> PathBuf {
        sockets_of(&self.path)
    }

    /// The unix socket that clients reach the engine by.
    pub fn engine_socket(&self) -> PathBuf {
        self.sockets().join("docker.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_fit_their_address_however_long_the_machine_is_called() {
        let home = Home {
            data: PathBuf::from("/home/someone/.local/share/berth"),
            config: PathBuf::new(),
            images: PathBuf::new(),
        };
        let short = home.machine("web1");
        assert_eq!(short.engine_socket(), short.path().join("docker.sock"));
        let long = home.machine(&"x".repeat(63));
        assert!(!long.engine_socket().starts_with(long.path()));
        assert!(long.engine_socket().as_os_str().len() < 108);
        assert_ne!(long.sockets(), home.machine(&"y".repeat(63)).sockets());
    }
}
