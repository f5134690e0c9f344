//! Keeping a process small that lives long, of which there may be many: a supervisor, or a plugin.
//!
//! The system maps a program's code in large pieces around each place that is reached: after the start, most of it is
//! mapped, and most of that was needed to start only.

use std::os::raw::c_void;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

/// Gives the program's code and constants back to the page cache. What is reached from now on is mapped again, piece by
/// piece.
pub fn forget_code() {
    // Without it the supervisor is only larger.
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
        return;
    };
    let Some(exe) = std::env::current_exe().ok() else {
        return;
    };
    for (start, length) in maps
        .lines()
        .filter_map(|line| code(line, &exe.to_string_lossy()))
    {
        let Some(start) = NonNull::new(start as *mut c_void) else {
            continue;
        };
        // SAFETY: a mapping of a file that nobody can have written to: what is dropped is read from the file again.
        // Nothing is unmapped, so that no address becomes invalid.
        #[allow(unsafe_code)]
        let _ = unsafe { madvise(start, length, MmapAdvise::MADV_DONTNEED) };
    }
}

/// Start and length of a mapping of the program's code, or of the constants at its file's beginning, from a line of
/// /proc/self/maps (proc_pid_maps(5)). Only what never could be written to: relocated data, which is read-only later in
/// the file, is lost when it is dropped.
fn code(line: &str, exe: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, rights, offset) = (words.next()?, words.next()?, words.next()?);
    let constants = rights == "r--p" && offset.bytes().all(|digit| digit == b'0');
    if !(rights == "r-xp" || constants)
        || line
            .split_once('/')
            .is_none_or(|(_, path)| format!("/{path}") != exe)
    {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_code_is_found() {
        let exe = "/usr/bin/berth";
        let line = "5612fedc8000-5612ff44a000 r-xp 00207000 fe:00 1234                       /usr/bin/berth";
        let found = Some((0x5612_fedc_8000, 0x68_2000));
        assert_eq!(code(line, exe), found);
        let constants = line.replace("r-xp 00207000", "r--p 00000000");
        assert_eq!(code(&constants, exe), found);
        for other in [
            line.replace("r-xp", "r--p"),
            line.replace("r-xp", "rwxp"),
            line.replace("bin/berth", "lib/libc.so.6"),
            "7ffdaa3c9000-7ffdaa3eb000 r-xp 00000000 00:00 0    [vdso]".into(),
            "nonsense".into(),
        ] {
            assert_eq!(code(&other, exe), None, "{other}");
        }
    }

    #[test]
    fn the_program_goes_on_afterwards() {
        forget_code();
        assert_eq!("still here".len(), 10);
    }
}
