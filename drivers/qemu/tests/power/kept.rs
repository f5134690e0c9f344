//! Machines that are frozen, kept and copied, and what a killed berth or QEMU leaves of that.

use std::fs;
use std::time::Duration;

use berth_driver_api::running::holder;
use berth_driver_api::{Driver, Machine, Silent, State};

use crate::LONG;
use crate::fixture::{Fixture, booted, pid};

/// A machine whose guest runs.
async fn running(fixture: &Fixture, name: &str) -> Machine {
    let machine = fixture.machine(name);
    fixture.driver.create(&machine, &[], &Silent).await.unwrap();
    fixture.driver.start(&machine, &Silent).await.unwrap();
    booted(&machine).await;
    machine
}

/// The guest that was there goes on: it obeys the power button, and did not boot again.
async fn goes_on(fixture: &Fixture, machine: &Machine) {
    let driver = &fixture.driver;
    assert_eq!(driver.state(machine).await.unwrap(), State::Running);
    driver.stop(machine, LONG).await.unwrap();
    let console = fs::read_to_string(machine.file("console.log")).unwrap();
    assert_eq!(console.matches("tiny guest").count(), 1, "{console}");
    assert_eq!(driver.state(machine).await.unwrap(), State::Stopped);
}

#[tokio::test]
async fn a_frozen_machine_goes_on_from_where_it_was() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let driver = &fixture.driver;
    let machine = running(&fixture, "frozen").await;
    driver.suspend(&machine, &Silent).await.unwrap();
    driver.suspend(&machine, &Silent).await.unwrap();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Suspended);
    assert_eq!(holder(&machine.file("qemu.pid")).unwrap(), None);
    driver.snapshot(&machine, "s", &Silent).await.unwrap_err();
    driver.start(&machine, &Silent).await.unwrap();
    assert!(!machine.file("memory").exists());
    goes_on(&fixture, &machine).await;
    driver.suspend(&machine, &Silent).await.unwrap_err();
    driver.remove(&machine).await.unwrap();
}

#[tokio::test]
async fn a_suspend_that_is_given_up_leaves_a_machine_that_goes_on() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let driver = &fixture.driver;
    let machine = running(&fixture, "given-up").await;
    for patience in [2, 5, 10, 20, 40, 80, 160] {
        let suspend = driver.suspend(&machine, &Silent);
        let _ = tokio::time::timeout(Duration::from_millis(patience), suspend).await;
        let state = driver.state(&machine).await.unwrap();
        println!("given up after {patience} ms it is {state}");
        driver.start(&machine, &Silent).await.unwrap();
        assert_eq!(driver.state(&machine).await.unwrap(), State::Running);
    }
    driver.suspend(&machine, &Silent).await.unwrap();
    for patience in [2, 20, 60, 120] {
        let start = driver.start(&machine, &Silent);
        let _ = tokio::time::timeout(Duration::from_millis(patience), start).await;
    }
    driver.start(&machine, &Silent).await.unwrap();
    goes_on(&fixture, &machine).await;
    driver.remove(&machine).await.unwrap();
}

#[tokio::test]
async fn memory_that_is_whole_counts_and_a_qemu_beside_it_does_not() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let driver = &fixture.driver;
    let machine = running(&fixture, "beside").await;
    driver.suspend(&machine, &Silent).await.unwrap();
    let kept = ["memory", "memory.toml"].map(|name| (name, fs::read(machine.file(name)).unwrap()));
    driver.start(&machine, &Silent).await.unwrap();
    // As if berth had been killed after the memory was written and before QEMU was ended.
    for (name, bytes) in kept.iter().rev() {
        fs::write(machine.file(name), bytes).unwrap();
    }
    assert_eq!(driver.state(&machine).await.unwrap(), State::Suspended);
    let before = pid(&machine);
    driver.start(&machine, &Silent).await.unwrap();
    assert_ne!(pid(&machine), before);
    goes_on(&fixture, &machine).await;

    // What a full disk or a bad one left of it is told, and given up only when that is said.
    fs::write(machine.file("memory.toml"), &kept[1].1).unwrap();
    fs::write(machine.file("memory"), &kept[0].1[..kept[0].1.len() / 2]).unwrap();
    let error = driver.start(&machine, &Silent).await.unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");
    assert_eq!(driver.state(&machine).await.unwrap(), State::Suspended);
    driver.kill(&machine).await.unwrap();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);
    driver.remove(&machine).await.unwrap();
}

