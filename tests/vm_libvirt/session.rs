//! A user's own libvirt, without any right: QEMU runs as the user, SSH is a port of the loopback.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use crate::vm::{ANSWER, BOOT, Host, Run, assert_nothing_left, build_busybox, eventually, image};
use crate::{end_daemon, kept, plugin, resized};

/// nobody: libvirt wants a user whom the system knows.
const UID: u32 = 65_534;

const FOREIGN: &str = "<domain type='qemu'><name>foreign</name><memory>65536</memory>\
                       <os><type arch='x86_64' machine='q35'>hvm</type></os></domain>";

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_machine_of_a_users_own_libvirt() {
    let session = Session::new();
    let user = |line: &str| session.user(line);
    user("cat > foreign.xml; virsh -q define foreign.xml")
        .stdin(FOREIGN)
        .deadline(ANSWER)
        .ok();

    // One CPU: emulated ones lose each other's timers in one reboot of many.
    let made = user(&format!(
        "$BERTH create web --cpus 1 {} --timings --image {}",
        resized::ROOM,
        image("debian-13-docker")
    ))
    .deadline(BOOT)
    .ok();
    println!("{}", made.stderr);
    // By evidence, whatever libvirt advertises.
    made.says("software emulation it is");
    assert_eq!(session.domains(), ["berth-web", "foreign"]);
    // The XML and QEMU's command line name credentials, and their files are the user's alone.
    let secret = "vm=$(pgrep -u nobody -f '^/usr/bin/qemu.*guest=berth-web'); \
                  tr '\\0' ' ' < /proc/$vm/cmdline > line; grep -q fw_cfg line; \
                  if grep -rE 'ssh-ed25519|ssh_host' line config/libvirt; then exit 1; fi; \
                  test -z \"$(find home/.local/share/berth/machines/web/vm/credentials -perm /077)\"";
    user(secret).ok();

    user("$BERTH use web").ok();
    build_busybox(&session.host);
    assert_eq!(
        user("docker --context web run --rm bbox echo hello").text(),
        "hello"
    );

    let boot_id = "$BERTH ssh web -- cat /proc/sys/kernel/random/boot_id";
    let before = user(boot_id).text();
    user("$BERTH ssh web -- systemctl reboot").run();
    eventually("the guest is rebooted", ANSWER, || {
        let out = user(boot_id).run();
        (out.code == 0 && out.stdout.trim() != before).then_some(())
    });
    eventually("the engine answers again", ANSWER, || {
        (user("docker --context web version").run().code == 0).then_some(())
    });
    assert_eq!(
        user("docker --context web run --rm bbox echo hello").text(),
        "hello"
    );

    end_daemon(&session.run_folder().join("libvirtd.pid"));
    session.start_daemon();
    let listed = user("$BERTH ls --json --timeout 60").ok().stdout;
    assert!(listed.contains("\"state\": \"running\""), "{listed}");
    user("docker --context web version").ok();

    kept::goes_on(&session);
    resized::grows(&session);
    found_again(&session);
    resized::has_it_still(&session);

    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let port = listed[0]["ssh"]["port"].as_u64().unwrap() as u16;
    user("$BERTH rm --yes web").ok();
    assert_eq!(session.domains(), ["foreign"]);
    assert_eq!(user("virsh -q vol-list default").text(), "");
    TcpListener::bind(("127.0.0.1", port)).unwrap();
    user("virsh -q undefine foreign").ok();
    session.finish();
}

