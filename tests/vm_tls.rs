//! A real engine in a real VM over TLS, and told what its user wants it to be told.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod vm;

use serde_json::Value;
use vm::{BOOT, Host, build_busybox, image};

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn docker_reaches_an_engine_over_tls() {
    let host = Host::with("uml");
    host.berth("create web1 --tls --memory 512M --image")
        .arg(image("debian-13-docker"))
        .deadline(BOOT)
        .ok();
    let over_tls = |line: &str| {
        let script = format!("eval \"$($BERTH env web1 --tls)\"; {line}");
        host.shell(&script)
    };
    let host_of = over_tls("echo $DOCKER_HOST $DOCKER_TLS_VERIFY").text();
    assert!(host_of.starts_with("tcp://127.0.0.1:"), "{host_of}");
    over_tls("docker version").ok();
    host.berth("use web1").ok();
    build_busybox(&host);

    // Everything that docker does with a connection: attached, hijacked, half-closed, streamed.
    let echoed = over_tls("printf 'one\\ntwo\\n' | docker run --rm -i bbox cat").text();
    assert_eq!(echoed, "one\ntwo");
    over_tls("docker run --rm bbox sh -c 'exit 7'").exits(7);
    let sum =
        "head -c 20000000 /dev/urandom >f; sha256sum <f; docker run --rm -i bbox sha256sum <f";
    let sums = over_tls(sum).text();
    let (here, there) = sums.split_once('\n').unwrap();
    assert_eq!(here, there);
    over_tls("docker save -o bbox.tar bbox; docker rmi bbox; docker load -q -i bbox.tar").ok();

    // Without a certificate there is nothing to see.
    let refused = "docker -H \"$DOCKER_HOST\" --tls=false version";
    over_tls(&format!(
        "unset DOCKER_TLS_VERIFY DOCKER_CERT_PATH; {refused}"
    ))
    .exits(1);
    host.berth("certs renew --ca --revoke").ok();
    over_tls("docker run --rm bbox true").ok();
    host.berth("restart web1").deadline(BOOT).ok();
    over_tls("docker run --rm bbox true").ok();
    host.finish();
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn an_engine_is_told_what_its_user_wants() {
    let host = Host::with("uml");
    std::fs::write(host.scratch().join("daemon.json"), r#"{"debug": true}"#).unwrap();
    host.berth(
        "create web1 --memory 512M --daemon-json daemon.json --registry-mirror http://127.0.0.1:9",
    )
    .args([
        "--engine-label",
        "role=ci",
        "--insecure-registry",
        "reg.lan:5000",
    ])
    .args([
        "--engine-env",
        "HTTPS_PROXY=http://user:pa$$\"word@127.0.0.1:9",
    ])
    .arg("--image")
    .arg(image("debian-13-docker"))
    .deadline(BOOT)
    .ok();
    let info = |format: &str| {
        host.docker("--context web1 info --format")
            .arg(format)
            .text()
    };
    assert_eq!(info("{{.Debug}} {{.Labels}}"), "true [role=ci]");
    assert_eq!(info("{{.RegistryConfig.Mirrors}}"), "[http://127.0.0.1:9/]");
    assert!(info("{{.RegistryConfig.IndexConfigs}}").contains("reg.lan:5000"));
    assert_eq!(info("{{.LiveRestoreEnabled}}"), "true", "berth's own stay");
    // The engine itself hides the password when it tells its proxy.
    assert!(info("{{.HTTPSProxy}}").contains("127.0.0.1:9"));
    let environment = "tr '\\0' '\\n' </proc/$(pidof dockerd)/environ | grep ^HTTPS_PROXY=";
    assert_eq!(
        host.inside("web1", environment).text(),
        "HTTPS_PROXY=http://user:pa$$\"word@127.0.0.1:9"
    );
    let modes = host
        .inside("web1", "stat -c %a /etc/docker/berth.env")
        .text();
    assert_eq!(modes, "600");
    let shown = host.inside("web1", "systemctl show docker.service").text();
    assert!(!shown.contains("word@"), "the unit tells nobody");

    let drift = || {
        let out = host.berth("inspect web1 --timeout 60").ok().stdout;
        assert!(!out.contains("word@"), "{out}");
        let wholes: Value = serde_json::from_str(&out).unwrap();
        wholes[0]["drift"].clone()
    };
    assert_eq!(drift(), serde_json::json!([]));
    host.inside(
        "web1",
        "sed -i /role=ci/d /etc/docker/daemon.json; rm /etc/docker/berth.env",
    )
    .ok();
    assert_eq!(drift(), serde_json::json!(["labels", "HTTPS_PROXY"]));
    host.berth("provision web1 --registry-mirror http://127.0.0.1:10")
        .deadline(BOOT)
        .ok();
    assert_eq!(drift(), serde_json::json!([]));
    assert_eq!(info("{{.Labels}}"), "[role=ci]");
    let mirrors = info("{{.RegistryConfig.Mirrors}}");
    assert!(
        mirrors.contains(":9/") && mirrors.contains(":10/"),
        "{mirrors}"
    );
    host.finish();
}
