//! VirtualBox machines, by a real VBoxManage 7.2: Debian's, in a folder of its own. This computer lacks its kernel module,
//! so VirtualBox makes, keeps and removes VMs here and starts none; the disks that it would start from boot in QEMU. On
//! another computer, an emulated one, it runs them: see `running`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod booted;
mod computer;
mod guest;
mod running;
mod seeded;
mod user;

#[path = "../http/mod.rs"]
mod http;

#[path = "../vm/mod.rs"]
mod vm;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use booted::Booted;
use vm::{BOOT, Host, Run, assert_nothing_left, eventually, image};

/// Fetching and unpacking 300 MB of packages.
const UNPACK: Duration = Duration::from_secs(900);

const OWN: &str = "virtualbox";

#[test]
#[ignore = "boots a VM; cargo xtask test runs it"]
fn machines_are_made_kept_and_removed_by_virtualbox() {
    let host = Host::with(OWN);
    let vbox = VBox::installed(&host);
    let theirs = vbox.somebodys_own(&host);

    refused(&vbox, &host);
    let reference = image("debian-13-docker");
    let made = vbox
        .berth(
            &host,
            "create web1 --engine none --cpus 1 --memory 768M --disk 24G --image",
        )
        .arg(&reference)
        .deadline(BOOT)
        .exits(1);
    for words in ["/dev/vboxdrv", "virtualbox-dkms", "modprobe vboxdrv"] {
        assert!(made.stderr.contains(words), "{}", made.stderr);
    }
    let port = as_asked_for(&vbox, &host);
    its_secrets_are_its_own(&host);
    a_taken_port_is_exchanged(&vbox, &host, port);
    it_takes_other_hardware(&vbox, &host, &reference);
    let guest = Booted::of(&host, "web1");
    let cloud = seeded::made(&vbox, &host);
    let seeded = Booted::of(&host, "sky");
    its_disks_boot(&host, &guest);
    drop(guest);
    seeded::its_seed_sets_it_up(&host, &seeded);
    drop(seeded);
    seeded::it_is_kept_and_copied(&vbox, &host);
    it_gets_another_size(&vbox, &host);
    what_it_was_is_kept(&vbox, &host);

    vbox.berth(&host, "rm --yes web1 sky").ok();
    host.berth("image rm").arg(&cloud).ok();
    assert_eq!(vbox.manage(&host, "list hdds").ok().stdout, vbox.nothing);
    let left = vbox.manage(&host, "list vms").ok().stdout;
    assert!(left.contains(&theirs) && !left.contains("berth-"), "{left}");
    vbox.manage(&host, "unregistervm mine").ok();
    assert_eq!(vbox.manage(&host, "list vms").ok().stdout, vbox.nothing);
    vbox.ended(&host);
    assert_nothing_left(&host);
}

fn refused(vbox: &VBox, host: &Host) {
    for (options, code, words) in [
        ("-o nick=virtio", 2, "did you mean nic?"),
        ("-o nic=e1000", 2, "is not one of virtio, 82540EM"),
        ("-o controller=nvme", 2, "is not one of sata, ide"),
        (
            "-o network=bridged",
            2,
            "is not one of nat, host-only:, bridged:",
        ),
        ("-o network=bridged:none9", 2, "names no such interface"),
        // Only VirtualBox's kernel modules could make one.
        ("-o network=host-only:vboxnet0", 2, "hostonlyif create"),
        ("--cpus 9999", 2, "must be 1 to"),
        ("--memory 9999G", 2, "more than this computer has"),
        ("--disk 1G", 2, "smaller than the image"),
    ] {
        let create = format!("create web9 {options} --engine none --image");
        let out = vbox
            .berth(host, &create)
            .arg(image("debian-13-docker"))
            .exits(code);
        assert!(out.stderr.contains(words), "{options}: {}", out.stderr);
    }
    let found = vbox.berth(host, "driver ls --json").ok().stdout;
    let drivers: serde_json::Value = serde_json::from_str(&found).unwrap();
    let drivers = drivers.as_array().unwrap();
    let own = drivers.iter().find(|row| row["name"] == OWN).unwrap();
    assert_eq!(own["usable"], false, "{own}");
}

