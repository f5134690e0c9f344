//! `berth engine` where no machine is asked: bundles that are fetched, and what is refused before anything is done.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../provision/tests/common/serve.rs"]
mod serve;
mod support;

use std::fs;

use sha2::{Digest, Sha256};
use support::World;

/// The smallest static release that there is, of programs that end where their headers do.
fn release(world: &World) -> String {
    let script = "mkdir -p www/docker && for p in containerd containerd-shim-runc-v2 docker-proxy dockerd runc; do \
                  head -c 64 /bin/sh >www/docker/$p; done && tar -C www -czf www/docker-26.1.5.tgz docker";
    world.finish(world.program("sh").args(["-c", script])).ok();
    let bytes = fs::read(world.path("www/docker-26.1.5.tgz")).unwrap();
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_release_is_fetched_by_its_digest() {
    let world = World::new();
    let digest = release(&world);
    let (port, _closed) = serve::serve(world.path("www"));
    let url = format!("http://127.0.0.1:{port}/docker-26.1.5.tgz");
    let fetch = |more: &[&str]| {
        let all = [
            &[
                "engine",
                "bundle",
                "--from",
                &url,
                "-o",
                "docker-26.1.5.tgz",
            ],
            more,
        ]
        .concat();
        world.berth(&all)
    };
    fetch(&[]).code(2).says("say with --digest what");
    fetch(&["--digest", "sha256:beef"])
        .code(2)
        .says("is not a digest");
    let other = "0".repeat(64);
    fetch(&["--digest", &other]).code(1).says(&digest);
    assert!(!world.path("docker-26.1.5.tgz").exists());
    let good = fetch(&["--digest", &format!("sha256:{digest}")]).ok();
    assert_eq!(good.stdout, "docker-26.1.5.tgz\n");
    assert_eq!(
        fs::read(world.path("docker-26.1.5.tgz")).unwrap(),
        fs::read(world.path("www/docker-26.1.5.tgz")).unwrap()
    );

    let nothing = url.replace("26.1.5", "26.1.6");
    let told = world.berth(&[
        "engine", "bundle", "--from", &nothing, "--digest", &digest, "-o", "x",
    ]);
    told.code(1).says("cannot be fetched").says("404");
    let left: Vec<_> = fs::read_dir(world.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".berth-bundle"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_a_machine_would_be_asked_for_is_checked_first() {
    let world = World::new();
    world.create(&["web1"]).ok();
    world.berth(&["engine", "versions", "nobody"]).code(3);
    let bundle = ["engine", "bundle", "--from", "web1", "-o", "x.tar"];
    world
        .berth(&bundle)
        .code(2)
        .says("machine web1 is to have none");
    let from_bundle = [
        &bundle[..],
        &["--engine", "docker", "--channel", "bundle:y"],
    ]
    .concat();
    world
        .berth(&from_bundle)
        .code(2)
        .says("what distro or upstream offers");
    let mut keyed = world.command(&["provision", "web1", "--engine", "docker"]);
    keyed.env("BERTH_DOCKER_REPO_KEY", "0".repeat(40));
    world
        .finish(&mut keyed)
        .code(2)
        .says("set BERTH_DOCKER_REPO too");
    world.berth(&["stop", "web1"]).ok();
    world.berth(&["engine", "versions", "web1"]).code(4);
}
