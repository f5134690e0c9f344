//! Hosts that run already: sshd processes on loopback, each for some of the names.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::world::{World, printed, wait_until};

/// So many sshd processes.
const SERVERS: usize = 40;

/// Adopted hosts. The first [`SERVERS`] have each an sshd of its own; the others share these, and are on disk what adopting
/// them would have left there.
pub struct Hosts {
    pub names: Vec<String>,
    /// Where each answers.
    pub ports: Vec<u16>,
    /// What lets in everywhere.
    pub key: PathBuf,
    /// All host keys, as `[127.0.0.1]:port`.
    pub known_hosts: PathBuf,
    /// The folder of the machines.
    pub machines: PathBuf,
    servers: Vec<Child>,
}

impl Hosts {
    /// Starts the servers and adopts so many hosts.
    pub fn start(world: &World, count: usize) -> Result<Self> {
        let key = world.file("user_key");
        make_key(&key)?;
        let public = fs::read_to_string(key.with_extension("pub"))?;
        fs::write(world.file("authorized_keys"), public)?;
        // Only root's server needs it, and only root can make it.
        let _ = fs::create_dir_all("/run/sshd");
        let mut hosts = Hosts {
            names: (1..=count).map(|n| format!("m{n:04}")).collect(),
            ports: Vec::new(),
            key,
            known_hosts: world.file("known_hosts"),
            machines: world.home().join("machines"),
            servers: Vec::new(),
        };
        let mut known = String::new();
        let mut ports = Vec::new();
        for at in 0..SERVERS {
            let host_key = world.file(&format!("host_key{at}"));
            make_key(&host_key)?;
            let port = free_port()?;
            hosts.servers.push(sshd(world, at, &host_key, port)?);
            let public = fs::read_to_string(host_key.with_extension("pub"))?;
            known += &format!("[127.0.0.1]:{port} {public}");
            ports.push(port);
        }
        fs::write(&hosts.known_hosts, known)?;
        hosts.ports = ports.iter().copied().cycle().take(count).collect();
        for port in &ports {
            wait_until("sshd", Duration::from_secs(20), || {
                std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok()
            })?;
        }
        for (name, port) in hosts.names.iter().zip(&ports) {
            let mut create = world.berth(&["create", "-d", "ssh", "--engine", "none"]);
            create.args(["-o", "host=127.0.0.1", "-o"]);
            create.arg(format!("port={port}")).arg("-o");
            create.arg(format!("key={}", hosts.key.display()));
            printed(create.arg(name).arg("--quiet-progress"))?;
        }
        for (at, name) in hosts.names.iter().enumerate().skip(SERVERS) {
            let Some(like) = hosts.names.get(at % SERVERS) else {
                break;
            };
            let (from, to) = (hosts.machines.join(like), hosts.machines.join(name));
            copy(&from, &to, (like, name))?;
        }
        Ok(hosts)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// The process that keeps berth's connections.
pub fn keeper(world: &World) -> Result<u64> {
    let lock = fs::read_to_string(world.home().join("kept/lock"))?;
    let pid = lock.split(' ').next().context("nobody keeps anything")?;
    Ok(pid.parse()?)
}

fn sshd(world: &World, at: usize, host_key: &Path, port: u16) -> Result<Child> {
    let file = world.file(&format!("sshd{at}"));
    // A home of its own: what this computer's user has in ~/.bashrc costs each login as much again, or a second.
    let home = world.file(&format!("home{at}"));
    fs::create_dir(&home)?;
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\n\
         PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         Subsystem sftp internal-sftp\nMaxStartups 2000\nLogLevel ERROR\nSetEnv HOME={}\n",
        host_key.display(),
        world.file("authorized_keys").display(),
        home.display(),
    );
    fs::write(&file, config)?;
    let child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f"])
        .arg(&file)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    child.context("sshd (package openssh-server)")
}

/// Copies a machine's folder for one of another name.
fn copy(from: &Path, to: &Path, (old, new): (&str, &str)) -> Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &to, (old, new))?;
            continue;
        }
        fs::write(&to, fs::read_to_string(&from)?.replace(old, new))?;
        fs::set_permissions(&to, entry.metadata()?.permissions())?;
    }
    Ok(())
}

fn make_key(path: &Path) -> Result<()> {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
    printed(keygen.arg(path)).map(drop)
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
