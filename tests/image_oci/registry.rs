//! Docker's own registry as Debian has it, on loopback.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::{World, eventually};

pub struct Registry {
    child: Child,
    port: u16,
    log: PathBuf,
}

/// `me:s3cret`, as htpasswd writes it.
const PASSWORDS: &str = "me:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n";

impl Registry {
    /// One that lets everybody in.
    pub fn open(world: &World) -> Registry {
        Registry::start(world, "")
    }

    /// One that lets in `me` with the password `s3cret`.
    pub fn closed(world: &World) -> Registry {
        let file = world.path("htpasswd");
        fs::write(&file, PASSWORDS).unwrap();
        let auth = format!(
            "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            file.display()
        );
        Registry::start(world, &auth)
    }

    fn start(world: &World, more: &str) -> Registry {
        let port = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let root = world.path("registry");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\"}}\n{more}",
            root.display()
        );
        let file = world.path("registry.yml");
        fs::write(&file, config).unwrap();
        let log = world.path("registry.log");
        let child = Command::new(program())
            .arg("serve")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Registry { child, port, log };
        eventually("the registry listens", || {
            TcpStream::connect(("127.0.0.1", registry.port)).is_ok()
        });
        registry
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many requests of a method for an address with `part` in it there were.
    pub fn asked(&self, method: &str, part: &str) -> usize {
        let log = fs::read_to_string(&self.log).unwrap();
        let asked = log
            .lines()
            .filter(|line| line.contains(&format!("\"{method} ")) && line.contains(part));
        asked.count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Where `cargo xtask test` has put it.
fn program() -> PathBuf {
    let told = std::env::var_os("BERTH_TEST_CACHE").filter(|folder| !folder.is_empty());
    let cache = told.map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/berth-test"),
        PathBuf::from,
    );
    cache.join("docker/usr/bin/docker-registry")
}