/// The VM has what the user wished, and the rule to SSH on loopback only. Tells the rule's port.
fn as_asked_for(vbox: &VBox, host: &Host) -> u16 {
    let shown = vbox.show(host, "web1");
    for property in [
        "memory=768",
        "cpus=1",
        "firmware=\"EFI\"",
        "nictype1=\"virtio\"",
        "nic1=\"nat\"",
        "nic2=\"none\"",
        "rtcuseutc=\"on\"",
        "audio=\"null\"",
        "uart1=\"0x03f8,4\"",
        "\"SATA-2-0\"=\"none\"",
        "VMState=\"poweroff\"",
    ] {
        assert!(
            shown.lines().any(|line| line == property),
            "{property}\n{shown}"
        );
    }
    assert!(shown.contains("/vm/boot.vmdk\"\n"), "{shown}");
    assert!(shown.contains("/vm/disk.vdi\"\n"), "{shown}");
    assert_eq!(vbox.disk_sizes(host), ["24576", "24576", "63"]);
    forwarded(&shown)
}

fn forwarded(shown: &str) -> u16 {
    let rules: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with("Forwarding("))
        .collect();
    let [rule] = rules[..] else {
        panic!("{rules:?}");
    };
    let port = rule
        .strip_prefix("Forwarding(0)=\"ssh,tcp,127.0.0.1,")
        .and_then(|rest| rest.strip_suffix(",,22\""));
    port.unwrap().parse().unwrap()
}

fn its_secrets_are_its_own(host: &Host) {
    let folder = host.machine("web1").join("vm");
    for entry in walk(&folder) {
        let about = fs::symlink_metadata(&entry).unwrap();
        let open = about.permissions().mode() & 0o077;
        assert!(about.is_symlink() || open == 0, "{}", entry.display());
        // Only the boot disk hands them over.
        if !about.is_symlink() && entry.file_name().unwrap() != "boot.raw" && about.is_file() {
            let text = String::from_utf8_lossy(&fs::read(&entry).unwrap()).into_owned();
            assert!(!text.contains("ssh-ed25519"), "{}", entry.display());
        }
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        }
        found.push(entry.path());
    }
    found
}

fn a_taken_port_is_exchanged(vbox: &VBox, host: &Host, port: u16) {
    let _stranger = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let out = vbox.berth(host, "create --resume web1").exits(1);
    let note = format!("another program listens on port {port}");
    assert!(out.stderr.contains(&note), "{}", out.stderr);
    assert_ne!(forwarded(&vbox.show(host, "web1")), port);
}

/// Its disks may hang on IDE, and a second card may be on a network of the host's; the first one is as ever.
fn it_takes_other_hardware(vbox: &VBox, host: &Host, image: &str) {
    let listed = vbox.manage(host, "list bridgedifs").ok().stdout;
    let mut names = listed.lines().filter_map(|line| line.strip_prefix("Name:"));
    let card = names.next().expect("a network card of the host's").trim();
    let create = "create web3 --engine none --cpus 1 --memory 768M -o controller=ide -o";
    let made = vbox
        .berth(host, create)
        .args([&format!("network=bridged:{card}"), "--image", image])
        .deadline(BOOT)
        .exits(1);
    assert!(made.stderr.contains("/dev/vboxdrv"), "{}", made.stderr);
    let shown = vbox.show(host, "web3");
    for words in [
        "/vm/boot.vmdk\"\n\"IDE-ImageUUID-0-0\"",
        "/vm/disk.vdi\"\n\"IDE-ImageUUID-0-1\"",
        "\nnic1=\"nat\"\n",
        "\nnic2=\"bridged\"\n",
        "\nnictype2=\"virtio\"\n",
        &format!("\nbridgeadapter2=\"{card}\"\n"),
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    let last = |name: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().to_owned()
    };
    assert_eq!(last("macaddress1=\"52"), last("macaddress2=\"56"));
    forwarded(&shown);
    vbox.berth(host, "rm --yes web3").ok();
}

