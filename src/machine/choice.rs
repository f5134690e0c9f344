//! Which driver makes a machine for which none is named: the one under which guests run best, by evidence.

use berth_driver_api::{Driver, Execution, Finding, Progress, Spec, check_options};
use futures_util::future::join_all;
use serde::Serialize;

use super::{Berth, Error, Record, Request, Result, drivers, image};

/// A machine's memory in bytes if none is given.
const MEMORY: u64 = 2 << 30;

/// The word that stands for the choice.
pub const AUTO: &str = "auto";

/// The drivers that are chosen among; of equals the first one.
const CANDIDATES: &[&str] = &["qemu", "uml"];

/// A driver that could be chosen.
#[derive(Debug, Clone, Serialize)]
pub struct Candidate {
    /// Its name.
    pub driver: String,
    /// True if it can make machines here.
    pub usable: bool,
    /// How the guests' code would run.
    pub execution: Execution,
    /// What that rests on.
    pub reason: String,
    /// All that was looked at.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// The drivers that are chosen among, the best for this computer first. Starts no machine.
///
/// # Errors
/// If a driver cannot be had.
pub async fn candidates(drivers: &drivers::Drivers) -> Result<Vec<Candidate>> {
    let looked = join_all(CANDIDATES.iter().map(|name| look(drivers, name))).await;
    let mut candidates = looked.into_iter().collect::<Result<Vec<_>>>()?;
    candidates.sort_by_key(|candidate| (!candidate.usable, candidate.execution));
    Ok(candidates)
}

/// One driver, as a candidate. Starts no machine.
///
/// # Errors
/// If the driver cannot be had.
pub async fn look(drivers: &drivers::Drivers, name: &str) -> Result<Candidate> {
    let driver = drivers.get(name).await?;
    Ok(match driver.probe().await {
        Ok(probe) => Candidate {
            driver: name.to_owned(),
            usable: probe.usable,
            execution: probe.execution,
            reason: reason(probe.usable, probe.execution, &probe.findings),
            findings: probe.findings,
        },
        Err(error) => Candidate {
            driver: name.to_owned(),
            usable: false,
            execution: Execution::Unknown,
            reason: error.to_string(),
            findings: vec![Finding::bad(name, error.to_string())],
        },
    })
}

/// What a probe's verdict rests on: how guests run, or what stands in the way.
fn reason(usable: bool, execution: Execution, findings: &[Finding]) -> String {
    let details = |keep: &dyn Fn(&Finding) -> bool| {
        let kept = findings.iter().filter(|finding| keep(finding));
        let details: Vec<&str> = kept.map(|finding| finding.detail.as_str()).collect();
        details.join("; ")
    };
    if !usable {
        return details(&|finding| !finding.good);
    }
    match details(&|finding| finding.subject == "acceleration") {
        told if !told.is_empty() => told,
        _ => match execution {
            Execution::Hardware => "guests run on the CPU's virtualization hardware",
            Execution::Native => "guests run on the CPU itself, without virtualization hardware",
            Execution::Emulated => "guests' code is translated, which is slow",
            Execution::Unknown => "how guests run is not known",
        }
        .into(),
    }
}

/// The request with its driver named: the best candidate that takes it. Says which one that is, and why.
///
/// # Errors
/// [`Error::NoDriver`] with each candidate's reason, or the best one's refusal.
pub(super) async fn settle(
    berth: &Berth,
    request: &Request,
    progress: &dyn Progress,
) -> Result<Request> {
    let mut request = request.clone();
    if request.driver != AUTO {
        return Ok(request);
    }
    let mut passed_over = Vec::new();
    let mut refusal = None;
    let mut candidates = candidates(&berth.drivers).await?.into_iter();
    while let Some(candidate) = candidates.next() {
        if !candidate.usable {
            passed_over.push((candidate.driver, candidate.reason));
            continue;
        }
        let driver = berth.drivers.get(&candidate.driver).await?;
        request.driver = candidate.driver.clone();
        if let Err(error) = takes(berth, &*driver, &request).await {
            passed_over.push((candidate.driver, error.to_string()));
            refusal.get_or_insert(error);
            continue;
        }
        let mut line = format!("driver {}: {}", candidate.driver, candidate.reason);
        // Those that come after it are worse: why, is the other half of the reason.
        let worse = candidates.map(|other| (other.driver, other.reason));
        for (driver, reason) in passed_over.into_iter().chain(worse) {
            line.push_str(&format!("; not {driver}: {reason}"));
        }
        progress.note(&line);
        return Ok(request);
    }
    // What the best one says of the request is the answer, where it is the request that is wrong.
    Err(match refusal {
        Some(error) => Error::driver(&request.name)(error),
        None => Error::NoDriver {
            machine: request.name,
            reasons: passed_over,
        },
    })
}

async fn takes(
    berth: &Berth,
    driver: &dyn Driver,
    request: &Request,
) -> berth_driver_api::Result<()> {
    check_options(driver.info(), &request.options)?;
    image::check_driver(berth, request, driver.info())?;
    let spec = request.spec(driver.info());
    let record = Record::new(
        &request.name,
        &request.driver,
        &spec,
        request.engine.clone(),
    );
    driver
        .check(&berth.machine_without_image(&record, None))
        .await
}

impl Request {
    /// What a driver is asked for, before the image is known.
    pub(super) fn spec(&self, info: &berth_driver_api::Info) -> Spec {
        let most = info.max_cpus.unwrap_or(u32::MAX);
        Spec {
            cpus: self.cpus.unwrap_or_else(|| default_cpus().min(most)),
            memory: self.memory.unwrap_or(MEMORY),
            disk: self.disk.unwrap_or(0),
            image: None,
            options: self.options.clone(),
        }
    }
}

/// Up to four of this computer's.
fn default_cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(4) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(subject: &str, good: bool, detail: &str) -> Finding {
        Finding::new(subject, good, detail)
    }

    #[test]
    fn the_reason_is_how_guests_run_or_what_stands_in_the_way() {
        let findings = [
            finding("qemu", true, "QEMU 10"),
            finding("acceleration", false, "tcg: no vmx"),
            finding("qemu-img", false, "qemu-img is not installed"),
        ];
        let told = |usable| reason(usable, Execution::Emulated, &findings);
        assert_eq!(told(true), "tcg: no vmx");
        assert_eq!(told(false), "tcg: no vmx; qemu-img is not installed");
        let native = reason(true, Execution::Native, &findings[..1]);
        assert!(
            native.contains("without virtualization hardware"),
            "{native}"
        );
    }

    #[test]
    fn hardware_is_best_and_emulation_last() {
        assert!(Execution::Hardware < Execution::Native);
        assert!(Execution::Native < Execution::Emulated);
        assert!(Execution::Unknown < Execution::Emulated);
    }
}
