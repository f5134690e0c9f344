//! What VirtualBox does with the driver's machines once they run. The test has two sides: outside, it switches on a
//! computer on which VirtualBox runs VMs, and has it run this same program; inside, it is that computer's user.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use berth_driver_api::{Driver, Execution, Machine, Silent, State};
use berth_driver_virtualbox::VirtualBox;

use crate::computer::Computer;
use crate::guest::{counting_image, counts, goes_on};
use crate::user::{Notes, User, as_emulated, credentials, manage};
use crate::vm::Host;

/// Tells the program that it is inside.
const INSIDE: &str = "BERTH_TEST_INSIDE";

const NAME: &str = "running::a_machine_runs_is_frozen_kept_and_copied";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "boots a VM; cargo xtask test runs it"]
async fn a_machine_runs_is_frozen_kept_and_copied() {
    match std::env::var_os(INSIDE) {
        Some(folder) => inside(Path::new(&folder)).await,
        None => tokio::task::spawn_blocking(outside).await.unwrap(),
    }
}

fn outside() {
    let host = Host::with("virtualbox");
    let computer = Computer::installed(&host);
    let disk = host.scratch().join("disk");
    fs::create_dir(&disk).unwrap();
    counting_image(&host, &disk.join("image.raw"));
    let program = std::env::current_exe().unwrap();
    host.run("objcopy", "--strip-debug")
        .args([
            program.to_str().unwrap(),
            disk.join("test").to_str().unwrap(),
        ])
        .ok();
    let script =
        format!("{INSIDE}=/mnt /mnt/test {NAME} --exact --ignored --nocapture --test-threads=1\n");
    let begun = Instant::now();
    let passed = |said: &String| said.contains("test result: ok. 1 passed");
    let mut said = computer.run(&host, &disk, &script);
    if !passed(&said) {
        // Its virtualization is emulated, and not without faults: a failure counts that comes twice.
        println!("{said}\nit failed, and is tried again");
        said = computer.run(&host, &disk, &script);
    }
    println!("{said}\nthe computer ran for {:.1?}", begun.elapsed());
    assert!(passed(&said), "it failed");
}

async fn inside(disk: &Path) {
    let user = User {
        driver: VirtualBox::new(),
        folder: tempfile::tempdir().unwrap(),
        image: disk.join("image.raw"),
        begun: Instant::now(),
    };
    let driver = &user.driver;
    let probe = driver.probe().await.unwrap();
    assert!(
        probe.usable && probe.execution == Execution::Hardware,
        "{probe:?}"
    );
    let nothing = (manage("list vms"), manage("list hdds"));
    let (one, two) = (user.machine("web1"), user.machine("web2"));
    driver
        .create(&one, &credentials("one"), &Silent)
        .await
        .unwrap();
    as_emulated(&one);
    driver.start(&one, &Silent).await.unwrap();
    user.is(&one, State::Running).await;
    assert_eq!(goes_on(&one).boots, 1);
    user.new_seed(&one.name);
    user.tell("it runs");

    held(&user, &one).await;
    frozen(&user, &one).await;
    kept_with_memory(&user, &one).await;
    copied(&user, &one, &two).await;
    kept_without_memory(&user, &one).await;

    driver.suspend(&one, &Silent).await.unwrap();
    driver.kill(&one).await.unwrap();
    user.is(&one, State::Stopped).await;
    user.tell("what was frozen was given up");
    removed(&user, &one).await;
    assert_eq!((manage("list vms"), manage("list hdds")), nothing);
    user.tell("nothing is left");
}

