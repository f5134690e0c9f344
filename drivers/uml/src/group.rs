//! A group: machines that reach each other, by a second network card each (`-o network=shared:GROUP`).
//!
//! Their second cables end in one switch, a process that they share. It is started anew whenever a machine joins, with
//! the cables of all: their kernels keep a copy of each end, which any process of the user's can ask them for. So it does
//! not matter who started it, when it died, or which berth looks after it. It ends with the last kernel of the group.
//!
//! A group is a folder: `group.toml` (its members with their addresses), `lock`, `alive` (a named pipe that kernels hold
//! open), `switch.pid` and `switch.log`.

use std::fs::{self, File, OpenOptions};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_driver_api::running::{self, Running};
use berth_driver_api::{Error, Machine, Result, files};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::command_line::fds;
use crate::names::PID_FILE;
use crate::usermode::Network;

/// The value of the option `network` that means a group, alone or with a name after a colon.
const SHARED: &str = "shared";

/// The name of the group that is not named.
const UNNAMED: &str = "default";

/// The network of every group: groups do not reach each other, so they can all have the same one.
const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 86, 0, 0);
const PREFIX: u8 = 24;

/// The last part of members' addresses.
const NUMBERS: std::ops::RangeInclusive<u8> = 1..=254;

const SWITCH: &str = "switch.pid";
const LOG: &str = "switch.log";
const MEMBERS: &str = "group.toml";
const LOCK: &str = "lock";
const ALIVE: &str = "alive";

/// How long it takes to put one switch in the place of another.
const CHANGE: Duration = Duration::from_secs(1);

/// How long the switch has to end after the last kernel.
const END: Duration = Duration::from_secs(2);

/// A group of machines.
pub(crate) struct Group {
    name: String,
    folder: PathBuf,
}

/// What a kernel is given so that it can be a member.
pub(crate) struct Plug {
    /// Kept open by the kernel for as long as it lives.
    pub(crate) alive: OwnedFd,
    /// The machine's address among the others, with the length of the network's prefix.
    pub(crate) address: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Members {
    #[serde(default)]
    members: Vec<Member>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Member {
    id: Uuid,
    /// The last part of its address.
    number: u8,
    /// Its kernel's pid file.
    kernel: PathBuf,
}

impl Group {
    /// The group that the machine asks to be in, if it does.
    ///
    /// # Errors
    /// If its name cannot be a folder's.
    pub(crate) fn of(machine: &Machine) -> Result<Option<Group>> {
        let value = machine.spec.option("network", "user");
        let name = match value.split_once(':') {
            None if value == SHARED => UNNAMED,
            Some((SHARED, name)) => name,
            _ => return Ok(None),
        };
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(1..=32).contains(&name.len()) || !name.chars().all(letter) || name.starts_with('-') {
            return Err(Error::InvalidOption {
                option: "network".into(),
                value: value.to_owned(),
                reason: "names no group: 1 to 32 small letters, digits and hyphens".into(),
            });
        }
        Ok(Some(Group {
            name: name.to_owned(),
            folder: machine.networks.join(name),
        }))
    }

    /// Makes the machine a member, which it stays until it is removed.
    pub(crate) async fn enter(&self, machine: &Machine) -> Result<()> {
        let _lock = self.lock().await?;
        let mut members = self.members()?;
        if members.number(machine.id).is_some() {
            return Ok(());
        }
        let taken = |number: &u8| members.members.iter().any(|m| m.number == *number);
        let number = NUMBERS
            .clone()
            .find(|number| !taken(number))
            .ok_or_else(|| {
                Error::failed(format!("joining the group {}", self.name), "it is full")
            })?;
        members.members.push(Member {
            id: machine.id,
            number,
            kernel: machine.file(PID_FILE),
        });
        self.keep(&members)
    }

    /// What the machine's kernel needs.
    pub(crate) async fn plug(&self, machine: &Machine) -> Result<Plug> {
        self.enter(machine).await?;
        let number = self.members()?.number(machine.id);
        let number = number.ok_or_else(|| Error::Missing(machine.name.clone()))?;
        let path = self.folder.join(ALIVE);
        match mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(errno) => return Err(Error::io(&path)(errno.into())),
        }
        // Both ways: only to write, it could not be opened before there is a switch.
        let alive = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Error::io(&path))?;
        Ok(Plug {
            alive: alive.into(),
            address: format!("{}/{PREFIX}", address(number)),
        })
    }

