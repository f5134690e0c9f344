//! Debian's stock boot: the same packages with Debian's own initrd and every unit as it comes.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::cold::{Qemu, said};
use super::world::{World, printed};

/// What the guest does to say that its engine is up; the one thing that stock Debian lacks.
const UNIT: &str = "[Unit]\nAfter=docker.service\nRequires=docker.service\n[Service]\nType=oneshot\n\
                    ExecStart=/bin/sh -c 'echo engine >/dev/virtio-ports/dev.berth.ready.0'\n\
                    [Install]\nWantedBy=multi-user.target\n";

const PACKAGES: &str = "linux-image-cloud-amd64,initramfs-tools,zstd,systemd-sysv,dbus,udev,kmod,openssh-server,\
                        qemu-guest-agent,iproute2,ca-certificates,systemd-resolved,iptables,docker.io,docker-cli";

/// Builds it.
pub fn build(world: &World) -> Result<()> {
    let folder = world.file("stock");
    fs::create_dir_all(folder.join("root"))?;
    let tar = folder.join("root.tar");
    let unit = folder.join("bench-ready.service");
    let network = folder.join("dhcp.network");
    fs::write(&unit, UNIT)?;
    fs::write(&network, "[Match]\nName=en*\n[Network]\nDHCP=yes\n")?;
    let mut build = Command::new("mmdebstrap");
    build
        .arg("--quiet")
        .arg("--variant=minbase")
        .arg(format!("--include={PACKAGES}"))
        .arg(format!(
            "--customize-hook=copy-in {} /etc/systemd/system",
            unit.display()
        ))
        .arg(format!(
            "--customize-hook=copy-in {} /etc/systemd/network",
            network.display()
        ))
        .arg("--customize-hook=chroot \"$1\" systemctl enable bench-ready systemd-networkd")
        .arg("--customize-hook=echo /dev/vda / ext4 defaults 0 1 >\"$1/etc/fstab\"")
        .args(["trixie"])
        .arg(&tar)
        .arg("http://deb.debian.org/debian")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    printed(&mut build)?;
    let script = "set -e; cd \"$0\"; tar -xpf root.tar -C root; rm root.tar; \
                  cp root/boot/vmlinuz-* vmlinuz; cp root/boot/initrd.img-* initrd; \
                  truncate -s 8G disk.raw; mke2fs -q -t ext4 -d root disk.raw; rm -rf root";
    printed(Command::new("sh").args(["-c", script]).arg(&folder))?;
    Ok(())
}

/// How long from QEMU's start until the engine is up, on a CPU of this model. The disk stays as it was.
pub fn boot(world: &World, cpu: &str) -> Result<Duration> {
    let folder = world.file("stock");
    let disk = folder.join("disk.raw");
    let _ = fs::remove_file(world.file("ready"));
    let begun = Instant::now();
    let child = Command::new("qemu-system-x86_64")
        .args(
            "-nodefaults -no-user-config -display none -machine q35 -accel tcg,thread=multi"
                .split(' '),
        )
        .args(["-cpu", cpu])
        .args("-smp 2 -m 1024 -append".split(' '))
        .arg("root=/dev/vda rw quiet console=ttyS0")
        .arg("-kernel")
        .arg(folder.join("vmlinuz"))
        .arg("-initrd")
        .arg(folder.join("initrd"))
        .arg("-drive")
        .arg(format!(
            "file={},if=virtio,format=raw,cache=writeback,snapshot=on",
            disk.display()
        ))
        .args(
            "-nic user,model=virtio-net-pci -device virtio-rng-pci -device virtio-serial-pci"
                .split(' '),
        )
        .arg("-serial")
        .arg(format!("file:{}", world.file("stock-console").display()))
        .arg("-chardev")
        .arg(format!(
            "file,id=ready,path={}",
            world.file("ready").display()
        ))
        .args([
            "-device",
            "virtserialport,chardev=ready,name=dev.berth.ready.0",
        ])
        .stdin(Stdio::null())
        .stderr(File::create(world.file("stock.log"))?)
        .spawn()?;
    let _qemu = Qemu(child);
    said(world, "engine")?;
    Ok(begun.elapsed())
}
