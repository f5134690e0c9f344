//! The life of real QEMU processes, in seconds and without an image.

#![allow(clippy::unwrap_used)]

mod fixture;
mod kept;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use berth_driver_api::{Credential, Driver, Error, Silent, State, ready};
use fixture::{Fixture, Notes, booted, kill, monitor, pid};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_machine_is_made_runs_shuts_down_and_is_removed() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let (driver, machine) = (&fixture.driver, fixture.machine("life"));
    assert_eq!(driver.state(&machine).await.unwrap(), State::Missing);
    driver.check(&machine).await.unwrap();
    driver.create(&machine, &[], &Silent).await.unwrap();
    driver.create(&machine, &[], &Silent).await.unwrap();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);
    driver.stop(&machine, LONG).await.unwrap();

    driver.start(&machine, &Silent).await.unwrap();
    driver.start(&machine, &Silent).await.unwrap();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Running);
    let address = driver.address(&machine).await.unwrap();
    assert_eq!(
        (address.host.as_str(), address.user.as_str()),
        ("127.0.0.1", "root")
    );

    // Two watch at once: QEMU serves the first, and the second sees the process end.
    let watch = async {
        let (one, two) = tokio::join!(driver.wait_stopped(&machine), driver.wait_stopped(&machine));
        [one.unwrap(), two.unwrap()]
    };
    let stop = async {
        booted(&machine).await;
        driver.stop(&machine, LONG).await.unwrap();
    };
    let (reasons, ()) = tokio::join!(watch, stop);
    assert!(
        reasons.contains(&Some("the guest shut down".into())),
        "{reasons:?}"
    );
    assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);

    driver.start(&machine, &Silent).await.unwrap();
    assert_eq!(driver.address(&machine).await.unwrap(), address);
    driver.remove(&machine).await.unwrap();
    driver.remove(&machine).await.unwrap();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Missing);
    for folder in [&machine.folder, &machine.sockets, &machine.ports] {
        let left: Vec<_> = fs::read_dir(folder).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_killed_qemu_is_seen_at_once_and_leaves_nothing_in_the_way() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let (driver, machine) = (&fixture.driver, fixture.machine("killed"));
    driver.create(&machine, &[], &Silent).await.unwrap();
    driver.start(&machine, &Silent).await.unwrap();
    let (reason, ()) = tokio::join!(driver.wait_stopped(&machine), async {
        // Let the watcher connect first.
        tokio::time::sleep(Duration::from_millis(300)).await;
        kill(pid(&machine));
    });
    let reason = reason.unwrap().unwrap();
    assert!(reason.contains("probably killed"), "{reason}");
    assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);
    assert!(machine.socket("qmp").exists() && machine.file("qemu.pid").exists());
    driver.kill(&machine).await.unwrap();

    driver.start(&machine, &Silent).await.unwrap();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Running);
    let (reason, killed) = tokio::join!(driver.wait_stopped(&machine), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        driver.kill(&machine).await
    });
    killed.unwrap();
    assert_eq!(reason.unwrap().as_deref(), Some("it was powered off"));
    assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);
}

#[tokio::test]
async fn a_recycled_process_number_is_nobodys_machine() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let (driver, machine) = (&fixture.driver, fixture.machine("recycled"));
    driver.create(&machine, &[], &Silent).await.unwrap();
    fs::write(
        machine.file("qemu.pid"),
        format!("{}\n", std::process::id()),
    )
    .unwrap();
    driver.kill(&machine).await.unwrap();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);
    driver.remove(&machine).await.unwrap();
}

