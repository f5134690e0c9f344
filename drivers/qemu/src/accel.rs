//! What machines are run by, decided by evidence.
//!
//! That `/dev/kvm` opens proves little: software hypervisors offer it too, and run firmware but no ordinary kernel.
//! So the CPU must show its virtualization flags, and then a guest of a few bytes has to do what kernels do (see
//! [`trial`]). What is cheap to look at is looked at each time; only the trial's outcome is cached, until the next
//! boot or another QEMU.

mod trial;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use berth_driver_api::{Execution, Finding};
use serde::{Deserialize, Serialize};

/// What a machine's CPUs are run by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// Linux's hypervisor.
    Kvm,
    /// macOS's hypervisor.
    Hvf,
    /// QEMU's own translation: works everywhere, ten times slower.
    Tcg,
}

impl Accelerator {
    /// The word of `-o accel=` and of `-accel`.
    pub fn word(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Hvf => "hvf",
            Accelerator::Tcg => "tcg",
        }
    }

    /// The accelerator of that word; `None` for `auto`.
    pub fn named(word: &str) -> Option<Accelerator> {
        [Accelerator::Kvm, Accelerator::Hvf, Accelerator::Tcg]
            .into_iter()
            .find(|accelerator| accelerator.word() == word)
    }
}

/// An accelerator, and why this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What runs machines.
    pub accelerator: Accelerator,
    /// One line for people.
    pub reason: String,
}

impl Verdict {
    /// How it runs guests' code.
    pub fn execution(&self) -> Execution {
        match self.accelerator {
            Accelerator::Tcg => Execution::Emulated,
            Accelerator::Kvm | Accelerator::Hvf => Execution::Hardware,
        }
    }

    /// What a probe tells of it.
    pub fn finding(&self) -> Finding {
        Finding::new(
            "acceleration",
            self.accelerator != Accelerator::Tcg,
            format!("{}: {}", self.accelerator.word(), self.reason),
        )
    }

    /// The user's own choice.
    pub fn chosen(accelerator: Accelerator) -> Verdict {
        Verdict {
            accelerator,
            reason: format!("-o accel={}", accelerator.word()),
        }
    }

    fn software(reason: impl AsRef<str>) -> Verdict {
        Verdict {
            accelerator: Accelerator::Tcg,
            reason: format!("{}: software emulation it is", reason.as_ref()),
        }
    }
}

/// Decides for guests of `arch` that the QEMU `program` is to run. What a trial costs is kept in the folder `cache`.
pub async fn decide(program: &Path, arch: &str, cache: &Path) -> Verdict {
    let host = std::env::consts::ARCH;
    if arch != host {
        return Verdict::software(format!("the guest is {arch} and this computer is {host}"));
    }
    if cfg!(target_os = "macos") {
        return hypervisor_framework().await;
    }
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if let Err(reason) = evidence(arch, &cpuinfo, open_device()) {
        return Verdict::software(reason);
    }
    match cached_trial(program, arch, cache).await {
        Ok(()) => Verdict {
            accelerator: Accelerator::Kvm,
            reason: "/dev/kvm opens, and a trial guest ran in it at full speed".into(),
        },
        Err(failure) => Verdict::software(format!(
            "/dev/kvm opens, but a trial guest failed in it ({failure})"
        )),
    }
}

/// Opens `/dev/kvm` as QEMU does.
///
/// # Errors
/// Why it cannot be opened.
pub fn open_device() -> io::Result<()> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map(drop)
}

/// Whether what the CPU shows and what the device does speak for KVM; if not, why.
fn evidence(arch: &str, cpuinfo: &str, device: io::Result<()>) -> Result<(), String> {
    // ARM shows no flag: there the device exists only if the CPU can.
    let capable = arch != "x86_64"
        || cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("flags")?.split_once(':'))
            .is_some_and(|(_, flags)| {
                flags
                    .split_whitespace()
                    .any(|flag| matches!(flag, "vmx" | "svm"))
            });
    match (capable, device) {
        (true, Ok(())) => Ok(()),
        (false, Ok(())) => Err("/dev/kvm opens, but this CPU shows neither vmx nor svm".into()),
        (false, Err(_)) => Err(
            "this CPU shows neither vmx nor svm (virtualization is off in the firmware, or this computer is itself a VM)"
                .into(),
        ),
        (true, Err(error)) => Err(match error.kind() {
            io::ErrorKind::NotFound => {
                "there is no /dev/kvm (is the kernel's kvm module loaded?)".into()
            }
            io::ErrorKind::PermissionDenied => {
                "/dev/kvm may not be opened by this user (usually: join the group kvm)".into()
            }
            _ => format!("/dev/kvm cannot be opened ({error})"),
        }),
    }
}

