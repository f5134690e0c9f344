//! Real systems adopted over SSH: machines that one berth made are, to another one, hosts that run already.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod vm;

use std::time::Duration;

use vm::{BOOT, Host, build_busybox, image};

/// A guest fetches and unpacks 300 MB.
const INSTALL: Duration = Duration::from_secs(900);

/// What tells one boot and one run of the engine from another.
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";
const ENGINE: &str = "systemctl show docker --property MainPID,ActiveEnterTimestamp; \
                      stat -c %Y%i /etc/docker/daemon.json; cat /root/.ssh/authorized_keys; true";

/// Adopts a machine of `maker`'s.
fn adopt(maker: &Host, adopter: &Host, machine: &str, name: &str, user: &str) -> vm::Run {
    let row = maker.row(machine);
    let known_hosts = maker.machine(machine).join("known_hosts");
    let host_key = std::fs::read_to_string(known_hosts).unwrap();
    let (_, host_key) = host_key.trim().split_once(' ').unwrap();
    adopter
        .berth("create --timings -o host=127.0.0.1 -o")
        .arg(format!("user={user}"))
        .args(["-o", &format!("port={}", row["ssh"]["port"])])
        .args(["-o", &format!("host-key={host_key}")])
        .args(["-o".into(), {
            let key = maker.machine(machine).join("id_ed25519");
            format!("key={}", key.display())
        }])
        .arg(name)
        .deadline(INSTALL)
}