#[tokio::test]
async fn a_paused_machine_goes_on_and_a_stopped_qemu_is_not_waited_for() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let (driver, machine) = (&fixture.driver, fixture.machine("paused"));
    driver.create(&machine, &[], &Silent).await.unwrap();
    driver.start(&machine, &Silent).await.unwrap();
    monitor(&machine, "qmp", "stop");
    assert_eq!(driver.state(&machine).await.unwrap(), State::Paused);
    driver.start(&machine, &Silent).await.unwrap();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Running);

    // The power button of a paused machine is heard too.
    booted(&machine).await;
    monitor(&machine, "qmp", "stop");
    driver.stop(&machine, LONG).await.unwrap();

    driver.start(&machine, &Silent).await.unwrap();
    let signal = |signal| {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid(&machine)), signal).unwrap();
    };
    signal(nix::sys::signal::Signal::SIGSTOP);
    let asked = Instant::now();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Unreachable);
    assert!(asked.elapsed() < Duration::from_secs(2));
    let stopped = driver.stop(&machine, Duration::from_millis(200)).await;
    assert!(matches!(stopped, Err(Error::Timeout { .. })), "{stopped:?}");
    driver.kill(&machine).await.unwrap();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);
}

#[tokio::test]
async fn machines_start_side_by_side_and_a_strangers_port_is_exchanged() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let driver = &fixture.driver;
    let (one, two) = (fixture.machine("one"), fixture.machine("two"));
    let notes = Notes::default();
    for machine in [&one, &two] {
        driver.create(machine, &[], &Silent).await.unwrap();
    }
    let port = driver.address(&one).await.unwrap().port;
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let started = tokio::join!(driver.start(&one, &notes), driver.start(&two, &Silent));
    started.0.unwrap();
    started.1.unwrap();
    let moved = driver.address(&one).await.unwrap().port;
    assert_ne!(moved, port);
    assert_ne!(moved, driver.address(&two).await.unwrap().port);
    assert!(
        notes
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|note| note.contains(&moved.to_string()))
    );
    assert!(
        TcpListener::bind((Ipv4Addr::LOCALHOST, moved)).is_err(),
        "QEMU listens there"
    );
    drop(stranger);
    for machine in [&one, &two] {
        assert_eq!(driver.state(machine).await.unwrap(), State::Running);
        driver.remove(machine).await.unwrap();
    }
}

#[tokio::test]
async fn the_guests_word_is_heard_and_a_death_comes_with_last_words() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let (driver, machine) = (&fixture.driver, fixture.machine("ready"));
    driver.create(&machine, &[], &Silent).await.unwrap();
    assert!(driver.ready(&machine, ready::SSH).await.is_err());
    driver.start(&machine, &Silent).await.unwrap();
    booted(&machine).await;

    let say = |words: &str| {
        use std::io::Write;
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(machine.file("ready"))
            .unwrap();
        file.write_all(words.as_bytes()).unwrap();
    };
    let (heard, ()) = tokio::join!(driver.ready(&machine, ready::SSH), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        say("ss");
        tokio::time::sleep(Duration::from_millis(100)).await;
        say("h\n");
    });
    heard.unwrap();
    driver.ready(&machine, ready::SSH).await.unwrap();

    let (died, ()) = tokio::join!(driver.ready(&machine, ready::ENGINE), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        kill(pid(&machine));
    });
    let words = died.unwrap_err().to_string();
    assert!(words.contains("tiny guest"), "{words}");

    // What the guest said last time does not count this time.
    driver.start(&machine, &Silent).await.unwrap();
    let early = tokio::time::timeout(
        Duration::from_millis(300),
        driver.ready(&machine, ready::SSH),
    )
    .await;
    assert!(early.is_err());
    driver.kill(&machine).await.unwrap();
}

#[tokio::test]
async fn a_qemu_that_refuses_its_command_line_is_quoted() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let (driver, mut machine) = (&fixture.driver, fixture.machine("refused"));
    machine.spec.options.insert("cpu".into(), "Abacus".into());
    driver.create(&machine, &[], &Silent).await.unwrap();
    let begun = Instant::now();
    let words = driver
        .start(&machine, &Silent)
        .await
        .unwrap_err()
        .to_string();
    assert!(words.contains("Abacus"), "{words}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_process() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let (driver, machine) = (&fixture.driver, fixture.machine("given-up"));
    driver.create(&machine, &[], &Silent).await.unwrap();
    for patience in [0, 2, 10, 30] {
        let start = driver.start(&machine, &Silent);
        if tokio::time::timeout(Duration::from_millis(patience), start)
            .await
            .is_ok()
        {
            driver.kill(&machine).await.unwrap();
            continue;
        }
        // The process is killed, which takes the kernel a moment.
        tokio::time::timeout(LONG, driver.wait_stopped(&machine))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);
    }
    driver.start(&machine, &Silent).await.unwrap();
    driver.kill(&machine).await.unwrap();
}

