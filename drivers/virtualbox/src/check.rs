//! Refusing what cannot be met before anything is made, and telling what this computer offers.

use berth_driver_api::{
    Error, Execution, Finding, Info, Machine, Probe, Result, check_options, process, size,
};

use crate::explain;
use crate::vboxmanage::{PROGRAM, VBoxManage};

/// Guests are of this architecture, and so is the computer.
const ARCH: &str = "x86_64";

/// Checks a machine's size, options and what they need; without an image, all that does not depend on it.
pub(crate) fn machine(machine: &Machine, info: &Info) -> Result<()> {
    check_options(info, &machine.spec.options)?;
    let host = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let most = info.max_cpus.unwrap_or(1).min(host);
    if !(1..=most).contains(&machine.spec.cpus) {
        return Err(size::refuse(
            "cpus",
            machine.spec.cpus.to_string(),
            format!("must be 1 to {most} on this computer of {host} CPUs"),
        ));
    }
    size::check(machine)?;
    let arch = machine
        .spec
        .image
        .as_ref()
        .map_or(ARCH, |image| &image.arch);
    for (what, arch) in [
        ("the image", arch),
        ("this computer", std::env::consts::ARCH),
    ] {
        if arch != ARCH {
            return Err(Error::failed(
                what,
                format!("is {arch}, and this driver runs {ARCH} guests on {ARCH}"),
            ));
        }
    }
    match process::find(PROGRAM) {
        Some(_) => Ok(()),
        None => Err(Error::ToolMissing {
            tool: PROGRAM.into(),
        }),
    }
}

/// Looks at this computer.
pub(crate) async fn computer() -> Probe {
    let mut findings = Vec::new();
    let found = VBoxManage::find().await;
    findings.push(match &found {
        Ok(tool) => Finding::good("virtualbox", tool.words.clone()),
        Err(Error::ToolMissing { tool }) => Finding::missing("virtualbox", tool),
        Err(error) => Finding::bad("virtualbox", error.to_string()),
    });
    let module = explain::module();
    let usable = found.is_ok() && module.is_none();
    if found.is_ok() {
        findings.push(match module {
            None => Finding::good("kernel module", "is loaded"),
            Some(reason) => Finding::bad("kernel module", reason),
        });
    }
    Probe {
        usable,
        // Its own fallback, an interpreter, is not asked for here.
        execution: match usable {
            true => Execution::Hardware,
            false => Execution::Unknown,
        },
        findings,
    }
}
