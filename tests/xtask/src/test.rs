//! `cargo xtask test` and `cargo xtask ci`.

use std::process::Command;

use anyhow::Result;

use crate::parts::{Parts, cargo, succeed};
use crate::setup::{self, Cache};
use crate::suites::{self, Way};

/// What the tests with VMs are made of; the first one is what `berth up` takes.
const IMAGES: &str = "debian-13-docker debian-13 debian-12 uml-kernel";

/// How many programs that boot VMs run at once: under emulation most of them keep one CPU busy.
const VM_TESTS_AT_ONCE: usize = 2;

/// How many programs without VMs run at once, each of which runs as many of its tests at once as there are CPUs: most of
/// their time they wait.
const TESTS_AT_ONCE: usize = 3;

/// What is to be tested.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Without the tests that boot VMs
    #[arg(long)]
    quick: bool,
}

/// Sets up and tests.
///
/// # Errors
/// If a part fails; those after it that can still be done are.
pub fn run(args: &Args) -> Result<()> {
    let mut parts = Parts::default();
    test(&mut parts, args.quick);
    parts.end()
}

/// Formatting, clippy, and all tests.
///
/// # Errors
/// As [`run`].
pub fn ci() -> Result<()> {
    let mut parts = Parts::default();
    parts.part("formatting", || succeed(&mut cargo("fmt --all --check")));
    parts.part("clippy", || {
        succeed(&mut cargo(
            "clippy --workspace --all-targets -- --deny warnings",
        ))
    });
    test(&mut parts, false);
    parts.end()
}

/// VM tests of more than five minutes, the longest first.
const LONGEST: &[&str] = &[
    "vm_virtualbox",
    "vm_libvirt",
    "vm_upgrade",
    "vm_engine",
    "vm_template",
    "vm_main_job",
    "vm_rollout",
    "vm_swarm",
    "vm_mending",
    "vm_podman",
];

/// Tests without VMs of more than ten seconds, likewise.
const LONGEST_WITHOUT_VMS: &[&str] = &[
    "rollout",
    "families",
    "exec",
    "image_oci",
    "resize",
    "pool",
    "plugins",
    "crash",
    "hostile",
    "fleet_file",
];

fn test(parts: &mut Parts, quick: bool) {
    let cache = Cache::from_environment();
    if !parts.part("build", || succeed(&mut cargo("build --workspace"))) {
        return;
    }
    // Without its tools nothing below tells anything.
    if !parts.part("set-up", || setup::install(&cache, &berth()?)) {
        return;
    }
    parts.part("units and the whole program", || {
        let without_vms = Way {
            arguments: &[],
            at_once: TESTS_AT_ONCE,
            first: LONGEST_WITHOUT_VMS,
        };
        suites::run("--workspace --lib --bins --tests", &without_vms, |_| ())?;
        succeed(&mut cargo("test --workspace --doc"))
    });
    if quick {
        return;
    }
    let libvirt = parts.part("the libvirt driver", || {
        setup::install_for_vms()?;
        let driver = "-p berth-driver-libvirt --features libvirt";
        succeed(&mut cargo(&format!(
            "clippy {driver} --all-targets -- --deny warnings"
        )))?;
        succeed(&mut cargo(&format!("test {driver} --no-fail-fast")))?;
        succeed(&mut cargo(&format!("build {driver}")))
    });
    let built = parts.part("images", || {
        let mut build = berth()?;
        build
            .args(["image", "build", "--timings"])
            .args(IMAGES.split(' '));
        succeed(cache.tell(&mut build))
    });
    if built && libvirt {
        parts.part("the whole program with VMs", || {
            let with_vms = Way {
                arguments: &["--ignored", "--test-threads=1"],
                at_once: VM_TESTS_AT_ONCE,
                first: LONGEST,
            };
            // Those of package managers whose system is fetched are of this ring too.
            let words = "-p berth -p berth-provision --test vm_* --test families";
            suites::run(words, &with_vms, |tests| {
                cache.tell(tests);
            })
        });
    }
}

/// The program as it was just built.
fn berth() -> Result<Command> {
    // cargo runs this program from the folder that it builds into.
    let own = std::env::current_exe()?;
    Ok(Command::new(own.with_file_name("berth")))
}
