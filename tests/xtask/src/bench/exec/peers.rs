//! The other programs that run a command on many hosts, as PyPI and the system have them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::super::world::target_folder;
use super::hosts::Hosts;

/// Packages of PyPI's.
const PACKAGES: [&str; 3] = ["parallel-ssh", "pyinfra", "ansible-core"];

/// parallel-ssh is a library: this is the least that a user writes. It has no known_hosts of its own to check.
const PARALLEL_SSH: &str = "import json, sys\n\
from pssh.clients import ParallelSSHClient\n\
from pssh.config import HostConfig\n\
key, ports = json.loads(sys.argv[1])\n\
configs = [HostConfig(user='root', port=port, private_key=key) for port in ports]\n\
client = ParallelSSHClient(['127.0.0.1'] * len(ports), host_config=configs, pool_size=len(ports))\n\
outputs = client.run_command('true')\n\
client.join(outputs)\n\
assert [output.exit_code for output in outputs] == [0] * len(ports)\n";

/// What could be had of them.
pub struct Peers {
    folder: PathBuf,
    here: Vec<&'static str>,
    /// What could not, and why.
    pub missing: Vec<String>,
}

impl Peers {
    /// Installs them into an environment of Python's below cargo's folder, where later benches find them.
    pub fn install() -> Self {
        let folder = target_folder().join("bench-python");
        let mut peers = Peers {
            here: Vec::new(),
            missing: Vec::new(),
            folder,
        };
        let python = peers.folder.join("bin/python");
        let made = match python.exists() {
            true => Ok(()),
            false => quietly(
                Command::new("python3")
                    .args(["-m", "venv"])
                    .arg(&peers.folder),
            ),
        };
        for package in PACKAGES {
            let installed = made.clone().and_then(|()| {
                let install = ["-m", "pip", "install", "--quiet", package];
                quietly(Command::new(&python).args(install))
            });
            match installed {
                Ok(()) => peers.here.push(package),
                Err(why) => peers
                    .missing
                    .push(format!("{package}: not installed, since {why}")),
            }
        }
        peers
    }

    /// Each way to run `true` on the first hosts.
    pub fn ways(&self, hosts: &Hosts, count: usize) -> Result<Vec<(String, Command)>> {
        let curve = "-o KexAlgorithms=curve25519-sha256";
        let mut ways = vec![
            ("xargs ssh".to_owned(), xargs(hosts, count, "", "true")),
            (
                "xargs ssh, curve25519".to_owned(),
                xargs(hosts, count, curve, "true"),
            ),
        ];
        for package in &self.here {
            match *package {
                "parallel-ssh" => ways.push(((*package).into(), self.parallel_ssh(hosts, count)?)),
                "pyinfra" => ways.push(((*package).into(), self.pyinfra(hosts, count)?)),
                _ => ways.extend(
                    ["raw", "command"]
                        .map(|module| {
                            let what = format!("ansible {module}");
                            let way = self.ansible(hosts, count, module, "-o ControlMaster=no");
                            way.map(|way| (what, way))
                        })
                        .into_iter()
                        .collect::<Result<Vec<_>>>()?,
                ),
            }
        }
        Ok(ways)
    }

    /// OpenSSH's own way to keep connections: made, used again, ended.
    pub fn master(&self, hosts: &Hosts, count: usize) -> (Command, Command, Command) {
        let folder = hosts.key.with_file_name("cm");
        let _ = fs::create_dir_all(&folder);
        let more = format!(
            "-o ControlMaster=auto -o ControlPersist=600 -o ControlPath={}/%n",
            folder.display()
        );
        let ended = format!("{more} -O exit");
        (
            xargs(hosts, count, &more, "true"),
            xargs(hosts, count, &more, "true"),
            xargs(hosts, count, &ended, ""),
        )
    }