async fn removed(user: &User, machine: &Machine) {
    user.driver.remove(machine).await.unwrap();
    user.is(machine, State::Missing).await;
    let left: Vec<_> = fs::read_dir(&machine.folder).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A machine whose CPU is held goes on.
async fn held(user: &User, one: &Machine) {
    manage(&format!("controlvm {} pause", one.id));
    user.is(one, State::Paused).await;
    let before = counts(one);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(counts(one), before);
    user.driver.start(one, &Silent).await.unwrap();
    user.is(one, State::Running).await;
    assert_eq!(goes_on(one).boots, 1);
    user.tell("it was held and went on");
}

/// A machine is frozen, another program takes its port, and it goes on where it was, at another port.
async fn frozen(user: &User, one: &Machine) {
    let driver = &user.driver;
    let before = goes_on(one);
    driver.suspend(one, &Silent).await.unwrap();
    driver.suspend(one, &Silent).await.unwrap();
    user.is(one, State::Suspended).await;
    let port = driver.address(one).await.unwrap().port;
    let refused = driver.snapshot(one, "frozen", &Silent).await.unwrap_err();
    assert!(refused.to_string().contains("suspended"), "{refused}");
    let stranger = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let notes = Notes::default();
    driver.start(one, &notes).await.unwrap();
    drop(stranger);
    user.is(one, State::Running).await;
    let other = driver.address(one).await.unwrap().port;
    assert_ne!(other, port);
    assert!(notes.0.lock().unwrap().concat().contains(&port.to_string()));
    let shown = manage(&format!("showvminfo {} --machinereadable", one.id));
    assert!(
        shown.contains("/web1/seed.vmdk\"\n")
            && shown.contains(&format!("ssh,tcp,127.0.0.1,{other},,22")),
        "{shown}"
    );
    assert!(
        TcpListener::bind(("127.0.0.1", other)).is_err(),
        "VirtualBox listens"
    );
    let after = goes_on(one);
    assert_eq!(after.boots, 1);
    assert!(after.number > before.number, "{after:?} {before:?}");
    user.tell("it was frozen and went on at another port");
}

/// A snapshot of a machine that runs has its memory too.
async fn kept_with_memory(user: &User, one: &Machine) {
    let driver = &user.driver;
    driver.snapshot(one, "before", &Silent).await.unwrap();
    user.is(one, State::Running).await;
    let all = driver.snapshots(one).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(
        (all[0].name.as_str(), all[0].memory),
        ("before", Some(one.spec.memory))
    );
    let later = goes_on(one).number;
    user.tell("it was kept with its memory");
    driver.restore(one, "before", &Silent).await.unwrap();
    user.is(one, State::Running).await;
    goes_on(one);
    let back = counts(one)[0];
    assert!(back.boots == 1 && back.number < later, "{back:?} {later}");
    user.tell("it is what it was");
}

/// A copy of a machine that runs, and has a snapshot, has its disk of that moment, and the two share nothing.
async fn copied(user: &User, one: &Machine, two: &Machine) {
    let driver = &user.driver;
    let before = goes_on(one);
    driver
        .copy(one, two, &credentials("two"), &Silent)
        .await
        .unwrap();
    user.is(one, State::Running).await;
    user.is(two, State::Stopped).await;
    let after = goes_on(one);
    assert_eq!(driver.snapshots(one).await.unwrap().len(), 1);
    user.tell("it was copied while it ran");
    as_emulated(two);
    driver.start(two, &Silent).await.unwrap();
    let copy = goes_on(two);
    assert_eq!(copy.boots, 2, "{copy:?}");
    assert!(copy.number > before.number, "{copy:?} {before:?}");
    assert_eq!(goes_on(one).boots, 1);
    assert!(goes_on(one).number > after.number);
    // It runs yet.
    removed(user, two).await;
    user.tell("the copy ran and is gone");
}

/// A snapshot of a machine that is off has its disk; it goes while the machine runs.
async fn kept_without_memory(user: &User, one: &Machine) {
    let driver = &user.driver;
    driver.kill(one).await.unwrap();
    user.is(one, State::Stopped).await;
    driver.snapshot(one, "off", &Silent).await.unwrap();
    driver.start(one, &Silent).await.unwrap();
    assert_eq!(goes_on(one).boots, 2);
    driver.restore(one, "off", &Silent).await.unwrap();
    user.is(one, State::Stopped).await;
    user.tell("it was kept without memory");
    driver.start(one, &Silent).await.unwrap();
    // What it had counted since is lost.
    assert_eq!(goes_on(one).boots, 2);
    for name in ["before", "before", "off"] {
        driver.remove_snapshot(one, name).await.unwrap();
    }
    assert!(driver.snapshots(one).await.unwrap().is_empty());
    assert_eq!(goes_on(one).boots, 2);
    user.tell("its snapshots are gone");
}
