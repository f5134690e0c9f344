//! What this computer has and lacks for making machines, and how to get the rest.

mod packages;
mod system;

pub use packages::{Installer, Plan};

use berth_driver_api::{Finding, process};
use serde::Serialize;

use crate::machine::{self, AUTO, Berth, Builds, Candidate, Request, Result};
use crate::secrets::Place;

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What: `qemu`, `acceleration`, `docker client`.
    pub subject: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found and why that matters.
    pub detail: String,
    /// Programs whose absence this is.
    pub missing: Vec<String>,
}

/// How good a thing is, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Works, less well.
    Poor,
    /// Machines cannot be made.
    Bad,
}

/// Looks at everything that the driver, the images and the clients need; for [`AUTO`], at all drivers that are chosen
/// among, and at what the chosen one needs. For a machine that is to be made, what it takes to build its image counts
/// only if that would be built here.
///
/// # Errors
/// If there is no such driver, or the stored images cannot be read.
pub async fn examine(berth: &Berth, driver: &str, request: Option<&Request>) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let best = if driver == AUTO {
        let candidates = machine::candidates(&berth.drivers).await?;
        checks.extend(choice(&candidates));
        candidates.into_iter().next()
    } else {
        None
    };
    let candidate = match best {
        Some(best) => best,
        None => machine::look(&berth.drivers, driver).await?,
    };
    let driver = berth.drivers.get(&candidate.driver).await?;
    let found = candidate.findings.into_iter();
    checks.extend(found.map(|finding| of_finding(finding, candidate.usable)));
    if driver.info().capabilities.images {
        let info = driver.info();
        let builds = match request {
            Some(request) => machine::builds(berth, request, info)?,
            None => Builds {
                image: true,
                kernel: info.needs.kernel.is_some(),
            },
        };
        checks.push(image_tools(builds));
    }
    checks.push(program(
        "gpgv",
        "signatures",
        Verdict::Poor,
        "without it, cloud images that their distributors sign are refused",
    ));
    checks.push(program(
        "ssh",
        "ssh client",
        Verdict::Bad,
        "`berth ssh` and `berth cp` use it",
    ));
    checks.push(program(
        "docker",
        "docker client",
        Verdict::Poor,
        "without it, only berth reaches the engines",
    ));
    checks.push(secrets(berth));
    checks.push(system::memory());
    checks.push(system::disk(berth.home.data()));
    Ok(checks)
}

/// The programs that the checks found missing, each once: those whose absence is at least as bad as `verdict`.
pub fn missing(checks: &[Check], verdict: Verdict) -> Vec<String> {
    let mut missing = Vec::new();
    for check in checks.iter().filter(|check| check.verdict >= verdict) {
        for tool in &check.missing {
            if !missing.contains(tool) {
                missing.push(tool.clone());
            }
        }
    }
    missing
}

/// One line a driver, the one that `auto` takes first.
fn choice(candidates: &[Candidate]) -> Vec<Check> {
    let line = |(at, candidate): (usize, &Candidate)| {
        let driver = &candidate.driver;
        let (verdict, what) = match (candidate.usable, at) {
            (true, 0) => (Verdict::Good, "chosen".to_owned()),
            (true, _) => (Verdict::Good, format!("used with --driver {driver}")),
            (false, _) => (Verdict::Poor, "not usable".to_owned()),
        };
        Check {
            subject: format!("driver {driver}"),
            verdict,
            detail: format!("{what}: {}", candidate.reason),
            missing: Vec::new(),
        }
    };
    candidates.iter().enumerate().map(line).collect()
}

fn of_finding(finding: Finding, usable: bool) -> Check {
    Check {
        verdict: match (finding.good, usable) {
            (true, _) => Verdict::Good,
            (false, true) => Verdict::Poor,
            (false, false) => Verdict::Bad,
        },
        subject: finding.subject,
        detail: finding.detail,
        missing: finding.missing_tools,
    }
}

fn image_tools(builds: Builds) -> Check {
    let given = |given: bool, tools: &'static [&'static str]| if given { tools } else { &[] };
    let root = nix::unistd::geteuid().is_root();
    let any = builds.image || builds.kernel;
    let mut missing: Vec<String> = berth_images::STORE_TOOLS
        .iter()
        .chain(given(builds.image, berth_images::BUILD_TOOLS))
        .chain(given(builds.kernel, berth_images::KERNEL_BUILD_TOOLS))
        .chain(given(any && !root, berth_images::ROOTLESS_BUILD_TOOLS))
        .filter(|tool| process::find(tool).is_none())
        .map(|tool| (*tool).to_owned())
        .collect();
    missing.sort();
    missing.dedup();
    let (verdict, detail) = match missing.is_empty() {
        true if any => (Verdict::Good, "guest images can be built here".to_owned()),
        true => (Verdict::Good, "nothing has to be built".to_owned()),
        false => (
            Verdict::Bad,
            format!(
                "guest images cannot be made: {} missing",
                missing.join(", ")
            ),
        ),
    };
    Check {
        subject: "image building".into(),
        verdict,
        detail,
        missing,
    }
}

fn secrets(berth: &Berth) -> Check {
    let detail = match berth.secrets().place() {
        Place::Keyring => "kept in the keyring, which was tried".to_owned(),
        Place::Files { why } => format!(
            "kept in files of mode 0600 in {}: {why}",
            berth.home.secrets().display()
        ),
    };
    Check {
        subject: "secrets".into(),
        verdict: Verdict::Good,
        detail,
        missing: Vec::new(),
    }
}

fn program(tool: &str, subject: &str, absent: Verdict, why: &str) -> Check {
    match process::find(tool) {
        Some(path) => Check {
            subject: subject.into(),
            verdict: Verdict::Good,
            detail: path.display().to_string(),
            missing: Vec::new(),
        },
        None => Check {
            subject: subject.into(),
            verdict: absent,
            detail: format!("{tool} is not installed: {why}"),
            missing: vec![tool.into()],
        },
    }
}