#[tokio::test]
async fn credentials_are_in_no_process_list() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let (driver, machine) = (&fixture.driver, fixture.machine("secret"));
    let secret = Credential {
        name: "ssh.authorized_keys.root".into(),
        value: b"top secret".to_vec(),
    };
    driver
        .create(&machine, std::slice::from_ref(&secret), &Silent)
        .await
        .unwrap();
    driver.start(&machine, &Silent).await.unwrap();
    let file = machine.file("credentials").join(&secret.name);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(
        text,
        "io.systemd.credential.binary:ssh.authorized_keys.root=dG9wIHNlY3JldA=="
    );
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let command = fs::read(format!("/proc/{}/cmdline", pid(&machine))).unwrap();
    let command = String::from_utf8_lossy(&command).into_owned();
    assert!(command.contains("type=11,path="));
    assert!(!command.contains("dG9wIHNl") && !command.contains("top secret"));
    driver.remove(&machine).await.unwrap();
    assert!(!file.exists());
}

#[tokio::test]
async fn firmware_boots_with_variables_of_the_machines_own() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let (driver, mut machine) = (&fixture.driver, fixture.machine("efi"));
    machine.spec.options.insert("boot".into(), "efi".into());
    if let Err(error) = driver.check(&machine).await {
        println!("skipped: {error}");
        return;
    }
    driver.create(&machine, &[], &Silent).await.unwrap();
    driver.start(&machine, &Silent).await.unwrap();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Running);
    driver.remove(&machine).await.unwrap();
    assert!(!machine.file("efivars.fd").exists());
}

#[tokio::test]
async fn requests_that_cannot_be_met_are_refused_with_the_reason() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let (driver, machine) = (&fixture.driver, fixture.machine("refusals"));
    let refused = async |change: &dyn Fn(&mut berth_driver_api::Spec)| {
        let mut machine = machine.clone();
        change(&mut machine.spec);
        driver.check(&machine).await.unwrap_err().to_string()
    };
    assert!(
        refused(&|spec| spec.cpus = 0)
            .await
            .contains("must be 1 to")
    );
    assert!(
        refused(&|spec| spec.cpus = 4000)
            .await
            .contains("must be 1 to")
    );
    assert!(
        refused(&|spec| spec.memory = 1 << 20)
            .await
            .contains("less than 256 MiB")
    );
    assert!(
        refused(&|spec| spec.memory = 1 << 50)
            .await
            .contains("more than this computer has")
    );
    assert!(
        refused(&|spec| spec.disk = 4096)
            .await
            .contains("smaller than the image")
    );
    let option = async |name: &str, value: &str| {
        refused(&|spec| {
            spec.options.insert(name.into(), value.into());
        })
        .await
    };
    assert!(option("accel", "warp").await.contains("is not one of"));
    assert!(option("accel", "hvf").await.contains("macOS"));
    assert!(option("machine", "isapc").await.contains("neither q35"));
    assert!(
        option("network", "bridge:berth-no-such")
            .await
            .contains("bridge")
    );
    assert!(option("acel", "tcg").await.contains("no option"));
}

#[tokio::test]
async fn a_thousand_machines_that_are_off_are_asked_in_a_moment() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let (driver, machine) = (&fixture.driver, fixture.machine("many"));
    driver.create(&machine, &[], &Silent).await.unwrap();
    // What a QEMU that was killed leaves behind.
    fs::write(machine.file("qemu.pid"), "1\n").unwrap();
    drop(UnixStream::connect(machine.socket("qmp")));
    let begun = Instant::now();
    for _ in 0..1000 {
        assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);
    }
    let took = begun.elapsed();
    println!("1000 states took {took:?}");
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn the_probe_tells_what_decides() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let probe = fixture.driver.probe().await.unwrap();
    assert!(probe.usable, "{probe:?}");
    let acceleration = probe
        .findings
        .iter()
        .find(|finding| finding.subject == "acceleration");
    println!("{:?}", acceleration.unwrap());
}
