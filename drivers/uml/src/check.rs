//! Refusing what cannot be met before anything is made, and telling what this computer offers.

use std::path::Path;

use berth_driver_api::{
    Error, Execution, Finding, Info, Machine, Probe, Result, check_options, process, size,
};

use crate::group::Group;
use crate::kernel::Kernel;
use crate::memory::Memory;
use crate::usermode::{OLDEST, PROGRAM};
use crate::{command_line, confine, mconsole};

/// What a machine has if nobody says otherwise; the probe looks for room for it.
const USUAL_MEMORY: u64 = 1 << 30;

/// Checks a machine's size, options and what they need; without an image, all that does not depend on it.
pub(crate) fn machine(machine: &Machine, info: &Info) -> Result<()> {
    check_options(info, &machine.spec.options)?;
    Group::of(machine)?;
    platform().map_err(|reason| Error::failed("User Mode Linux", reason))?;
    if machine.spec.cpus != 1 {
        return Err(size::refuse(
            "cpus",
            machine.spec.cpus.to_string(),
            "must be 1: a User Mode Linux kernel runs on one CPU".into(),
        ));
    }
    size::check(machine)?;
    Memory::choose(machine.spec.memory, Some(&machine.folder))?;
    if process::find(PROGRAM).is_none() {
        return Err(Error::ToolMissing {
            tool: PROGRAM.into(),
        });
    }
    let socket = mconsole::socket(machine);
    if !command_line::fits(&socket) {
        return Err(Error::failed(
            "the machine's control socket",
            format!("the path {} is too long for one", socket.display()),
        ));
    }
    if let Some(image) = &machine.spec.image {
        if image.arch != "x86_64" {
            return Err(Error::failed(
                "the image",
                format!("is for {}, and this driver runs x86_64", image.arch),
            ));
        }
        Kernel::of(machine)?.check()?;
    }
    Ok(())
}

fn platform() -> Result<(), String> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok(()),
        (os, arch) => Err(format!(
            "runs on Linux on x86_64, and this is {os} on {arch}"
        )),
    }
}

/// Looks at this computer, and lets the kernel look too where one is in the store.
pub(crate) async fn computer(kernel: Option<&Path>) -> Probe {
    if let Err(reason) = platform() {
        return Probe {
            usable: false,
            execution: Execution::Unknown,
            findings: vec![Finding::bad("platform", reason)],
        };
    }
    let memory = Memory::choose(USUAL_MEMORY, None);
    let findings = vec![
        seccomp(kernel, memory.as_ref().ok()).await,
        room(&memory),
        network().await,
        confinement(),
    ];
    Probe {
        execution: Execution::Native,
        // Without Landlock machines are confined less, and run.
        usable: findings
            .iter()
            .all(|finding| finding.good || finding.subject == "confinement"),
        findings,
    }
}

async fn seccomp(kernel: Option<&Path>, memory: Option<&Memory>) -> Finding {
    let subject = "seccomp";
    let tried = match (kernel, memory) {
        (Some(folder), Some(memory)) => match Kernel::at(folder) {
            Ok(kernel) => Some(match kernel.check() {
                Ok(()) => kernel.try_out(memory).await,
                Err(error) => Err(error),
            }),
            Err(error) => Some(Err(error)),
        },
        _ => None,
    };
    match tried {
        Some(Ok(words)) => Finding::good(subject, format!("the kernel tried it: {words}")),
        Some(Err(error)) => Finding::bad(subject, error.to_string()),
        None => match confine::filters_trap() {
            Ok(()) => Finding::good(
                subject,
                "this computer's kernel can catch system calls (User Mode Linux itself was not tried: it is not stored yet)",
            ),
            Err(reason) => Finding::bad(
                subject,
                format!("this computer's kernel cannot catch system calls by seccomp: {reason}"),
            ),
        },
    }
}

fn room(memory: &Result<Memory>) -> Finding {
    let subject = "memory";
    match memory {
        Ok(memory) if memory.passed_over.is_empty() => Finding::good(
            subject,
            format!("guests' memory goes to {}", memory.place().display()),
        ),
        Ok(memory) => Finding::good(
            subject,
            format!(
                "guests' memory goes to {}, since {}",
                memory.place().display(),
                memory.passed_over.join("; ")
            ),
        ),
        Err(error) => Finding::bad(subject, error.to_string()),
    }
}

async fn network() -> Finding {
    let subject = "network";
    if process::find(PROGRAM).is_none() {
        return Finding::missing(subject, PROGRAM);
    }
    match process::version(PROGRAM).await {
        Some((number, words)) if number >= OLDEST => Finding::good(subject, words),
        Some((_, words)) => Finding::bad(
            subject,
            format!("{words} is too old: {}.{} is needed", OLDEST.0, OLDEST.1),
        ),
        None => Finding::bad(subject, format!("{PROGRAM} does not tell its version")),
    }
}

fn confinement() -> Finding {
    let version = confine::landlock_version();
    let subject = "confinement";
    match confine::left_open(version) {
        None => Finding::good(subject, format!("Landlock {version} and a seccomp filter")),
        Some(words) => Finding::bad(subject, words),
    }
}
