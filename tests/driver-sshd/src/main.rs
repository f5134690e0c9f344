//! A plugin driver for tests: every machine is an sshd process of this computer, on a loopback port of its own.
//!
//! It is a whole driver, credentials and all, so that berth's tests drive the real program through real SSH without
//! waiting for a VM to boot. It gives away this computer's own shell: for tests only.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use berth_driver_api::ports::Ports;
use berth_driver_api::{
    Address, Capabilities, Credential, Driver, Error, Execution, Finding, Info, Machine, Needs,
    OptionKind, OptionSpec, Probe, Progress, Resource, Result, Size, State, check_options, process,
    size,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    berth_driver_api::plugin::serve(Sshd::new()).await
}

struct Sshd {
    info: Info,
}

impl Sshd {
    fn new() -> Self {
        let flag =
            |name: &str, help: &str| OptionSpec::new(name, OptionKind::Boolean, "false", help);
        Sshd {
            info: Info {
                name: "sshd".into(),
                description: "sshd processes on loopback, for tests".into(),
                capabilities: Capabilities {
                    images: true,
                    power: true,
                    console: true,
                    resize: true,
                    ..Capabilities::default()
                },
                needs: Needs::default(),
                max_cpus: None,
                options: vec![
                    flag("mute", "runs, but never answers"),
                    flag("stubborn", "does not shut down when asked"),
                    flag("frail", "dies the first time that it boots"),
                    OptionSpec::new(
                        "jump",
                        OptionKind::Text,
                        "",
                        "hosts on the way there, with commas",
                    ),
                ],
            },
        }
    }

    fn flag(machine: &Machine, name: &str) -> bool {
        machine.spec.option(name, "false") == "true"
    }
}

fn told(machine: &Machine, name: &str) -> Option<Size> {
    let text = fs::read(machine.file(name)).ok()?;
    serde_json::from_slice(&text).ok()
}

fn tell(machine: &Machine, name: &str, size: &Size) -> Result<()> {
    let text = serde_json::to_vec(size).map_err(|error| Error::failed("the size", error))?;
    write(&machine.file(name), &text)
}

#[async_trait]
impl Driver for Sshd {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn probe(&self) -> Result<Probe> {
        let found = process::find("sshd");
        Ok(Probe {
            usable: found.is_some(),
            execution: Execution::Native,
            findings: vec![Finding {
                subject: "sshd".into(),
                good: found.is_some(),
                detail: found.map_or("not installed".into(), |path| path.display().to_string()),
                missing_tools: Vec::new(),
            }],
        })
    }

    async fn check(&self, machine: &Machine) -> Result<()> {
        check_options(&self.info, &machine.spec.options)?;
        if machine.spec.memory < 16 << 20 {
            return Err(Error::InvalidOption {
                option: "memory".into(),
                value: machine.spec.memory.to_string(),
                reason: "is less than 16 MiB".into(),
            });
        }
        Ok(())
    }

