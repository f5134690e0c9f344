//! A host that runs already: an sshd on loopback that berth did not start, with a host key and a user's key of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::World;

/// Stands in for the programs by which a host is changed or rebooted: this computer must be neither.
const HANDS_OFF: &[&str] = &["apt-get", "systemctl", "reboot", "usermod", "dpkg"];

/// Ends when it is dropped; its files go with the world.
pub struct Host {
    pub port: u16,
    folder: PathBuf,
    sshd: Child,
}

impl Host {
    /// A host `name` in the world, with more lines in its sshd's configuration.
    pub fn start(world: &World, name: &str, more: &str) -> Host {
        let folder = world.path(format!("host-{name}"));
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::create_dir_all(folder.join("home")).unwrap();
        for program in HANDS_OFF {
            script(&folder.join("bin").join(program), "#!/bin/sh\nexit 1\n");
        }
        key(&folder.join("host_key"));
        key(&folder.join("user_key"));
        let public = fs::read_to_string(folder.join("user_key.pub")).unwrap();
        fs::create_dir_all(folder.join("home/.ssh")).unwrap();
        // Without an end to its last line, as people leave it.
        fs::write(folder.join("home/.ssh/authorized_keys"), public.trim()).unwrap();
        let port = free_port();
        let sshd = sshd(&folder, port, more);
        Host { port, folder, sshd }
    }

    /// A file of the host's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The `SHA256:…` fingerprint of its host key.
    pub fn fingerprint(&self) -> String {
        let mut keygen = Command::new("ssh-keygen");
        let output = keygen
            .arg("-lf")
            .arg(self.path("host_key.pub"))
            .output()
            .unwrap();
        let words = String::from_utf8(output.stdout).unwrap();
        words.split(' ').nth(1).unwrap().to_owned()
    }

    /// The public host key, as `type base64`.
    pub fn public_key(&self) -> String {
        let line = fs::read_to_string(self.path("host_key.pub")).unwrap();
        line.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    /// The options by which the host is adopted.
    pub fn options(&self) -> Vec<String> {
        vec![
            "-d".into(),
            "ssh".into(),
            "-o".into(),
            "host=127.0.0.1".into(),
            "-o".into(),
            format!("port={}", self.port),
            "-o".into(),
            format!("key={}", self.path("user_key").display()),
        ]
    }

    /// Shows another host key from now on.
    pub fn change_key(&mut self, more: &str) {
        self.stop();
        for file in ["host_key", "host_key.pub"] {
            fs::remove_file(self.path(file)).unwrap();
        }
        key(&self.path("host_key"));
        self.sshd = sshd(&self.folder, self.port, more);
    }

    /// Stops listening.
    pub fn stop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
    }
}

fn sshd(folder: &Path, port: u16, more: &str) -> Child {
    let at = folder.display();
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/home/.ssh/authorized_keys\n\
         PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\nMaxStartups 500\nPermitUserRC no\n\
         SetEnv HOME={at}/home BERTH_LOCKS={at} PATH={at}/bin:/usr/bin:/bin{more}\n"
    );
    fs::write(folder.join("sshd_config"), config).unwrap();
    // Only root's server needs it, and only root can make it.
    let _ = fs::create_dir_all("/run/sshd");
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    let child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f"])
        .arg(folder.join("sshd_config"))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    super::eventually("sshd listens", || {
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    });
    child
}

/// Makes a key pair without a passphrase.
pub fn key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .status();
    assert!(made.unwrap().success());
}

/// Writes a program.
pub fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Has the world's ssh read this configuration as the user's own: ssh looks into the folder that the system names as
/// the user's home, whatever HOME is.
pub fn user_config(world: &World, config: &str) {
    let file = world.path("home/ssh_config");
    fs::write(&file, config).unwrap();
    let own = format!(
        "#!/bin/sh\nfor arg; do case $arg in -F) exec /usr/bin/ssh \"$@\";; esac; done\n\
         exec /usr/bin/ssh -F {} \"$@\"\n",
        file.display()
    );
    script(&world.path("bin/ssh"), &own);
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
