//! A computer that is short of something says so, or the next choice is made and the reason said. What is taken away is
//! taken away in a mount namespace of the test's own.

use crate::vm::{BOOT, Host, assert_nothing_left, image};

/// Runs a script in which /dev/shm or the home can be something else. `$BERTH` is the program.
fn apart(host: &Host, script: &str) -> crate::vm::Run {
    host.run("unshare", "--mount bash -eu -c")
        .arg(script)
        .deadline(BOOT)
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_shared_memory_that_is_full_or_forbids_programs_is_passed_over() {
    let host = Host::with("uml");
    for (options, reason) in [("size=16m", "16 MiB left"), ("noexec", "noexec")] {
        let script = format!(
            "mount -t tmpfs -o {options} none /dev/shm; \
             $BERTH create apart --memory 512M --image {}; \
             $BERTH ssh apart -- true; $BERTH rm --yes apart",
            image("debian-13-docker")
        );
        let out = apart(&host, &script).ok();
        let told = out
            .stderr
            .lines()
            .find(|line| line.contains("memory is in"));
        let told = told.unwrap_or_else(|| panic!("{}", out.stderr));
        assert!(told.contains(reason), "{told}");
    }
    assert_nothing_left(&host);
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_disk_that_runs_full_under_a_machine_is_told() {
    let host = Host::with("uml");
    let script = format!(
        "mkdir -p $HOME/.local/share/berth; mount -t tmpfs -o size=200m none $HOME/.local/share/berth; \
         $BERTH create full --memory 512M --image {}; \
         $BERTH ssh full -- 'dd if=/dev/urandom of=/big bs=1M count=400 conv=fsync; true' >&2 || true; \
         $BERTH ls --timeout 20; $BERTH rm --yes --force full; ls $HOME/.local/share/berth/machines",
        image("debian-13-docker")
    );
    let out = apart(&host, &script).ok();
    assert!(
        out.stdout.contains("is full"),
        "{}\n{}",
        out.stdout,
        out.stderr
    );
    assert_nothing_left(&host);
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn more_than_the_driver_has_is_refused_or_given_by_another() {
    let host = Host::with("uml");
    host.berth("create two --cpus 2 --image")
        .arg(image("debian-13-docker"))
        .exits(2)
        .says("one CPU");
    assert_eq!(host.berth("ls -q").text(), "");
    // Left to choose, berth says which driver it passes over and why.
    host.berth("create two --driver auto --cpus 2 -o network=nonsense --image")
        .arg(image("debian-13-docker"))
        .exits(2);
    let doctor = host.berth("doctor --driver auto").ok().stdout;
    let line = |driver: &str| doctor.lines().find(|line| line.contains(driver)).unwrap();
    assert!(
        line("driver uml").contains("without virtualization hardware"),
        "{doctor}"
    );
    assert!(line("driver qemu").contains("tcg"), "{doctor}");
    assert_nothing_left(&host);
}
