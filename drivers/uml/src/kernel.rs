//! The kernel: a program in the folder of a stored image, with its loader, its C library, its initrd and its modules.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use berth_driver_api::{Error, Machine, Result, process};
use tokio::process::Command;

use crate::memory::{self, Memory};

/// Names in the kernel's folder.
const PROGRAM: &str = "linux";
const LOADER: &str = "ld.so";
const MODULES: &str = "modules.img";
const INITRD: &str = "initrd";
const CONFIG: &str = "config";
const CMDLINE: &str = "cmdline";

/// The kernel's check of this computer takes milliseconds.
const CHECK: Duration = Duration::from_secs(10);

/// The folder of a stored kernel, complete.
pub(crate) struct Kernel {
    folder: PathBuf,
}

impl Kernel {
    /// The kernel in `folder`.
    pub(crate) fn at(folder: &Path) -> Result<Kernel> {
        // A relative path would mean another file in the machine's folder.
        let lacks = |file: &Path, error| {
            Error::failed(
                format!("the kernel in {}", folder.display()),
                format!(
                    "{} cannot be read ({error}); get the image uml-kernel again",
                    file.display()
                ),
            )
        };
        let folder = fs::canonicalize(folder).map_err(|error| lacks(folder, error))?;
        for name in [PROGRAM, LOADER, INITRD, CONFIG] {
            fs::metadata(folder.join(name)).map_err(|error| lacks(Path::new(name), error))?;
        }
        Ok(Kernel { folder })
    }

    /// The kernel that goes with the machine's image.
    pub(crate) fn of(machine: &Machine) -> Result<Kernel> {
        let stored = machine.image()?.driver_kernel.as_ref();
        let stored = stored.ok_or_else(|| {
            Error::failed(
                "the image uml-kernel",
                "this driver boots it in place of the guest image's own kernel, and it was not given",
            )
        })?;
        Kernel::at(&stored.folder)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.folder.join(PROGRAM)
    }

    pub(crate) fn loader(&self) -> PathBuf {
        self.folder.join(LOADER)
    }

    pub(crate) fn initrd(&self) -> PathBuf {
        self.folder.join(INITRD)
    }

    /// The file system with the kernel's modules; a kernel may have all built in.
    pub(crate) fn modules(&self) -> Option<PathBuf> {
        Some(self.folder.join(MODULES)).filter(|file| file.is_file())
    }

    /// Parameters of this kernel's own; a kernel may need none.
    pub(crate) fn cmdline(&self) -> Result<String> {
        let file = self.folder.join(CMDLINE);
        match fs::read_to_string(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            outcome => outcome.map_err(Error::io(file)),
        }
    }

    /// True if the kernel was built with `option` (without `CONFIG_`), not as a module.
    fn has(&self, option: &str) -> Result<bool> {
        let file = self.folder.join(CONFIG);
        let text = fs::read_to_string(&file).map_err(Error::io(&file))?;
        let line = format!("CONFIG_{option}=y");
        Ok(text.lines().any(|found| found.trim() == line))
    }

    /// Refuses a kernel that lacks what every machine needs.
    pub(crate) fn check(&self) -> Result<()> {
        for (option, why) in [
            ("UML", "it is no User Mode Linux"),
            ("BLK_DEV_UBD", "it has no disks"),
            ("BLK_DEV_INITRD", "it takes no initrd"),
            ("MCONSOLE", "it cannot be asked to shut down"),
            ("UML_NET_VECTOR", "it has no network card"),
        ] {
            if !self.has(option)? {
                return Err(Error::failed(
                    format!("the kernel in {}", self.folder.display()),
                    format!("{why} (CONFIG_{option} is not set)"),
                ));
            }
        }
        Ok(())
    }