async fn hypervisor_framework() -> Verdict {
    let answer = match berth_driver_api::process::command("sysctl") {
        Ok(mut sysctl) => {
            sysctl.args(["-n", "kern.hv_support"]);
            berth_driver_api::process::output(sysctl).await
        }
        Err(error) => Err(error),
    };
    if answer.is_ok_and(|answer| answer.trim_ascii() == b"1") {
        Verdict {
            accelerator: Accelerator::Hvf,
            reason: "macOS offers its hypervisor here".into(),
        }
    } else {
        Verdict::software("macOS offers no hypervisor here (kern.hv_support is not 1)")
    }
}

/// The outcome of a trial and what it holds for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Trial {
    boot: String,
    program: PathBuf,
    built: u64,
    failure: Option<String>,
}

async fn cached_trial(program: &Path, arch: &str, cache: &Path) -> Result<(), String> {
    let file = cache.join(format!("qemu-trial-{arch}.toml"));
    let mut now = Trial {
        boot: fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .unwrap_or_default()
            .trim()
            .into(),
        program: program.into(),
        built: modified(program),
        failure: None,
    };
    if let Some(outcome) = remembered(&file, &now) {
        return outcome;
    }
    let outcome = trial::run(program, arch, Accelerator::Kvm).await;
    now.failure = outcome.as_ref().err().cloned();
    // A verdict that cannot be cached is still a verdict.
    if let Err(error) = fs::create_dir_all(cache)
        .map_err(|error| error.to_string())
        .and_then(|()| toml::to_string(&now).map_err(|error| error.to_string()))
        .and_then(|text| {
            berth_driver_api::files::write(&file, text.as_bytes())
                .map_err(|error| error.to_string())
        })
    {
        tracing::debug!("the trial guest's outcome is not cached: {error}");
    }
    outcome
}

/// The cached outcome, if it is of this boot and this QEMU.
fn remembered(file: &Path, now: &Trial) -> Option<Result<(), String>> {
    let cached: Trial = toml::from_str(&fs::read_to_string(file).ok()?).ok()?;
    let same = (&cached.boot, &cached.program, cached.built)
        == (&now.boot, &now.program, now.built)
        && !now.boot.is_empty();
    same.then_some(cached.failure.map_or(Ok(()), Err))
}

fn modified(program: &Path) -> u64 {
    fs::metadata(program)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(kind: io::ErrorKind) -> io::Result<()> {
        Err(kind.into())
    }

    #[test]
    fn an_open_device_alone_does_not_speak_for_kvm() {
        let plain = "processor\t: 0\nflags\t\t: fpu sse2 lm\n";
        let intel = "processor\t: 0\nflags\t\t: fpu vmx lm\n";
        let amd = "flags : svm\n";
        assert!(
            evidence("x86_64", plain, Ok(()))
                .unwrap_err()
                .contains("neither vmx nor svm")
        );
        assert!(evidence("x86_64", "", Ok(())).is_err());
        assert!(evidence("x86_64", intel, Ok(())).is_ok());
        assert!(evidence("x86_64", amd, Ok(())).is_ok());
        assert!(evidence("aarch64", "", Ok(())).is_ok());
    }

    #[test]
    fn the_reason_says_what_to_do() {
        let flags = "flags : svm\n";
        let group = evidence("x86_64", flags, denied(io::ErrorKind::PermissionDenied));
        assert!(group.unwrap_err().contains("group kvm"));
        let module = evidence("x86_64", flags, denied(io::ErrorKind::NotFound));
        assert!(module.unwrap_err().contains("module"));
        let nested = evidence("x86_64", "", denied(io::ErrorKind::NotFound));
        assert!(nested.unwrap_err().contains("itself a VM"));
    }

    #[test]
    fn a_cached_trial_holds_for_one_boot_and_one_qemu() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trial.toml");
        let trial = |boot: &str, built| Trial {
            boot: boot.into(),
            program: "/usr/bin/qemu".into(),
            built,
            failure: Some("hung".into()),
        };
        std::fs::write(&file, toml::to_string(&trial("a", 1)).unwrap()).unwrap();
        assert_eq!(remembered(&file, &trial("a", 1)), Some(Err("hung".into())));
        assert_eq!(remembered(&file, &trial("b", 1)), None);
        assert_eq!(remembered(&file, &trial("a", 2)), None);
        std::fs::write(&file, "not toml").unwrap();
        assert_eq!(remembered(&file, &trial("a", 1)), None);
    }
}
