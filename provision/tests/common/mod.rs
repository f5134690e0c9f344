//! A real OpenSSH server on a loopback port, with keys and files of its own.

#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use berth_provision::ssh::{Key, KeyPair, Session, Target, generate_key};
use tempfile::TempDir;

pub const SOON: Duration = Duration::from_secs(20);

pub struct Sshd {
    pub port: u16,
    pub folder: TempDir,
    pub host_key: KeyPair,
    listener: Child,
}

impl Sshd {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts a server with more lines in its configuration.
    pub fn start_with(more: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("berth-sshd-")
            .tempdir()
            .unwrap();
        let path = |name: &str| folder.path().join(name);
        let host_key = generate_key("host").unwrap();
        let user_key = generate_key("user").unwrap();
        secret(&path("host_key"), &host_key.private_openssh);
        secret(&path("user_key"), &user_key.private_openssh);
        fs::write(path("user_key.pub"), &user_key.public_openssh).unwrap();
        fs::write(path("authorized_keys"), user_key.public_openssh + "\n").unwrap();
        let port = free_port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {host_key}\nAuthorizedKeysFile {authorized}\n\
             PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\nMaxStartups 200\n{more}\n",
            host_key = path("host_key").display(),
            authorized = path("authorized_keys").display(),
        );
        fs::write(path("sshd_config"), config).unwrap();
        // Only root's server needs it, and only root can make it.
        let _ = fs::create_dir_all("/run/sshd");
        let log = fs::File::create(path("log")).unwrap();
        let listener = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(path("sshd_config"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let sshd = Sshd {
            port,
            host_key,
            listener,
            folder,
        };
        let line = sshd.known_hosts_line(&sshd.host_key.public_openssh);
        fs::write(sshd.path("known_hosts"), line).unwrap();
        sshd
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn known_hosts_line(&self, public: &str) -> String {
        format!("[127.0.0.1]:{} {public}\n", self.port)
    }

    pub fn target(&self) -> Target {
        Target {
            host: "127.0.0.1".into(),
            port: self.port,
            user: whoami(),
            key: Key::File(self.path("user_key")),
            known_hosts: self.path("known_hosts"),
            host_key_alias: None,
            jump: Vec::new(),
        }
    }

    pub async fn session(&self) -> Session {
        let connecting = Session::connect(&self.target(), SOON).await;
        connecting.unwrap_or_else(|error| panic!("{error}; sshd says: {}", self.log()))
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Stops listening; connections stay.
    pub fn stop(&mut self) {
        let _ = self.listener.kill();
        let _ = self.listener.wait();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

pub fn whoami() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