    /// Joins the cables of all members whose kernels run; `anew` also if there is a switch that does that.
    pub(crate) async fn join(&self, anew: bool) -> Result<()> {
        let lock = self.lock().await?;
        if !anew && self.switch()?.is_some() {
            return Ok(());
        }
        let mut cables = Vec::new();
        for member in &self.members()?.members {
            if let Some(kernel) = Running::of(&member.kernel)?
                // One that has just started, or ended, has none: its berth comes here after this one.
                && let Ok(cable) = kernel.open_file(fds::SWITCH)
            {
                cables.push(cable);
            }
        }
        running::kill(&self.folder.join(SWITCH), "network switch").await?;
        if cables.is_empty() {
            return Ok(());
        }
        let path = self.folder.join(ALIVE);
        let watch = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .map_err(Error::io(&path))?;
        let network = Network {
            name: format!("network-{}", self.name),
            folder: &self.folder,
            pid_file: SWITCH,
            log: LOG,
            user: None,
        };
        network.start(&watch.into(), &cables).await?;
        drop(lock);
        // The last kernel may have ended before the switch listened.
        self.end_if_idle().await
    }

    /// The switch, if it lives.
    pub(crate) fn switch(&self) -> Result<Option<Running>> {
        Running::of(&self.folder.join(SWITCH))
    }

    /// True if there is no switch, and none is about to take its place as when a machine joins.
    pub(crate) async fn is_lost(&self) -> Result<bool> {
        if self.switch()?.is_some() {
            return Ok(false);
        }
        tokio::time::sleep(CHANGE).await;
        Ok(self.switch()?.is_none())
    }

    /// Sees to it that the switch has ended if no kernel of the group runs.
    pub(crate) async fn end_if_idle(&self) -> Result<()> {
        let Some(switch) = self.switch()? else {
            return Ok(());
        };
        for member in &self.members()?.members {
            if running::holder(&member.kernel)?.is_some() {
                return Ok(());
            }
        }
        match tokio::time::timeout(END, switch.ended()).await {
            Ok(ended) => ended,
            Err(_) => running::kill(&self.folder.join(SWITCH), "network switch").await,
        }
    }

    /// Strikes the machine off; the group goes with its last member.
    pub(crate) async fn leave(&self, machine: &Machine) -> Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        let _lock = self.lock().await?;
        let mut members = self.members()?;
        members.members.retain(|member| member.id != machine.id);
        if !members.members.is_empty() {
            return self.keep(&members);
        }
        fs::remove_dir_all(&self.folder).map_err(Error::io(&self.folder))
    }

    /// The machine's address among the others.
    pub(crate) fn address(&self, machine: &Machine) -> Result<Option<Ipv4Addr>> {
        Ok(self.members()?.number(machine.id).map(address))
    }

    fn members(&self) -> Result<Members> {
        let path = self.folder.join(MEMBERS);
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| Error::failed(format!("reading {}", path.display()), error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Members::default()),
            Err(error) => Err(Error::io(&path)(error)),
        }
    }

    fn keep(&self, members: &Members) -> Result<()> {
        let path = self.folder.join(MEMBERS);
        let text = toml::to_string(members)
            .map_err(|error| Error::failed(format!("writing {}", path.display()), error))?;
        files::write(&path, text.as_bytes())
    }

    /// Held for a moment, or for as long as a switch takes to start.
    async fn lock(&self) -> Result<File> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || lock(&folder))
            .await
            .map_err(|error| Error::failed("waiting for another berth", error))?
    }
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    loop {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(Error::io(folder))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(Error::io(&path))?;
        file.lock().map_err(Error::io(&path))?;
        // Its last member may have taken the folder away meanwhile.
        if path.exists() {
            return Ok(file);
        }
    }
}

impl Members {
    fn number(&self, id: Uuid) -> Option<u8> {
        let mut members = self.members.iter();
        members.find(|member| member.id == id).map(|m| m.number)
    }
}

fn address(number: u8) -> Ipv4Addr {
    let [a, b, c, _] = NETWORK.octets();
    Ipv4Addr::new(a, b, c, number)
}