    /// Ansible with connections that it keeps, which its first run makes; `None` if it is not here.
    pub fn ansible_kept(&self, hosts: &Hosts, count: usize) -> Option<Result<Command>> {
        let kept = "-o ControlMaster=auto -o ControlPersist=600";
        let here = self.here.contains(&"ansible-core");
        here.then(|| self.ansible(hosts, count, "command", kept))
    }

    fn parallel_ssh(&self, hosts: &Hosts, count: usize) -> Result<Command> {
        let what = serde_json::to_string(&(&hosts.key, &hosts.ports[..count]))?;
        let mut command = self.python("bin/python");
        command.args(["-c", PARALLEL_SSH, &what]);
        Ok(command)
    }

    fn pyinfra(&self, hosts: &Hosts, count: usize) -> Result<Command> {
        let mut inventory = "hosts = [\n".to_owned();
        for (name, port) in hosts.names.iter().zip(&hosts.ports).take(count) {
            let _ = writeln!(
                inventory,
                "('{name}', dict(ssh_hostname='127.0.0.1', ssh_port={port}, ssh_user='root', ssh_key={:?}, \
                 ssh_known_hosts_file={:?}, ssh_strict_host_key_checking='yes')),",
                hosts.key, hosts.known_hosts
            );
        }
        inventory += "]\n";
        let file = beside(hosts, "inventory.py", &inventory)?;
        let mut command = self.python("bin/pyinfra");
        command.args(["-y", "--parallel", &count.to_string()]);
        command.arg(file).args(["exec", "--", "true"]);
        Ok(command)
    }

    /// Its own default is to keep connections; a run that finds some is none that connects.
    fn ansible(&self, hosts: &Hosts, count: usize, module: &str, ssh: &str) -> Result<Command> {
        let mut inventory = "[all]\n".to_owned();
        for (name, port) in hosts.names.iter().zip(&hosts.ports).take(count) {
            let _ = writeln!(
                inventory,
                "{name} ansible_host=127.0.0.1 ansible_port={port} ansible_user=root \
                 ansible_ssh_private_key_file={} ansible_python_interpreter=/usr/bin/python3 \
                 ansible_ssh_common_args='-o UserKnownHostsFile={} -o IdentitiesOnly=yes'",
                hosts.key.display(),
                hosts.known_hosts.display()
            );
        }
        let file = beside(hosts, &format!("inventory{count}.ini"), &inventory)?;
        let text = format!(
            "[defaults]\nhost_key_checking=True\n[ssh_connection]\npipelining=True\nssh_args={ssh}\n\
             control_path_dir={}\n",
            hosts.key.with_file_name("acm").display()
        );
        let name = format!("ansible{}.cfg", ssh.len());
        let config = beside(hosts, &name, &text)?;
        let mut command = self.python("bin/ansible");
        command
            .env("ANSIBLE_CONFIG", config)
            .env("ANSIBLE_HOME", hosts.key.with_file_name("ansible"))
            .args([
                "all",
                "-f",
                &count.to_string(),
                "-m",
                module,
                "-a",
                "true",
                "-i",
            ])
            .arg(file);
        Ok(command)
    }

    fn python(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command
            .env("LC_ALL", "C.UTF-8")
            .env_remove("SSH_AUTH_SOCK")
            .env("HOME", &self.folder)
            .stdin(std::process::Stdio::null());
        command
    }
}

fn xargs(hosts: &Hosts, count: usize, more: &str, line: &str) -> Command {
    let script = format!(
        "printf '%s\\n' {} | xargs -P {count} -I@ ssh -F {}/@/ssh_config {more} @.berth {line}",
        hosts.names[..count].join(" "),
        hosts.machines.display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    command
}

fn beside(hosts: &Hosts, name: &str, text: &str) -> Result<PathBuf> {
    let file: &Path = &hosts.key.with_file_name(name);
    fs::write(file, text)?;
    Ok(file.to_owned())
}

/// Runs a command; the last line of what it says is why it failed.
fn quietly(command: &mut Command) -> std::result::Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = words.trim().lines().last().unwrap_or_default();
            Err(format!("{last} ({})", output.status))
        }
    }
}
