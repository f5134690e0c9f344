//! Templates: a booted machine is frozen, and others are cloned from it that have nothing in common that tells who they are.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod vm;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use vm::{BOOT, Host, assert_nothing_left, image};

/// How many clones are made at once; `BERTH_TEST_CLONES` asks for more.
const CLONES: usize = 6;

/// What no two machines may have in common, each a line of a guest's answer.
const IDENTITY: &[(&str, &str)] = &[
    (
        "host key",
        "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub",
    ),
    (
        "key that lets in",
        "cut -d' ' -f2 /root/.ssh/authorized_keys",
    ),
    ("machine id", "cat /etc/machine-id"),
    ("host name", "cat /proc/sys/kernel/hostname"),
    (
        "network address of the card",
        "cat /sys/class/net/en*/address",
    ),
    ("boot id", "cat /proc/sys/kernel/random/boot_id"),
    ("random bytes", "od -An -N16 -tx1 /dev/urandom | tr -d ' '"),
    ("kernel's UUID", "cat /proc/sys/kernel/random/uuid"),
];

/// A guest's clock may be as far off as this: under emulation a script that sets it is seconds on its way.
const CLOCK: u64 = 20;

fn build(host: &Host, arguments: &str) -> vm::Run {
    host.berth("template build --memory 1G --cpus 2")
        .args(arguments.split_whitespace())
        .deadline(BOOT)
}

fn create(host: &Host, arguments: &str) -> vm::Run {
    host.berth("create --memory 1G --cpus 2 --timings")
        .args(arguments.split_whitespace())
        .deadline(BOOT)
}

fn template_folder(host: &Host, id: &str) -> PathBuf {
    host.berth_home().join("templates").join(id)
}

fn templates(host: &Host) -> Vec<Value> {
    serde_json::from_str(&host.berth("template ls --json").ok().stdout).unwrap()
}

/// Each guest's answers, after its clock was looked at.
fn identities(host: &Host, names: &[String]) -> Vec<Vec<String>> {
    let script: Vec<&str> = IDENTITY.iter().map(|(_, line)| *line).collect();
    let script = format!("{}; date +%s", script.join("; "));
    names
        .iter()
        .map(|name| {
            let text = host.inside(name, &script).text();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            assert_eq!(lines.len(), IDENTITY.len() + 1, "{text}");
            let time: u64 = lines.pop().unwrap().parse().unwrap();
            assert!(now.as_secs().abs_diff(time) <= CLOCK, "{name}: {time}");
            lines
        })
        .collect()
}

fn assert_all_differ(identities: &[Vec<String>]) {
    for (at, (what, _)) in IDENTITY.iter().enumerate() {
        let different: BTreeSet<&String> = identities.iter().map(|lines| &lines[at]).collect();
        assert_eq!(different.len(), identities.len(), "{what}: {different:?}");
        assert!(different.iter().all(|word| !word.is_empty()), "{what}");
    }
}

fn engine_id(host: &Host, name: &str) -> String {
    let info = host.docker("info --format {{.ID}}");
    info.env("DOCKER_CONTEXT", name).text()
}