    async fn create(
        &self,
        machine: &Machine,
        credentials: &[Credential],
        progress: &dyn Progress,
    ) -> Result<()> {
        progress.note("a machine of processes only");
        let folder = machine.folder.display();
        let port = Ports::open(&machine.ports)?.lease(machine.id)?;
        for credential in credentials {
            match credential.name.as_str() {
                "ssh.authorized_keys.root" => {
                    write(&machine.file("authorized_keys"), &credential.value)?;
                }
                "tmpfiles.extra" => {
                    write(&machine.file("tmpfiles.extra"), &credential.value)?;
                    let line = "/^f+~ .*ssh_host_ed25519_key 0600 /s/.* //p";
                    let mut sed = process::command("sed")?;
                    sed.args(["-n", line]).arg(machine.file("tmpfiles.extra"));
                    let encoded = process::output(sed).await?;
                    write(&machine.file("host_key.b64"), &encoded)?;
                    let mut decode = process::command("base64")?;
                    decode.arg("-d").arg(machine.file("host_key.b64"));
                    write(&machine.file("host_key"), &process::output(decode).await?)?;
                }
                _ => {}
            }
        }
        // A home of its own: what this computer's user has in ~/.bashrc is no part of the machine.
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\n\
             AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
             MaxStartups 200\nMaxSessions 200\nSetEnv HOME={folder} BERTH_LOCKS={folder}\nPermitUserRC no\nSubsystem sftp internal-sftp\n"
        );
        write(&machine.file("sshd_config"), config.as_bytes())
    }

    async fn start(&self, machine: &Machine, progress: &dyn Progress) -> Result<()> {
        if self.state(machine).await? == State::Running {
            return Ok(());
        }
        progress.phase("Starting sshd");
        let size = told(machine, "size").unwrap_or_else(|| machine.spec.size());
        tell(machine, "runs", &size)?;
        fs::create_dir_all("/run/sshd").map_err(Error::io("/run/sshd"))?;
        let log_path = machine.file("console.log");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(Error::io(&log_path))?;
        let mut command = if Self::flag(machine, "mute") {
            let mut command = process::command("sh")?;
            command.args(["-c", "echo 'mute: up, and silent' >&2; exec sleep 86400"]);
            command
        } else {
            let mut command = match nix::unistd::geteuid().is_root() {
                // What is mounted in a machine is gone when it is off, as in a VM, and it has a name of its own.
                true => {
                    let sshd = process::find("sshd").unwrap_or_else(|| "sshd".into());
                    write(&machine.file("hostname"), machine.name.as_bytes())?;
                    let mut command = process::command("unshare")?;
                    command.args(["--mount", "--uts", "--propagation", "private", "sh", "-c"]);
                    command.arg(
                        "mount --bind \"$1\" /etc/hostname && cat \"$1\" >/proc/sys/kernel/hostname && shift && exec \"$@\"",
                    );
                    command.arg("sh").arg(machine.file("hostname"));
                    command.arg(sshd);
                    command
                }
                false => process::command("sshd")?,
            };
            command
                .arg("-D")
                .arg("-e")
                .arg("-f")
                .arg(machine.file("sshd_config"));
            command
        };
        command.stdout(Stdio::null()).stderr(log);
        let child = process::spawn_detached(command)?;
        let pid = child.id().unwrap_or_default();
        let began = i32::try_from(pid).ok().and_then(stat);
        let began = began.map(|(_, began)| began).unwrap_or_default();
        write(&machine.file("began"), began.as_bytes())?;
        write(&machine.file("pid"), pid.to_string().as_bytes())
    }

    async fn stop(&self, machine: &Machine, deadline: Duration) -> Result<()> {
        if Self::flag(machine, "stubborn") {
            tokio::time::sleep(deadline).await;
            return Err(Error::Timeout {
                what: "the guest's shutdown".into(),
                after: deadline,
            });
        }
        self.kill(machine).await
    }

    /// Processes have no sizes: what a start was told is all that there is.
    async fn resize(&self, machine: &Machine, _progress: &dyn Progress) -> Result<Vec<Resource>> {
        let spec = &machine.spec;
        if let Some(before) = told(machine, "size") {
            size::grows(before.disk, spec.disk)?;
        }
        tell(machine, "size", &spec.size())?;
        Ok(match running(machine) {
            Some(_) => vec![Resource::Cpus, Resource::Memory, Resource::Disk],
            None => Vec::new(),
        })
    }

    async fn size(&self, machine: &Machine) -> Result<Size> {
        let runs = running(machine).and_then(|_| told(machine, "runs"));
        let size = runs.or_else(|| told(machine, "size"));
        Ok(size.unwrap_or_else(|| machine.spec.size()))
    }

    async fn kill(&self, machine: &Machine) -> Result<()> {
        if let Some(pid) = running(machine) {
            // A VM takes everything in it along, so the connections' processes and what they run go too.
            for pid in descendants(pid) {
                let _ = kill(pid, Signal::SIGKILL);
            }
            let listened = !Self::flag(machine, "mute");
            while running(machine).is_some() || (listened && listened_on(machine)?) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        Ok(())
    }

    async fn remove(&self, machine: &Machine) -> Result<()> {
        self.kill(machine).await?;
        Ports::open(&machine.ports)?.release(machine.id)?;
        let config = machine.file("sshd_config");
        match fs::remove_file(&config) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(config)(error)),
            _ => Ok(()),
        }
    }

    async fn state(&self, machine: &Machine) -> Result<State> {
        Ok(match running(machine) {
            Some(_) => State::Running,
            None if machine.file("sshd_config").exists() => State::Stopped,
            None => State::Missing,
        })
    }

    async fn ready(&self, machine: &Machine, _word: &str) -> Result<()> {
        let died = machine.file("died");
        if Self::flag(machine, "frail") && !died.exists() {
            self.kill(machine).await?;
            write(&died, b"once")?;
            return Err(Error::failed("the guest", "its sshd died"));
        }
        Ok(())
    }

    async fn wait_stopped(&self, machine: &Machine) -> Result<Option<String>> {
        while running(machine).is_some() {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        Ok(Some("its sshd ended".into()))
    }

    async fn address(&self, machine: &Machine) -> Result<Address> {
        let port = Ports::open(&machine.ports)?.leased(machine.id)?;
        Ok(Address {
            host: "127.0.0.1".into(),
            port: port.ok_or_else(|| Error::Missing(machine.name.clone()))?,
            user: nix::unistd::User::from_uid(nix::unistd::geteuid())
                .ok()
                .flatten()
                .map_or_else(|| "root".into(), |user| user.name),
            jump: match machine.spec.option("jump", "") {
                "" => Vec::new(),
                jump => jump.split(',').map(str::to_owned).collect(),
            },
            own: None,
        })
    }
}

/// The machine's process, if it is alive and still the one that was started.
fn running(machine: &Machine) -> Option<Pid> {
    let read = |name| fs::read_to_string(machine.file(name)).ok();
    let pid: i32 = read("pid")?.trim().parse().ok()?;
    let (state, began) = stat(pid)?;
    (state != "Z" && Some(began) == read("began")).then(|| Pid::from_raw(pid))
}

/// What a process does and when it began: fields 3 and 22 of proc_pid_stat(5). Its own words on what it is are not whole
/// at all times: sshd writes over them.
fn stat(pid: i32) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned);
    Some((fields.next()?, fields.nth(18)?))
}

/// Whether the machine's port is still taken: a connection's process that was forked while the others were ended holds
/// the listening socket for a moment.
fn listened_on(machine: &Machine) -> Result<bool> {
    let port = Ports::open(&machine.ports)?.leased(machine.id)?;
    Ok(port.is_some_and(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()))
}

/// A process, which is stopped first so that it starts no more, and all that it and its children started.
fn descendants(pid: Pid) -> Vec<Pid> {
    let _ = kill(pid, Signal::SIGSTOP);
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(children).unwrap_or_default();
    let mut all = vec![pid];
    for child in children.split_whitespace().filter_map(|id| id.parse().ok()) {
        all.extend(descendants(Pid::from_raw(child)));
    }
    all
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(Error::io(path))
}
