//! What a machine's kernel may do on this computer.
//!
//! Its guests' code runs on the CPU as processes of the user's, whose system calls the kernel catches by seccomp. Its
//! own documentation (`seccomp=` in `linux --help`) says that a guest's process may get at all of the guest's memory,
//! and so at the kernel: who breaks out of a container in it is a process of the user's on this computer. So the
//! kernel and all that it starts are confined before it is executed: it gains no privileges, opens only the machine's
//! files and few devices (Landlock), and makes only the system calls that running guests takes (seccomp).

mod syscalls;

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_driver_api::{Error, Machine, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use seccompiler::BpfProgram;
use tokio::process::Command;

use crate::command_line::fds;
use crate::disk::{self, Disk};
use crate::initrd;
use crate::kernel::Kernel;
use crate::mconsole;

/// As many files as a guest of many processes takes: two for each.
const FILES: u64 = 65_536;

/// The descriptor of the pid file: out of the way of those that are mapped, which are below this.
const PID_FILE: libc::c_uint = 64;

/// One more than the highest descriptor that is mapped.
const MAPPED: libc::c_uint = fds::END as libc::c_uint;

/// A confinement, ready to be taken on by a process that is about to become a kernel.
pub(crate) struct Confinement {
    ruleset: Option<OwnedFd>,
    filter: BpfProgram,
    files: libc::rlimit,
}

/// Landlock's version on this computer; 0 if it has none.
pub(crate) fn landlock_version() -> i64 {
    // SAFETY: with no attributes, of size 0, and flag 1 (LANDLOCK_CREATE_RULESET_VERSION) this only answers a number.
    #[allow(unsafe_code)]
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0,
            1,
        )
    };
    version.max(0)
}

/// Says why this computer's kernel lets no filter catch system calls, if it does not (seccomp(2)).
pub(crate) fn filters_trap() -> Result<(), String> {
    const ACTION_AVAILABLE: libc::c_int = 2;
    let action: u32 = libc::SECCOMP_RET_TRAP;
    // SAFETY: seccomp(2) only reads the number that the pointer leads to.
    #[allow(unsafe_code)]
    let outcome =
        unsafe { libc::syscall(libc::SYS_seccomp, ACTION_AVAILABLE, 0, &raw const action) };
    check(outcome).map_err(|error| error.to_string())
}

/// What an older Landlock leaves open, in words; nothing for one that is new enough.
pub(crate) fn left_open(version: i64) -> Option<&'static str> {
    match version {
        0 => Some(
            "this computer's kernel has no Landlock: a machine's kernel can open what the user can",
        ),
        1..4 => Some("TCP connections are held off by the seccomp filter only"),
        4..6 => Some("signals to other processes of the user's are not held off"),
        _ => None,
    }
}

impl Confinement {
    /// For the machine's kernel.
    pub(crate) fn of(
        machine: &Machine,
        kernel: &Kernel,
        disk: Disk,
        memory: &Path,
    ) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| Error::failed("confining the kernel", error);
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|errno| failed(&errno))?;
        Ok(Confinement {
            ruleset: ruleset(&openings(machine, kernel, disk, memory)?)
                .map_err(|error| failed(&error))?,
            filter: syscalls::filter().map_err(|error| failed(&error))?,
            files: libc::rlimit {
                rlim_cur: hard.min(FILES),
                rlim_max: hard,
            },
        })
    }

    /// Makes the program take it on, and lock `pid_file` for as long as it lives. Before descriptors are mapped.
    pub(crate) fn begin(&mut self, command: &mut Command, pid_file: &Path) -> Result<()> {
        let ruleset = self.ruleset.take();
        let files = self.files;
        let pid_file = std::ffi::CString::new(pid_file.as_os_str().as_encoded_bytes())
            .map_err(|error| Error::failed("the pid file's name", error))?;
        // SAFETY: what is called between fork and exec are system calls, which are async-signal-safe, on values that
        // were made before.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || {
                lock(&pid_file)?;
                let none = libc::rlimit {
                    rlim_cur: 0,
                    rlim_max: 0,
                };
                check(libc::setrlimit(libc::RLIMIT_CORE, &none).into())?;
                check(libc::setrlimit(libc::RLIMIT_NOFILE, &files).into())?;
                check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
                if let Some(ruleset) = &ruleset {
                    check(libc::syscall(
                        libc::SYS_landlock_restrict_self,
                        ruleset.as_raw_fd(),
                        0,
                    ))?;
                }
                Ok(())
            });
        }
        Ok(())
    }

    /// Makes the program take on the filter of system calls. After descriptors are mapped.
    pub(crate) fn end(self, command: &mut Command) {
        let filter = self.filter;
        // SAFETY: applying a filter is two system calls on a program that was made before.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || {
                // Whatever else berth has open, or was left open to it, is not the kernel's. Linux before 5.11 cannot.
                for (first, last) in [(MAPPED, PID_FILE - 1), (PID_FILE + 1, libc::c_uint::MAX)] {
                    libc::close_range(first, last, libc::CLOSE_RANGE_CLOEXEC as libc::c_int);
                }
                seccompiler::apply_filter(&filter).map_err(|_| io::Error::last_os_error())
            });
        }
    }
}