/// Lets the user `me` in with the machine's key.
fn with_a_user(maker: &Host, machine: &str) {
    let script = "useradd -m -s /bin/bash me && mkdir -m 700 ~me/.ssh && \
                  cp /root/.ssh/authorized_keys ~me/.ssh/ && chown -R me: ~me/.ssh";
    maker.inside(machine, script).ok();
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn systems_that_run_already_are_adopted() {
    let maker = Host::with("uml");
    let adopter = Host::with("ssh");
    std::thread::scope(|scope| {
        for (name, rest) in [("with", "debian-13-docker"), ("bare", "debian-13")] {
            let maker = &maker;
            scope.spawn(move || {
                let engine = if name == "bare" { "none" } else { "docker" };
                maker
                    .berth("create --memory 768M --engine")
                    .args([engine, "--image", &image(rest), name])
                    .deadline(BOOT)
                    .ok()
            });
        }
    });
    std::thread::scope(|scope| {
        scope.spawn(|| a_bare_one_is_provisioned(&maker, &adopter));
        scope.spawn(|| an_engine_is_kept(&maker, &adopter));
    });
    let settings = maker.inside("with", "cat /etc/docker/daemon.json").text();
    rebooting_it_brings_all_of_it_back(&adopter);
    its_engine_ends_tls_itself(&adopter);

    adopter.finish();
    // What was adopted is still whose it was, without a trace of berth's.
    let left = "ls /etc/docker/berth-tls /etc/systemd/system/docker.socket.d; ss -ltn | grep 24376";
    maker.inside("with", left).exits(1);
    assert_eq!(
        maker.inside("with", "cat /etc/docker/daemon.json").text(),
        settings
    );
    maker.docker("--context with run --rm bbox true").ok();
    maker.finish();
}

/// Nobody in particular, who may become root without a password, or may not.
fn a_bare_one_is_provisioned(maker: &Host, adopter: &Host) {
    with_a_user(maker, "bare");
    let refused = adopt(maker, adopter, "bare", "far2", "me").exits(1);
    assert!(
        refused.stderr.contains("cannot become root"),
        "{}",
        refused.stderr
    );
    let sudo = "apt-get update -q && apt-get install -qy --no-install-recommends sudo && \
                echo 'me ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/berth";
    maker.inside("bare", sudo).deadline(INSTALL).ok();
    let made = adopter
        .berth("create --timings --resume far2")
        .deadline(INSTALL)
        .ok();
    println!("provisioned:\n{}", made.stderr);
    assert_eq!(adopter.row("far2")["engine"]["version"], "26.1.5+dfsg1");
    adopter.docker("--context far2 version").ok();
}

fn an_engine_is_kept(maker: &Host, adopter: &Host) {
    let before = maker.inside("with", ENGINE).text();
    with_a_user(maker, "with");
    let refused = adopt(maker, adopter, "with", "far0", "me").exits(1);
    assert!(
        refused.stderr.contains("usermod -aG docker me"),
        "{}",
        refused.stderr
    );
    maker.inside("with", "usermod -aG docker me").ok();
    adopter.berth("create --resume far0").ok();
    adopter.docker("--context far0 version").ok();
    let made = adopt(maker, adopter, "with", "far1", "root").ok();
    println!("adopted in {:.1?}:\n{}", made.took, made.stderr);
    assert!(made.stderr.contains("is kept as it is"), "{}", made.stderr);
    assert_eq!(maker.inside("with", ENGINE).text(), before);
    let row = adopter.row("far1");
    assert_eq!(
        (&row["state"], &row["engine"]["kind"]),
        (&"running".into(), &"docker".into())
    );
    adopter.berth("use far1").ok();
    build_busybox(adopter);
    adopter.docker("run --rm bbox true").ok();
    adopter.berth("certs enable far1").ok();
    let over_tls = "eval \"$($BERTH env far1 --tls)\"; docker run --rm bbox echo over tls";
    assert_eq!(adopter.shell(over_tls).text(), "over tls");
    assert_eq!(maker.inside("with", ENGINE).text(), before);
}

fn rebooting_it_brings_all_of_it_back(adopter: &Host) {
    let before = adopter.inside("far1", BOOT_ID).text();
    let restarted = adopter.berth("restart far1").deadline(BOOT).ok();
    println!("restarted in {:.1?}", restarted.took);
    assert_ne!(adopter.inside("far1", BOOT_ID).text(), before);
    adopter.docker("--context far1 run --rm bbox true").ok();
}

/// The guest's port is reached over SSH here, as it would be over a network elsewhere.
fn its_engine_ends_tls_itself(adopter: &Host) {
    let enabled = adopter
        .berth("certs enable far1 --by-engine --address 0.0.0.0:24376 --host localhost --context")
        .deadline(BOOT)
        .ok();
    println!("TLS by the engine in {:.1?}", enabled.took);
    assert_eq!(enabled.stdout.trim(), "tcp://localhost:24376");
    let config = adopter.machine("far1").join("ssh_config");
    let mut tunnel = adopter
        .run("ssh", "-L 24376:127.0.0.1:24376 -F")
        .arg(config.display().to_string())
        .args(["far1.berth", "cat"])
        .spawn();
    vm::eventually("the tunnel is open", vm::ANSWER, || {
        std::net::TcpStream::connect(("127.0.0.1", 24_376)).ok()
    });
    adopter.docker("--context far1 run --rm bbox true").ok();
    let over_tls =
        |line: &str| adopter.shell(&format!("eval \"$($BERTH env far1 --tls)\"; {line}"));
    over_tls("test $DOCKER_HOST = tcp://localhost:24376; docker run --rm bbox true").ok();

    // Nobody else gets in: not without a certificate, and not with that of another machine.
    over_tls(
        "unset DOCKER_TLS_VERIFY DOCKER_CERT_PATH; docker -H $DOCKER_HOST --tls=false version",
    )
    .exits(1);
    adopter.berth("certs enable far2").ok();
    let other = adopter.machine("far2").join("tls").display().to_string();
    let as_other = format!(
        "docker --tlsverify --tlscacert $DOCKER_CERT_PATH/ca.pem --tlscert {other}/cert.pem --tlskey {other}/key.pem version"
    );
    let refused = over_tls(&as_other).exits(1);
    assert!(refused.stderr.contains("tls"), "{}", refused.stderr);

    // New certificates lock the old ones out.
    over_tls("cp -r $DOCKER_CERT_PATH old").ok();
    adopter.berth("certs renew far1").deadline(BOOT).ok();
    over_tls("docker version").ok();
    over_tls("DOCKER_CERT_PATH=old docker version").exits(1);
    adopter.berth("certs disable far1").deadline(BOOT).ok();
    // It ends with what it reads.
    drop(tunnel.stdin.take());
    tunnel.wait().unwrap();
    adopter.docker("--context far1 run --rm bbox true").ok();
    adopter
        .berth("certs enable far1 --by-engine --address 0.0.0.0:24376")
        .deadline(BOOT)
        .ok();
}
