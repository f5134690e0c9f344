//! The main job: one command in an empty home, then a day's work with the ordinary docker client.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod containers;
mod data;
mod ports;
mod streams;

#[path = "../vm/mod.rs"]
mod vm;

use serde_json::Value;
use vm::{BOOT, Host, build_busybox, image, tell};

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn one_command_from_nothing_to_a_container_host_under_qemu() {
    one_command_from_nothing_to_a_container_host("qemu");
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn one_command_from_nothing_to_a_container_host_under_uml() {
    one_command_from_nothing_to_a_container_host("uml");
}

fn one_command_from_nothing_to_a_container_host(driver: &'static str) {
    let host = Host::with(driver);
    let up = host
        .berth("up --yes --timings --image")
        .arg(image("debian-13-docker"))
        .deadline(BOOT)
        .ok();
    println!("{}", up.stderr);
    assert_eq!(up.stdout, "berth\n");
    tell(
        &host,
        &[
            ("the context is in use", the_context_is_in_use),
            ("an image from nothing", build_busybox),
            ("run, stop, start, rm", containers::lives),
            ("logs -f", containers::logs_follow),
            ("exec on a terminal", streams::exec_on_a_terminal),
            ("stdin is passed on to its end", streams::half_close),
            ("attach", streams::attach),
            ("stats", containers::stats),
            ("twenty clients at once", streams::twenty_at_once),
            ("cp both ways", data::docker_cp),
            ("save | load", data::save_and_load),
            ("a volume outlives its container", data::volume),
            ("a published port comes and goes", ports::come_and_go),
            ("a published port of datagrams", ports::datagrams),
            ("a taken port is reported", ports::taken),
            ("many connections through a port", ports::many_connections),
            ("compose", vm::compose),
            ("1 GiB by berth cp", data::one_gib),
            ("a folder by berth cp", data::folder),
            ("berth ssh", access::ssh),
            ("berth ssh on a terminal", access::ssh_on_a_terminal),
            ("ssh berth.berth", access::ssh_config),
            ("berth logs", access::logs),
            ("up again", access::up_again),
        ],
    );
    host.finish();
}

fn the_context_is_in_use(host: &Host) {
    let row = host.row("berth");
    assert_eq!(row["state"], "running", "{row:#}");
    assert_eq!(row["active"], true);
    assert_eq!(row["error"], Value::Null);
    assert_eq!(row["engine"]["kind"], "docker");
    assert_eq!(host.docker("context show").text(), "berth");
    let engine = host.docker("version --format {{.Server.Version}}").text();
    assert_eq!(row["engine"]["version"], engine.as_str());
    // It is the machine's engine and no other.
    assert_eq!(host.docker("info --format {{.Name}}").text(), "berth");
    let settings = host.inside("berth", "cat /etc/docker/daemon.json").text();
    let settings: Value = serde_json::from_str(&settings).unwrap();
    assert_eq!(settings["live-restore"], true);
}