fn check(outcome: i64) -> io::Result<()> {
    match outcome {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Locks the pid file in the process that is to hold the lock, which ends when that process closes the file by any of
/// its descriptors: so it has one only, out of the way of those that are mapped.
fn lock(pid_file: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: these system calls read a C string and a struct that live across them.
    #[allow(unsafe_code)]
    unsafe {
        let opened = libc::open(
            pid_file.as_ptr(),
            libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC,
            0o600,
        );
        check(opened.into())?;
        let moved = libc::fcntl(opened, libc::F_DUPFD, PID_FILE);
        check(moved.into())?;
        libc::close(opened);
        let lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        check(libc::fcntl(moved, libc::F_SETLK, &lock).into())
    }
}

/// A path that may be opened, and how.
struct Opening {
    path: PathBuf,
    access: BitFlags<AccessFs>,
}

fn openings(machine: &Machine, kernel: &Kernel, disk: Disk, memory: &Path) -> Result<Vec<Opening>> {
    use AccessFs::{
        Execute, MakeDir, MakeReg, MakeSock, ReadDir, ReadFile, RemoveDir, RemoveFile, Truncate,
        WriteFile,
    };
    let mut openings = vec![
        // A guest that reboots executes it again.
        (kernel.folder().to_owned(), ReadFile | Execute),
        (machine.file(initrd::FILE), ReadFile.into()),
        (disk.file(machine), ReadFile | WriteFile | Truncate),
        (
            memory.to_owned(),
            ReadFile | WriteFile | MakeReg | RemoveFile | Truncate,
        ),
        (
            mconsole::folder(machine),
            ReadFile | ReadDir | WriteFile | MakeDir | MakeReg | MakeSock | RemoveFile | RemoveDir,
        ),
    ];
    if disk == Disk::Cow {
        openings.push((disk::base(machine)?, ReadFile.into()));
    }
    for (device, access) in [
        ("/dev/null", ReadFile | WriteFile),
        ("/dev/random", ReadFile.into()),
        ("/dev/urandom", ReadFile.into()),
        ("/proc/cpuinfo", ReadFile.into()),
    ] {
        openings.push((device.into(), access));
    }
    openings
        .into_iter()
        .map(|(path, access)| {
            let path = fs::canonicalize(&path).map_err(Error::io(&path))?;
            Ok(Opening { path, access })
        })
        .collect()
}

/// As much as this computer's Landlock can; `None` if it has none.
fn ruleset(openings: &[Opening]) -> Result<Option<OwnedFd>, Box<dyn std::error::Error>> {
    if landlock_version() == 0 {
        return Ok(None);
    }
    let abi = ABI::V6;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?;
    for opening in openings {
        let path = PathFd::new(&opening.path)?;
        ruleset = ruleset.add_rule(PathBeneath::new(path, opening.access))?;
    }
    Ok(ruleset.into())
}

#[cfg(test)]
mod tests;