/// Loses all that berth knows of the machine while it runs, and takes it over again: its disk is what it was.
fn found_again(session: &Session) {
    let user = |line: &str| session.user(line);
    user("$BERTH ssh web -- 'echo kept > /root/note'").ok();
    let known_hosts = "cat home/.local/share/berth/machines/web/known_hosts";
    let before = user(known_hosts).text();
    let supervisor = session.host.machine("web").join("supervisor.json");
    let supervisor: serde_json::Value =
        serde_json::from_slice(&fs::read(supervisor).unwrap()).unwrap();
    user(&format!("kill -9 {}", supervisor["pid"])).ok();
    user("rm -rf home/.local/share/berth/machines home/.local/share/berth/ports").ok();
    assert_eq!(user("$BERTH ls -q").text(), "");

    let found = user("$BERTH driver adopt libvirt --json").ok().stdout;
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found[0]["name"], "web");
    assert_eq!(found[0]["obstacle"], serde_json::Value::Null);
    for no in ["foreign", "berth-foreign"] {
        user(&format!("$BERTH driver adopt libvirt {no}")).exits(3);
    }
    user("$BERTH driver adopt libvirt web")
        .exits(4)
        .says("say --restart");
    assert_eq!(user("$BERTH ls -q").text(), "");

    let adopted = user("$BERTH driver adopt libvirt --all --restart --timings")
        .deadline(BOOT)
        .ok();
    println!("{}", adopted.stderr);
    assert_eq!(adopted.stdout.trim(), "web");
    assert_eq!(user("$BERTH ssh web -- cat /root/note").text(), "kept");
    assert_eq!(
        user("docker --context web run --rm bbox echo hello").text(),
        "hello"
    );
    assert_ne!(user(known_hosts).text(), before);
    assert_eq!(user("$BERTH driver adopt libvirt --json").text(), "[]");
    assert_eq!(session.domains(), ["berth-web", "foreign"]);
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn the_driver_keeps_its_promises() {
    let session = Session::new();
    let check = "$BERTH driver check libvirt --memory 512M --image";
    let out = session
        .user(&format!("{check} {}", image("debian-13-docker")))
        .deadline(BOOT * 4)
        .ok();
    println!("{}", out.stdout);
    session.finish();
}

pub struct Session {
    host: Host,
}

impl Session {
    fn new() -> Session {
        let host = Host::with("libvirt");
        let script = format!(
            "mkdir -p bin images/refs images/locks images/tmp run config cache; \
             cp {berth} {plugin} {docker}/docker bin/; \
             cp $BERTH_IMAGES/refs/{image} images/refs/; digest=$(cat images/refs/{image}); folder=${{digest/:/-}}; \
             mkdir images/$folder; cd $BERTH_IMAGES/$folder; \
             cp disk.qcow2 image.toml initrd vmlinux $OLDPWD/images/$folder; \
             cd - >/dev/null; chown -R {UID}:{UID} .",
            berth = env!("CARGO_BIN_EXE_berth"),
            plugin = plugin().display(),
            docker = host.docker_folder().display(),
            image = image("debian-13-docker"),
        );
        host.shell(&script).deadline(BOOT).ok();
        fs::set_permissions(host.scratch(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(host.scratch(), Some(UID), Some(UID)).unwrap();
        let session = Session { host };
        session.start_daemon();
        session
    }

    /// Where libvirt's daemons have their pid files.
    pub fn run_folder(&self) -> PathBuf {
        self.host.scratch().join("run/libvirt")
    }

    pub fn start_daemon(&self) {
        // A supervisor that lost the last one may have had libvirt's library start another.
        self.user("libvirtd --daemon || test -e run/libvirt/libvirtd.pid")
            .ok();
        // QEMU is asked for its abilities at the first connection.
        self.user("virsh -q version >/dev/null")
            .deadline(ANSWER)
            .ok();
    }

    /// A line for the user's shell.
    pub fn user(&self, line: &str) -> Run {
        let scratch = self.host.scratch();
        let id = UID.to_string();
        let path = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            scratch.join("bin").display()
        );
        self.host
            .run("setpriv", "--clear-groups --no-new-privs --inh-caps=-all")
            .args(["--reuid", &id, "--regid", &id, "bash", "-euc", line])
            .env("PATH", path)
            .env("BERTH", scratch.join("bin/berth"))
            .env("BERTH_IMAGES", scratch.join("images"))
            .env("XDG_RUNTIME_DIR", scratch.join("run"))
            .env("XDG_CONFIG_HOME", scratch.join("config"))
            .env("XDG_CACHE_HOME", scratch.join("cache"))
    }

    /// The names of all domains, without what berth adds to its own to tell them apart.
    fn domains(&self) -> Vec<String> {
        let listed = self.user("virsh -q list --all --name").text();
        let mut names: Vec<String> = listed
            .lines()
            .map(
                |name| match name.strip_prefix("berth-").and_then(|n| n.rsplit_once('-')) {
                    Some((name, _)) => format!("berth-{name}"),
                    None => name.to_owned(),
                },
            )
            .collect();
        names.sort();
        names
    }

    fn finish(self) {
        for daemon in ["libvirtd", "virtlogd"] {
            end_daemon(&self.run_folder().join(format!("{daemon}.pid")));
        }
        assert_nothing_left(&self.host);
        let left = self.host.shell("find home config -type f").text();
        assert!(!left.contains("berth-"), "{left}");
    }
}