/// What it would start from next grows with it.
fn it_gets_another_size(vbox: &VBox, host: &Host) {
    // All of it was made but the start, which this computer cannot do: it is a machine that is off.
    fs::remove_file(host.machine("web1").join("journal")).unwrap();
    let resize = "resize web1 --cpus 1 --memory 768M --disk 26G";
    for _ in 0..2 {
        vbox.berth(host, resize).ok();
    }
    let shown = vbox.show(host, "web1");
    for property in ["cpus=1", "memory=768"] {
        assert!(
            shown.lines().any(|line| line == property),
            "{property}\n{shown}"
        );
    }
    let sizes = vbox.disk_sizes(host);
    assert!(sizes.contains(&"26624".to_owned()), "{sizes:?}");
}

/// Snapshots are layers over the machine's disk, whose boot disk they leave alone; a copy has one disk of its own.
fn what_it_was_is_kept(vbox: &VBox, host: &Host) {
    for name in ["before", "later"] {
        vbox.berth(host, "snapshot create web1").arg(name).ok();
    }
    let listed = vbox.berth(host, "snapshot ls web1 -q").ok().stdout;
    assert_eq!(listed, "before\nlater\n");
    let shown = vbox.show(host, "web1");
    assert!(
        shown.contains("/Snapshots/{") && shown.contains("/vm/boot.vmdk\"\n"),
        "{shown}"
    );
    let missing = vbox.berth(host, "snapshot restore web1 none").exits(3);
    assert!(missing.stderr.contains("none"), "{}", missing.stderr);
    vbox.berth(host, "snapshot restore web1 before").ok();
    vbox.berth(host, "snapshot rm web1 later").ok();
    let listed = vbox.berth(host, "snapshot ls web1 -q").ok().stdout;
    assert_eq!(listed, "before\n");

    let copied = vbox.berth(host, "clone web1 web2").deadline(BOOT).exits(1);
    assert!(copied.stderr.contains("/dev/vboxdrv"), "{}", copied.stderr);
    let shown = vbox.show(host, "web2");
    assert!(shown.contains("/vm/disk.vdi\"\n"), "{shown}");
    vbox.berth(host, "rm --yes web2").ok();
    assert!(vbox.show(host, "web1").contains("/Snapshots/{"));
}

/// The guest comes up by UEFI, has the machine's host key, lets its key in, and has grown to the disk's size.
fn its_disks_boot(host: &Host, guest: &Booted) {
    let line = "hostname; df --output=size --block-size=1G / | tail -1; ls /sys/firmware/efi; cat /proc/cmdline";
    let out = guest.answers(host, line);
    let lines: Vec<&str> = out.stdout.lines().map(str::trim).collect();
    assert_eq!(lines[0], "web1");
    assert!(lines[1].parse::<u64>().unwrap() > 20, "{}", out.stdout);
    assert!(out.stdout.contains("efivars"), "{}", out.stdout);
    assert!(!out.stdout.contains("ssh-ed25519"), "{}", out.stdout);
}

/// Debian sid's VirtualBox in a folder. Each call sees this computer's /proc, /dev, image store and the test's folder at
/// their own places, in a mount namespace that goes with it.
struct VBox {
    /// Where its VBoxManage is, for PATH.
    folder: PathBuf,
    /// What a list is like that has nothing in it: Debian's begins with a warning.
    nothing: String,
}

