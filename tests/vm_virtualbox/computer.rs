//! A computer on which VirtualBox runs VMs: an emulated one, with AMD's virtualization and Debian sid's VirtualBox and
//! kernel module.
//!
//! Not everything of that emulation is right in QEMU 5.2 to 11.1, as was found by trial: page tables of five levels
//! (`la57`) are taken for the guests' own, so that these make no step, and a guest of 64 bits that writes CR8 while an
//! interrupt is pending ends QEMU. UEFI does that at each tick of its clock; a BIOS never does. And on two CPUs a guest
//! was lost at one resumption of a hundred, with registers that looked like the host's: one CPU it is, where a hundred
//! went well.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::vm::Host;

/// Fetching and unpacking 400 MB of packages, and building a kernel module with them.
const BUILD: Duration = Duration::from_secs(1500);

/// Its whole life, on a computer that is busy.
const LIFE: Duration = Duration::from_secs(1500);

const PACKAGES: &str =
    "virtualbox,virtualbox-dkms,linux-image-cloud-amd64,linux-headers-cloud-amd64";

/// Its first program. It finds what it is to do on its second disk, and says on its second serial line what came of it.
const INIT: &str = "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
ip link set lo up
modprobe vboxdrv
mount /dev/vdb /mnt
sh /mnt/run >/dev/ttyS1 2>&1
umount /mnt
echo o >/proc/sysrq-trigger
sleep 60
";

/// The computer, off.
pub struct Computer {
    folder: PathBuf,
}

impl Computer {
    /// From the cache, built if it is not there.
    pub fn installed(host: &Host) -> Computer {
        let hash = Sha256::digest(format!("{PACKAGES}{INIT}"));
        let name: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = host.cache().join(format!("virtualbox-computer-{name}"));
        if !folder.exists() {
            let begun = Instant::now();
            build(host, &folder);
            println!("the computer was built in {:.1?}", begun.elapsed());
        }
        Computer { folder }
    }

    /// Switches it on, has it run `script` in the folder `disk`, which is what it finds in /mnt, and tells what that said.
    pub fn run(&self, host: &Host, disk: &Path, script: &str) -> String {
        fs::write(disk.join("run"), script).unwrap();
        let (image, said) = (host.scratch().join("mnt.ext4"), host.scratch().join("said"));
        make_disk(host, disk, &image, "1G");
        let at = |name: &str| self.folder.join(name).display().to_string();
        let out = host
            .run(
                "qemu-system-x86_64",
                "-machine q35 -accel tcg -cpu max,-la57,-vgif -smp 1 -m 2G",
            )
            .args("-nodefaults -no-reboot -display none".split(' '))
            .args([
                "-kernel",
                &at("vmlinuz"),
                "-initrd",
                &at("initrd"),
                "-append",
            ])
            .arg("root=/dev/vda rw console=ttyS0 quiet mitigations=off init=/story")
            .arg("-drive")
            .arg(format!(
                "file={},format=raw,if=virtio,snapshot=on",
                at("root.ext4")
            ))
            .arg("-drive")
            .arg(format!("file={},format=raw,if=virtio", image.display()))
            .args(["-device", "virtio-rng-pci", "-serial"])
            .arg(format!("file:{}", host.scratch().join("console").display()))
            .arg("-serial")
            .arg(format!("file:{}", said.display()))
            .deadline(LIFE)
            .run();
        let read = |path: &Path| {
            let text = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&text).replace('\r', "")
        };
        let said = read(&said);
        let console = read(&host.scratch().join("console"));
        assert_eq!(out.code, 0, "{}\n{console}\n{said}", out.stderr);
        said
    }
}

fn build(host: &Host, folder: &Path) {
    let draft = folder.with_extension("new");
    if draft.exists() {
        fs::remove_dir_all(&draft).unwrap();
    }
    fs::create_dir(&draft).unwrap();
    let root = draft.join("root");
    // sid's list of packages is older here than it says that it stays good.
    host.run(
        "mmdebstrap",
        "--quiet --mode=root --variant=apt --components=main,contrib",
    )
    .args([
        format!("--include={PACKAGES}").as_str(),
        "--aptopt=Acquire::Check-Valid-Until \"false\"",
        "--aptopt=APT::Install-Recommends \"false\"",
        "sid",
        root.to_str().unwrap(),
        "http://deb.debian.org/debian",
    ])
    .deadline(BUILD)
    .ok();
    let init = root.join("story");
    fs::write(&init, INIT).unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(root.join("boot")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        for (begin, wanted) in [("vmlinuz-", "vmlinuz"), ("initrd.img-", "initrd")] {
            if name.starts_with(begin) {
                fs::copy(entry.path(), draft.join(wanted)).unwrap();
            }
        }
    }
    make_disk(host, &root, &draft.join("root.ext4"), "4G");
    fs::remove_dir_all(&root).unwrap();
    fs::rename(&draft, folder).unwrap();
}

fn make_disk(host: &Host, folder: &Path, disk: &Path, size: &str) {
    // Of a first try.
    let _ = fs::remove_file(disk);
    host.run("mke2fs", "-q -t ext4 -E lazy_itable_init=1 -d")
        .args([folder.to_str().unwrap(), disk.to_str().unwrap(), size])
        .deadline(Duration::from_secs(300))
        .ok();
}
