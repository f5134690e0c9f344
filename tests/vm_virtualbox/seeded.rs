//! A machine of an image that berth did not build, as far as berth knows: cloud-init sets it up, from its seed.

use std::fs;

use crate::booted::Booted;
use crate::http::{self, Answer, Server};
use crate::vm::{BOOT, Host, cloud_disk};
use crate::{VBox, walk};

/// Makes it, as whole as VirtualBox makes it here: it boots from its own disk, and has its seed besides. Tells its image.
pub fn made(vbox: &VBox, host: &Host) -> String {
    let disk = fs::read(cloud_disk(host)).unwrap();
    let expected = format!("sha256:{}", http::sha256(&disk));
    let server = Server::new(move |request| Answer::file(request, &disk));

    let create = format!(
        "create sky --engine none --cpus 1 --memory 768M --disk 24G --digest {expected} --image {}/cloud.qcow2",
        server.address()
    );
    let made = vbox.berth(host, &create).deadline(BOOT).exits(1);
    assert!(made.stderr.contains("/dev/vboxdrv"), "{}", made.stderr);
    its_disks_are_two(vbox, host, "sky");
    let record = fs::read_to_string(host.machine("sky").join("machine.toml")).unwrap();
    let record: toml::Table = record.parse().unwrap();
    record["image"]["digest"].as_str().unwrap().to_owned()
}

fn its_disks_are_two(vbox: &VBox, host: &Host, name: &str) {
    let shown = vbox.show(host, name);
    for words in [
        "\n\"SATA-0-0\"=\"none\"\n",
        ".vdi\"\n\"SATA-ImageUUID-1-0\"",
        "/vm/seed.vmdk\"\n\"SATA-ImageUUID-2-0\"",
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    let vm = host.machine(name).join("vm");
    let seed = host.machine(name).join("seed.img");
    assert_eq!(fs::canonicalize(vm.join("seed.raw")).unwrap(), seed);
    assert!(!walk(&vm).contains(&vm.join("boot.raw")));
}

/// The guest has the machine's name, host key and user's key from the seed alone.
pub fn its_seed_sets_it_up(host: &Host, guest: &Booted) {
    let line = "hostname; cloud-init query platform; ls /sys/firmware/efi; cat /proc/cmdline";
    let out = guest.answers(host, line).stdout;
    assert!(out.starts_with("sky\nnocloud\n"), "{out}");
    assert!(out.contains("efivars") && !out.contains("rdinit"), "{out}");
}

/// Snapshots leave the seed alone; a copy has one of its own.
pub fn it_is_kept_and_copied(vbox: &VBox, host: &Host) {
    // All of it was made but the start, which this computer cannot do: it is a machine that is off.
    fs::remove_file(host.machine("sky").join("journal")).unwrap();
    vbox.berth(host, "resize sky --cpus 1 --memory 768M --disk 26G")
        .ok();
    vbox.berth(host, "snapshot create sky before").ok();
    its_disks_are_two(vbox, host, "sky");
    vbox.berth(host, "clone sky sky2").deadline(BOOT).exits(1);
    its_disks_are_two(vbox, host, "sky2");
    let seed = |name: &str| fs::read(host.machine(name).join("seed.img")).unwrap();
    assert_ne!(seed("sky"), seed("sky2"));
    vbox.berth(host, "rm --yes sky2").ok();
    vbox.berth(host, "snapshot restore sky before").ok();
    its_disks_are_two(vbox, host, "sky");
}
