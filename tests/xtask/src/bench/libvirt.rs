//! A create by the libvirt driver against the QEMU driver's, on the same image: for an ordinary user, whose own libvirt
//! it is.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::world::{World, median, printed, shipped_libvirt, timed};
use super::{Figure, at_most, plain};
use crate::parts::succeed;
use crate::setup::{self, Cache};

const ROUNDS: usize = 3;

const INSTALL: &str = "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install \
                       docker.io docker-cli && docker version";

/// Whom the machines belong to: libvirt wants a user whom the system knows, and gives root the system's daemon.
const USER: &str = "nobody";

/// Alternates both drivers' creates, so that the computer's moods meet both.
pub fn run() -> Result<Vec<Figure>> {
    setup::install_for_vms()?;
    let world = World::new()?;
    let plugin = shipped_libvirt()?;
    world.run(&["image", "build", "debian-13-docker", "debian-13"])?;
    let session = Session::new(&world, &plugin)?;
    // libvirt looks at QEMU's abilities once.
    printed(&mut session.berth("driver ls"))?;
    let (mut by_qemu, mut by_libvirt) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (driver, times) in [("qemu", &mut by_qemu), ("libvirt", &mut by_libvirt)] {
            let create = format!("create {driver} --driver {driver} --memory 1G");
            times.push(timed(&mut session.berth(&create))?);
            printed(&mut session.berth(&format!("rm --yes --force {driver}")))?;
        }
    }
    let by_hand = by_hand(&session)?.as_secs_f64();
    let seconds = |times| median(times).as_secs_f64();
    let (qemu, libvirt) = (seconds(by_qemu), seconds(by_libvirt));
    Ok(vec![
        plain("create → engine ready, QEMU driver", qemu, "s"),
        plain("create → engine ready, libvirt driver", libvirt, "s"),
        at_most("libvirt against QEMU", libvirt / qemu, "×", 1.15),
        plain(
            "a bare machine, and its engine installed by hand",
            by_hand,
            "s",
        ),
        at_most("libvirt against that", libvirt / by_hand, "×", 1.0),
    ])
}

/// What people do without berth, but for the typing: a machine of a bare image, made as quickly as here, and the engine's
/// package by the package manager.
fn by_hand(session: &Session<'_>) -> Result<Duration> {
    let create = "create bare --driver libvirt --memory 1G --image debian-13 --engine none";
    let made = timed(&mut session.berth(create))?;
    let mut install = session.berth("ssh bare --");
    install.arg(INSTALL);
    let installed = timed(&mut install)?;
    printed(&mut session.berth("rm --yes --force bare"))?;
    Ok(made + installed)
}

/// A user's own libvirt, in a folder of the world's.
struct Session<'a> {
    world: &'a World,
}

impl<'a> Session<'a> {
    fn new(world: &'a World, plugin: &Path) -> Result<Self> {
        let session = Session { world };
        let script = format!(
            "mkdir -p bin images/refs images/locks images/tmp run c cache; \
             cp {berth} {plugin} bin/; \
             for ref in debian-13-docker debian-13; do \
             cp $BERTH_IMAGES/refs/$ref images/refs/; digest=$(cat images/refs/$ref); folder=${{digest/:/-}}; \
             cp -a --sparse=always $BERTH_IMAGES/$folder images/; done; chown -R {USER}: .",
            berth = world.program().display(),
            plugin = plugin.display(),
        );
        let folder = session.folder();
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let mut command = Command::new("bash");
        command.args(["-euc", &script]).current_dir(&folder);
        succeed(Cache::from_environment().tell(&mut command))?;
        Ok(session)
    }

    /// libvirt puts sockets deep into it, whose paths may not be long (unix(7): 107 bytes).
    fn folder(&self) -> std::path::PathBuf {
        self.world.file("s")
    }

    /// A command of berth's for the user, its words split at blanks.
    fn berth(&self, words: &str) -> Command {
        let folder = self.folder();
        let mut command = Command::new("setpriv");
        command
            .args(["--clear-groups", "--no-new-privs", "--inh-caps=-all"])
            .args(["--reuid", USER, "--regid", "nogroup"])
            .arg(folder.join("bin/berth"))
            .args(words.split(' '));
        self.world
            .enter(&mut command)
            .current_dir(&folder)
            .env("HOME", &folder)
            .env("BERTH_HOME", folder.join("berth"))
            .env("BERTH_IMAGES", folder.join("images"))
            .env("DOCKER_CONFIG", folder.join("docker"))
            .env("XDG_RUNTIME_DIR", folder.join("run"))
            .env("XDG_CONFIG_HOME", folder.join("c"))
            .env("XDG_CACHE_HOME", folder.join("cache"))
            .env_remove("XDG_DATA_HOME")
            .env_remove("LIBVIRT_DEFAULT_URI");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", folder.join("bin").display()));
        command
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let _ = self.berth("rm --all --force --yes").output();
        for daemon in ["libvirtd", "virtlogd"] {
            let file = self.folder().join(format!("run/libvirt/{daemon}.pid"));
            if let Ok(pid) = fs::read_to_string(file) {
                let _ = Command::new("kill").arg(pid.trim()).status();
            }
        }
    }
}