/// No machine's process is left, as after the host's power went off.
fn kill_all(host: &Host, names: &[String]) {
    for name in names {
        let pid = host.vm_pid(name);
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
    }
    for name in names {
        vm::eventually("the VM's end", vm::ANSWER, || {
            (host.state(name) == "stopped").then_some(())
        });
    }
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn clones_of_one_template_are_machines_of_their_own() {
    let host = Host::with("qemu");
    let built = build(&host, "--json --timings").ok();
    println!("{}", built.stderr);
    let template: Value = serde_json::from_str(&built.stdout).unwrap();
    let id = template["id"].as_str().unwrap().to_owned();
    assert_eq!(template["engine"], "docker 26.1.5");
    assert_eq!(template["clones"], serde_json::json!([]));
    // What is there already is not made again.
    assert_eq!(build(&host, "").text(), id);

    let count = std::env::var("BERTH_TEST_CLONES").map_or(CLONES, |n| n.parse().unwrap());
    let names: Vec<String> = (1..=count).map(|number| format!("c{number}")).collect();
    let made = create(&host, &names.join(" ")).ok();
    println!("{count} at once: {:.1?}\n{}", made.took, made.stderr);
    assert!(!made.stderr.contains("booted instead"), "{}", made.stderr);
    assert_eq!(
        templates(&host)[0]["clones"].as_array().unwrap().len(),
        count
    );

    for name in &names {
        let version = host.docker("version --format {{.Server.Version}}");
        let version = version.env("DOCKER_CONTEXT", name).text();
        assert!(version.starts_with("26.1.5"), "{version}");
    }
    let mut seen = identities(&host, &names);
    let mut engines: BTreeSet<String> = names.iter().map(|name| engine_id(&host, name)).collect();
    assert_eq!(engines.len(), count, "{engines:?}");
    let refused = host.berth("template rm").arg(&id).exits(4);
    let users = names.join(", ");
    refused
        .says(&format!("template {id} is in use by {users}"))
        .says(&format!("`berth rm {}`", names.join(" ")));

    kill_all(&host, &names);
    let last = format!("c{}", count + 1);
    let made = create(&host, &last).ok();
    println!("after all were killed: {:.1?}\n{}", made.took, made.stderr);
    assert!(!made.stderr.contains("booted instead"), "{}", made.stderr);
    assert!(engines.insert(engine_id(&host, &last)), "{engines:?}");
    // All of its memory is its own, whatever it began with.
    host.berth("suspend").arg(&last).ok();
    host.berth("resume").arg(&last).ok();
    seen.extend(identities(&host, &[last]));
    // The template was on no network. Here the address comes by DHCP, and is this computer's own.
    let made = create(&host, "passt -o network=passt").ok();
    println!("on passt's network: {:.1?}\n{}", made.took, made.stderr);
    assert!(!made.stderr.contains("booted instead"), "{}", made.stderr);
    assert!(engines.insert(engine_id(&host, "passt")), "{engines:?}");
    seen.extend(identities(&host, &["passt".to_owned()]));
    assert_all_differ(&seen);

    // One that was killed boots from its own disk, and is who it was. Its host key is checked by whoever asks.
    host.berth("start c1").deadline(BOOT).ok();
    assert_eq!(host.inside("c1", "cat /etc/machine-id").text(), seen[0][2]);
    assert!(engines.contains(&engine_id(&host, "c1")));

    host.berth("rm --yes --all").ok();
    assert_eq!(templates(&host)[0]["clones"], serde_json::json!([]));
    host.berth("template rm").arg(&id[..4]).ok();
    assert!(templates(&host).is_empty());
    assert_nothing_left(&host);
}

/// Debian 12's kernel has no VMGENID: only berth's seed tells its clones apart. It has no engine either.
#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_template_that_is_not_what_it_was_is_not_used() {
    let host = Host::with("qemu");
    let bookworm = image("debian-12");
    let folder = host.berth_home().join("templates");
    fs::create_dir_all(&folder).unwrap();

    // The image is not part of it.
    host.berth("image build").arg(&bookworm).deadline(BOOT).ok();
    // On a full disk nothing is made, and nothing is left.
    let full = host
        .shell(
            "mount -t tmpfs -o size=64M none \"$TEMPLATES\"
             \"$BERTH\" template build --image \"$IMAGE\" --memory 1G --cpus 2 && exit 9
             ls -A \"$TEMPLATES\"",
        )
        .env("TEMPLATES", folder.to_str().unwrap())
        .env("IMAGE", &bookworm);
    let full = in_a_mount_namespace(full).deadline(BOOT).ok();
    assert_eq!(full.stdout, "", "{}", full.stderr);
    // A file's page for which there is no room ends the program that writes it.
    full.says("making a template: the machine stopped before it was ready");

    let id = build(&host, "--image").arg(&bookworm).text();
    let made = create(&host, "--engine none b1 b2 --image")
        .arg(&bookworm)
        .ok();
    assert!(!made.stderr.contains("booted instead"), "{}", made.stderr);
    let twins = ["b1".to_owned(), "b2".to_owned()];
    assert_all_differ(&identities(&host, &twins));
    host.berth("rm --yes --all").ok();

    // One flipped bit, far inside: with the user's leave it is made anew.
    let memory = template_folder(&host, &id).join("shared-memory");
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(&memory)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 300 << 20).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 300 << 20).unwrap();
    let settings = host.home().join(".config/berth");
    fs::create_dir_all(&settings).unwrap();
    fs::write(settings.join("config.toml"), "template = 'always'\n").unwrap();
    create(&host, "--engine none b3 --image")
        .arg(&bookworm)
        .ok()
        .says(&format!(
            "template {id} is not used: its file shared-memory is not what it was"
        ))
        .says("it is made anew");
    assert_eq!(templates(&host)[0]["clones"], serde_json::json!(["b3"]));
    host.berth("rm --yes --all").ok();
    fs::remove_file(settings.join("config.toml")).unwrap();

    // Made by another QEMU: a program of another size stands for that. Then one whose file was cut.
    let other = host.scratch().join("other");
    fs::create_dir(&other).unwrap();
    let program = other.join("qemu-system-x86_64");
    fs::write(
        &program,
        "#!/bin/sh\nexec /usr/bin/qemu-system-x86_64 \"$@\"\n",
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", other.display(), std::env::var("PATH").unwrap());
    let devices = template_folder(&host, &id).join("devices");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            create(&host, "--engine none b4 --image")
                .arg(&bookworm)
                .env("PATH", path)
                .ok()
                .says(&format!(
                    "template {id} is not used: it was made with another qemu"
                ));
        });
        fs::set_permissions(&devices, fs::Permissions::from_mode(0o600)).unwrap();
        fs::File::options()
            .write(true)
            .open(&devices)
            .unwrap()
            .set_len(1000)
            .unwrap();
        create(&host, "--engine none b5 --image")
            .arg(&bookworm)
            .ok()
            .says(&format!(
                "template {id} is not used: its file devices is not what it was"
            ));
    });
    assert_eq!(templates(&host)[0]["clones"], serde_json::json!([]));
    host.berth("rm --yes --all").ok();
    host.berth("template prune --yes").ok();
    assert!(templates(&host).is_empty());
    assert_nothing_left(&host);
}