impl VBox {
    fn installed(host: &Host) -> VBox {
        let root = host.cache().join("virtualbox-sid");
        if !root.exists() {
            unpack(host, &root);
        }
        let folder = host.scratch().join("bin");
        let state = host.scratch().join("vbox");
        fs::create_dir(&folder).unwrap();
        for name in ["root", "tmp"] {
            fs::create_dir_all(state.join(name)).unwrap();
        }
        let real = |path: &Path| fs::canonicalize(path).unwrap().display().to_string();
        let script = format!(
            r#"#!/bin/sh
root={root}
in_root='
root=$1; shift
for folder in root tmp; do mount --bind "{state}/$folder" "$root/$folder"; done
for folder in /proc /dev {scratch} {images}; do
    mkdir -p "$root$folder"
    mount --rbind "$folder" "$root$folder"
done
exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LOGNAME=test LC_ALL=C BERTH_TEST={scratch} \
    VBoxManage "$@"'
exec unshare --mount --propagation private sh -ec "$in_root" sh "$root" "$@"
"#,
            root = real(&root),
            scratch = real(host.scratch()),
            images = real(&host.images()),
            state = real(&state),
        );
        let program = folder.join("VBoxManage");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut vbox = VBox {
            folder,
            nothing: String::new(),
        };
        let version = vbox.manage(host, "--version").ok().stdout;
        assert!(
            version.lines().last().unwrap().starts_with("7."),
            "{version}"
        );
        vbox.nothing = vbox.manage(host, "list vms").ok().stdout;
        vbox
    }

    fn path(&self) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", self.folder.display())
    }

    fn berth(&self, host: &Host, arguments: &str) -> Run {
        host.berth(arguments).env("PATH", self.path())
    }

    fn manage(&self, host: &Host, arguments: &str) -> Run {
        host.run("VBoxManage", arguments).env("PATH", self.path())
    }

    /// A VM that berth did not make.
    fn somebodys_own(&self, host: &Host) -> String {
        let folder = host.scratch().join("mine");
        fs::create_dir(&folder).unwrap();
        self.manage(host, "createvm --name mine --register --basefolder")
            .arg(folder.to_str().unwrap())
            .ok();
        "\"mine\"".into()
    }

    /// The properties of a machine's VM.
    fn show(&self, host: &Host, machine: &str) -> String {
        let vms = self.manage(host, "list vms").ok().stdout;
        let name = vms
            .split('"')
            .find(|word| word.starts_with(&format!("berth-{machine}-")));
        let name = name.unwrap_or_else(|| panic!("no VM of {machine}: {vms}"));
        self.manage(host, "showvminfo --machinereadable")
            .arg(name)
            .ok()
            .stdout
    }

    /// Of all registered disks, in MiB, the largest first.
    fn disk_sizes(&self, host: &Host) -> Vec<String> {
        let listed = self.manage(host, "list hdds").ok().stdout;
        let mut sizes: Vec<u64> = listed
            .lines()
            .filter_map(|line| line.strip_prefix("Capacity:")?.trim().split(' ').next())
            .map(|size| size.parse().unwrap())
            .collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes.iter().map(u64::to_string).collect()
    }

    /// VirtualBox's service ends some seconds after its last client.
    fn ended(&self, host: &Host) {
        let mark = format!("BERTH_TEST={}", host.scratch().display());
        eventually("the end of VBoxSVC", Duration::from_secs(60), || {
            let alive = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
                let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
                String::from_utf8_lossy(&environment).contains(&mark)
            });
            (!alive).then_some(())
        });
    }
}

fn unpack(host: &Host, root: &Path) {
    let begun = Instant::now();
    let draft = root.with_extension("new");
    if draft.exists() {
        fs::remove_dir_all(&draft).unwrap();
    }
    // sid's list of packages is older here than it says that it stays good.
    host.run(
        "mmdebstrap",
        "--quiet --mode=root --variant=apt --components=main,contrib --include=virtualbox",
    )
    .args([
        "--aptopt=Acquire::Check-Valid-Until \"false\"",
        "--aptopt=APT::Install-Recommends \"false\"",
    ])
    .args([
        "sid",
        draft.to_str().unwrap(),
        "http://deb.debian.org/debian",
    ])
    .deadline(UNPACK)
    .ok();
    fs::rename(&draft, root).unwrap();
    println!("VirtualBox unpacked in {:.1?}", begun.elapsed());
}