    /// Lets the kernel check this computer: whether system calls can be caught by seccomp, and whether `memory` can
    /// hold a guest. It is given too little memory to boot, so it says what it found and ends: 13 ms.
    pub(crate) async fn try_out(&self, memory: &Memory) -> Result<String> {
        let scratch = tempfile::Builder::new()
            .prefix("berth-")
            .tempdir_in(memory.place())
            .map_err(Error::io(memory.place()))?;
        let mut command = Command::new(self.program());
        command
            .current_dir(&self.folder)
            .args(["mem=1M", "seccomp=on", "con=null", "con0=null,fd:1"])
            .args(["umid=probe", "uml_dir=/proc"])
            .env_clear()
            .env(memory::VARIABLE, scratch.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(CHECK, command.output()).await;
        let output = output
            .map_err(|_| Error::Timeout {
                what: "the kernel's check of this computer".into(),
                after: CHECK,
            })?
            .map_err(Error::io(self.program()))?;
        let mut words = output.stdout;
        words.extend_from_slice(&output.stderr);
        verdict(&String::from_utf8_lossy(&words))
            .map_err(|reason| Error::failed("running User Mode Linux on this computer", reason))
    }
}

/// What the kernel found out, from its words.
fn verdict(words: &str) -> Result<String, String> {
    let line = words
        .lines()
        .map(str::trim)
        .find(|line| line.contains("seccomp filters"));
    match line {
        Some(line) if line.ends_with("OK") => {
            Ok("system calls of guests can be caught by seccomp filters".into())
        }
        _ => {
            Err(
                explain(words).unwrap_or_else(|| match process::last_lines(words.as_bytes(), 3) {
                    words if words.is_empty() => "the kernel ended without a word".into(),
                    words => format!("the kernel says: {words}"),
                }),
            )
        }
    }
}

/// What is known of a kernel that could not start, from its words; `None` if they tell nothing.
pub(crate) fn explain(words: &str) -> Option<String> {
    let known = [
        (
            "ptrace set fp regs failed",
            "the kernel cannot save this CPU's registers (its ptrace mode is too old for AMX); a kernel with seccomp \
             mode (6.16 or later) can",
        ),
        (
            "must be not mounted noexec",
            "the folder for the guest's memory is mounted noexec",
        ),
        (
            "SECCOMP userspace requested but not functional",
            "this computer's kernel lets no seccomp filter catch system calls, or this User Mode Linux has no seccomp \
             mode",
        ),
        (
            "seccomp filters can be installed...",
            "this computer's kernel lets no seccomp filter catch system calls",
        ),
        (
            "mount likely just ran out of space",
            "the folder for the guest's memory ran full",
        ),
        (
            "No space left on device",
            "the folder for the guest's memory is full",
        ),
        (
            "Kernel panic - not syncing: VFS: Unable to mount root fs",
            "the kernel found no root file system",
        ),
    ];
    let (_, meaning) = known
        .iter()
        .find(|(said, _)| words.contains(said) && !words.contains(&format!("{said}OK")))?;
    Some((*meaning).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_check_is_understood() {
        let good = "Checking PROT_EXEC mmap in /dev/shm...OK\nChecking that seccomp filters can be installed...OK\n\
                    Too few physical memory! Needed=20971520, given=1048576\n";
        assert!(verdict(good).is_ok());
        let bad = "Checking that seccomp filters can be installed...Failed\n";
        assert!(verdict(bad).unwrap_err().contains("catch system calls"));
        let noexec = "Checking PROT_EXEC mmap in /x...Operation not permitted\n/x must be not mounted noexec\n";
        assert!(verdict(noexec).unwrap_err().contains("noexec"));
        assert!(verdict("").unwrap_err().contains("without a word"));
    }

    #[test]
    fn a_kernel_that_dies_of_the_cpu_is_explained() {
        let words = "Linux version 6.1\nKernel panic - not syncing: ptrace set fp regs failed, errno = 22\n";
        assert!(explain(words).unwrap().contains("AMX"));
        assert_eq!(explain("Linux version 6.1\n"), None);
    }
}
