//! The same image booted by its disk: firmware, boot loader, kernel and initrd from the EFI system partition.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod vm;

use vm::{BOOT, Host, image, short_docker_list};

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_machine_boots_through_firmware() {
    let host = Host::with("qemu");
    host.berth("create efi -o boot=efi --image")
        .arg(image("debian-13-docker"))
        .deadline(BOOT)
        .ok();
    host.inside("efi", "test -d /sys/firmware/efi").ok();
    short_docker_list(&host, "efi", 17_821);
    host.finish();
}
