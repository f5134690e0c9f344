//! A machine's disks, booted by QEMU where VirtualBox can start nothing.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::vm::{BOOT, Host, Out, eventually};

/// What VirtualBox would start from, on the same kind of controller and in the same order. The guest writes elsewhere, and
/// ends with the test.
pub struct Booted {
    guest: Child,
    name: String,
    machine: PathBuf,
    port: u16,
}

impl Booted {
    pub fn of(host: &Host, name: &str) -> Booted {
        let machine = host.machine(name);
        let vm = machine.join("vm");
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|free| free.local_addr())
            .unwrap()
            .port();
        let serial = host.scratch().join(format!("{name}.serial"));
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args("-machine q35 -accel tcg -cpu Nehalem -m 768 -display none".split(' '))
            .args(["-bios", firmware(), "-serial"])
            .arg(format!("file:{}", serial.display()))
            .args(["-device", "virtio-net-pci,netdev=net", "-netdev"])
            .arg(format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22"));
        // User Mode Linux machines of other tests read the same image, and have it locked in their own way.
        let disk = format!(
            "format=qcow2,backing.file.locking=off,file={}",
            written(host, name).display()
        );
        let as_it_is = |file: &str| {
            let file = vm.join(file);
            let options = format!("format=raw,snapshot=on,file={}", file.display());
            file.exists().then_some(options)
        };
        let disks = [as_it_is("boot.raw"), Some(disk), as_it_is("seed.raw")];
        let mut first = ",bootindex=1";
        for (port, options) in disks.into_iter().enumerate() {
            if let Some(options) = options {
                qemu.arg("-drive")
                    .arg(format!("id=disk{port},if=none,{options}"));
                qemu.arg("-device")
                    .arg(format!("ide-hd,drive=disk{port},bus=ide.{port}{first}"));
                first = "";
            }
        }
        Booted {
            guest: qemu.stdin(Stdio::null()).spawn().unwrap(),
            name: name.into(),
            machine,
            port,
        }
    }

    /// What the guest says to a line for its shell, once it is up. Only the machine's key is let in, and only the machine's
    /// host key is believed.
    pub fn answers(&self, host: &Host, line: &str) -> Out {
        let at = |name: &str| self.machine.join(name).display().to_string();
        eventually("an answer over SSH", BOOT, || {
            let out = host
                .run("ssh", "-o BatchMode=yes -o StrictHostKeyChecking=yes")
                .args("-o ConnectTimeout=10 -F /dev/null -i".split(' '))
                .arg(at("id_ed25519"))
                .args(["-p", &self.port.to_string(), "-o"])
                .arg(format!("HostKeyAlias={}.berth", self.name))
                .arg("-o")
                .arg(format!("UserKnownHostsFile={}", at("known_hosts")))
                .args(["root@127.0.0.1", line])
                .deadline(Duration::from_secs(30))
                .run();
            (out.code == 0).then_some(out)
        })
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        let _ = self.guest.kill();
        let _ = self.guest.wait();
    }
}

fn firmware() -> &'static str {
    ["/usr/share/ovmf/OVMF.fd", "/usr/share/qemu/OVMF.fd"]
        .into_iter()
        .find(|file| Path::new(file).exists())
        .expect("ovmf is installed")
}

/// In place of `disk.vdi`.
fn written(host: &Host, name: &str) -> PathBuf {
    let base = fs::canonicalize(host.machine(name).join("vm/base.raw")).unwrap();
    let written = host.scratch().join(format!("{name}.qcow2"));
    host.run("qemu-img", "create -q -f qcow2 -F raw -b")
        .args([base.to_str().unwrap(), written.to_str().unwrap(), "24G"])
        .ok();
    written
}