/// The same line of the shell, where mounts are its own.
fn in_a_mount_namespace(run: vm::Run) -> vm::Run {
    run.before(&["unshare", "--mount", "--map-root-user"])
}

/// Nobody asked for a template, and nobody waits for one.
#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_create_leaves_a_template_behind_that_the_next_one_is_cloned_from() {
    let host = Host::with("qemu");
    let settings = host.home().join(".config/berth");
    fs::create_dir_all(&settings).unwrap();
    let image = format!("--image {}", image("debian-12"));
    // Under emulation it is not made unless that is asked for.
    fs::write(settings.join("config.toml"), "template = 'background'\n").unwrap();
    let made = create(&host, &format!("m1 {image}")).ok();
    made.says("a template of it is made in the background");
    assert!(templates(&host).is_empty());
    let left = vm::eventually("the template", BOOT, || templates(&host).pop());
    assert_eq!(left["image"], image.trim_start_matches("--image "));
    let made = create(&host, &format!("m2 {image}")).ok();
    assert!(!made.stderr.contains("template"), "{}", made.stderr);
    assert_eq!(templates(&host)[0]["clones"], serde_json::json!(["m2"]));
    assert_eq!(templates(&host).len(), 1);
    host.berth("rm --yes --all").ok();
    host.berth("template prune --yes").ok();
    assert_nothing_left(&host);
}