#[tokio::test]
async fn a_machine_becomes_what_its_snapshot_was() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let driver = &fixture.driver;
    let machine = running(&fixture, "kept").await;
    driver.snapshot(&machine, "1", &Silent).await.unwrap();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Running);
    driver.stop(&machine, LONG).await.unwrap();
    driver.snapshot(&machine, "off", &Silent).await.unwrap();
    let all = driver.snapshots(&machine).await.unwrap();
    let told: Vec<_> = all
        .iter()
        .map(|one| (one.name.as_str(), one.memory.is_some()))
        .collect();
    assert_eq!(told, [("1", true), ("off", false)]);

    driver.restore(&machine, "1", &Silent).await.unwrap();
    driver.remove_snapshot(&machine, "off").await.unwrap();
    driver.remove_snapshot(&machine, "off").await.unwrap();
    goes_on(&fixture, &machine).await;
    let missing = driver.restore(&machine, "off", &Silent).await;
    assert!(missing.unwrap_err().to_string().contains("off"));
    driver.remove_snapshot(&machine, "1").await.unwrap();
    assert!(driver.snapshots(&machine).await.unwrap().is_empty());
    driver.remove(&machine).await.unwrap();
    let left: Vec<_> = fs::read_dir(&machine.folder).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_copy_has_the_disk_and_nothing_else_in_common() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let driver = &fixture.driver;
    let machine = running(&fixture, "original").await;
    let io = |command: &str| {
        let disk = machine.file("disk.qcow2");
        let mut qemu_io = std::process::Command::new("qemu-io");
        assert!(
            qemu_io
                .args(["-c", command])
                .arg(disk)
                .status()
                .unwrap()
                .success()
        );
    };
    let while_it_runs = fixture.machine("while");
    let copied = driver.copy(&machine, &while_it_runs, &[], &Silent);
    copied.await.unwrap();
    goes_on(&fixture, &machine).await;

    io("write -P 7 1M 64k");
    driver.snapshot(&machine, "s", &Silent).await.unwrap();
    // As for a machine whose disk lies on a layer that it shares with others.
    let image = machine.spec.image.as_ref().unwrap().disk.clone();
    let layer = fixture.path().join("layer.qcow2");
    let shell = "set -e; qemu-img create -q -f qcow2 -F raw -b \"$1\" \"$2\" 8M; qemu-io -c 'write -P 9 2M 64k' \"$2\"; \
                 qemu-img rebase -u -f qcow2 -F qcow2 -b \"$2\" \"$3\"";
    let made = std::process::Command::new("sh")
        .args(["-c", shell, "sh"])
        .args([&image, &layer, &machine.file("disk.qcow2")])
        .status();
    assert!(made.unwrap().success());
    let off = fixture.machine("off");
    for _ in 0..2 {
        driver.copy(&machine, &off, &[], &Silent).await.unwrap();
    }
    assert!(driver.snapshots(&off).await.unwrap().is_empty());
    driver.start(&machine, &Silent).await.unwrap();
    let running = fixture.machine("running");
    driver.copy(&machine, &running, &[], &Silent).await.unwrap();
    driver.remove(&machine).await.unwrap();
    fs::remove_file(layer).unwrap();
    for copy in [&off, &running] {
        holds_both(copy);
    }
    for copy in [&while_it_runs, &off] {
        driver.start(copy, &Silent).await.unwrap();
        booted(copy).await;
    }
    let addresses =
        [&while_it_runs, &off].map(async |copy| driver.address(copy).await.unwrap().port);
    let [one, two] = addresses;
    assert_ne!(one.await, two.await);
    for copy in [&while_it_runs, &off, &running] {
        driver.remove(copy).await.unwrap();
    }
}

/// What was written to the original and to the layer below it.
#[track_caller]
fn holds_both(copy: &Machine) {
    let read = std::process::Command::new("qemu-io")
        .args(["-r", "-c", "read -P 7 1M 64k", "-c", "read -P 9 2M 64k"])
        .arg(copy.file("disk.qcow2"))
        .output()
        .unwrap();
    let read = String::from_utf8_lossy(&read.stdout).into_owned();
    assert_eq!(read.matches("read 65536/65536").count(), 2, "{read}");
    assert!(!read.contains("failed"), "{read}");
}
