//! A guest of a few hundred bytes that shows whether an accelerator can run a kernel: it enters long mode with
//! paging, takes an exception through its own interrupt table, reloads its page tables and counts to 10^8 (a
//! twentieth of a second where guest code runs on the CPU, minutes where each instruction is emulated).
//! It is the firmware itself, so that nothing else has to start first.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::Accelerator;
use crate::arguments::Values;

/// A real hypervisor needs 0.1 s.
const DEADLINE: Duration = Duration::from_secs(4);

const ROM_SIZE: usize = 64 << 10;

/// Where an x86 CPU begins, in the ROM.
const RESET: usize = 0xfff0;

/// `jmp` to the ROM's first byte.
const JUMP_TO_START: [u8; 3] = [0xe9, 0x0d, 0x00];

/// What QEMU exits with when the x86 guest writes 21, its exception handler's mark, to the exit device.
const MARK: i32 = (21 << 1) | 1;

/// The x86 guest; its source is `trial_x86_64.s`.
#[rustfmt::skip]
const X86_64: &[u8] = &[
    0xfa, 0x2e, 0x66, 0x0f, 0x01, 0x16, 0x10, 0x01, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0,
    0x66, 0xea, 0x18, 0x00, 0xff, 0xff, 0x08, 0x00, 0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0x8e, 0xc0,
    0x8e, 0xd0, 0xc7, 0x05, 0x00, 0x10, 0x00, 0x00, 0x03, 0x20, 0x00, 0x00, 0xc7, 0x05, 0x00, 0x20,
    0x00, 0x00, 0x03, 0x30, 0x00, 0x00, 0xc7, 0x05, 0x18, 0x20, 0x00, 0x00, 0x03, 0x40, 0x00, 0x00,
    0xc7, 0x05, 0x00, 0x30, 0x00, 0x00, 0x83, 0x00, 0x00, 0x00, 0xc7, 0x05, 0xf8, 0x4f, 0x00, 0x00,
    0x83, 0x00, 0xe0, 0xff, 0x0f, 0x20, 0xe0, 0x0c, 0x20, 0x0f, 0x22, 0xe0, 0xb8, 0x00, 0x10, 0x00,
    0x00, 0x0f, 0x22, 0xd8, 0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x80, 0xcc, 0x01, 0x0f, 0x30,
    0x0f, 0x20, 0xc0, 0x0d, 0x00, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0, 0xea, 0x82, 0x00, 0xff, 0xff,
    0x18, 0x00, 0xbc, 0x00, 0x80, 0x00, 0x00, 0xb8, 0xe8, 0x00, 0xff, 0xff, 0x66, 0x89, 0x04, 0x25,
    0x30, 0x50, 0x00, 0x00, 0x66, 0xc7, 0x04, 0x25, 0x32, 0x50, 0x00, 0x00, 0x18, 0x00, 0x66, 0xc7,
    0x04, 0x25, 0x34, 0x50, 0x00, 0x00, 0x00, 0x8e, 0x66, 0xc7, 0x04, 0x25, 0x36, 0x50, 0x00, 0x00,
    0xff, 0xff, 0x66, 0xc7, 0x04, 0x25, 0xf6, 0x5f, 0x00, 0x00, 0xff, 0x0f, 0xc7, 0x04, 0x25, 0xf8,
    0x5f, 0x00, 0x00, 0x00, 0x50, 0x00, 0x00, 0x0f, 0x01, 0x1c, 0x25, 0xf6, 0x5f, 0x00, 0x00, 0x31,
    0xdb, 0xcc, 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0xb9, 0x00, 0xe1, 0xf5, 0x05, 0xff, 0xc9, 0x75,
    0xfc, 0x89, 0xd8, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd, 0x83, 0xc3, 0x15, 0x48, 0xcf, 0x0f, 0x1f, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xcf, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xaf, 0x00,
    0x1f, 0x00, 0xf0, 0x00, 0xff, 0xff,
];

/// The ARM guest: it counts and asks the firmware interface to power off.
#[rustfmt::skip]
const AARCH64: [u32; 7] = [
    0x52a0_bea1, // movz w1, #0x5f5, lsl #16
    0x7100_0421, // subs w1, w1, #1
    0x54ff_ffe1, // b.ne the line above
    0x5280_0100, // movz w0, #8
    0x72b0_8000, // movk w0, #0x8400, lsl #16 (PSCI's SYSTEM_OFF)
    0xd400_0002, // hvc #0
    0x1400_0000, // b this line
];

fn rom(arch: &str) -> Vec<u8> {
    let mut rom: Vec<u8> = match arch {
        "x86_64" => X86_64.to_vec(),
        _ => AARCH64.iter().flat_map(|word| word.to_le_bytes()).collect(),
    };
    rom.resize(ROM_SIZE, 0xf4);
    if arch == "x86_64" {
        rom.splice(RESET..RESET + JUMP_TO_START.len(), JUMP_TO_START);
    }
    rom
}

/// Runs the guest; if it does not come to its end, says what happened instead.
pub(super) async fn run(
    program: &Path,
    arch: &str,
    accelerator: Accelerator,
) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    let mut file = tempfile::NamedTempFile::new().map_err(words)?;
    file.write_all(&rom(arch)).map_err(words)?;
    let mut command = Command::new(program);
    command
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args(["-m", "64", "-accel", accelerator.word(), "-bios"])
        .arg(file.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let success = if arch == "x86_64" {
        let exit = Values::of("isa-debug-exit")
            .set("iobase", "0xf4")
            .set("iosize", "1");
        command.args(["-machine", "q35", "-device", &exit.to_string()]);
        MARK
    } else {
        command.args(["-machine", "virt", "-cpu"]);
        command.arg(if accelerator == Accelerator::Tcg {
            "max"
        } else {
            "host"
        });
        0
    };
    let mut child = command.spawn().map_err(words)?;
    let mut errors = BufReader::new(child.stderr.take().ok_or("no standard error")?).lines();
    let outcome = tokio::time::timeout(DEADLINE, async {
        let mut last = String::new();
        // QEMU pauses a guest that its accelerator cannot go on with, and says so.
        while let Ok(Some(line)) = errors.next_line().await {
            if line.contains("internal error") {
                return Err(line);
            }
            last = line;
        }
        match child.wait().await {
            Ok(status) if status.code() == Some(success) => Ok(()),
            Ok(status) if last.is_empty() => Err(status.to_string()),
            Ok(_) => Err(last),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    outcome.unwrap_or_else(|_| Err(format!("it hung for {} s", DEADLINE.as_secs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guest itself is right if emulation, which is always there, runs it to its end.
    #[tokio::test]
    async fn software_emulation_passes_the_trial() {
        for arch in ["x86_64", "aarch64"] {
            let name = format!("qemu-system-{arch}");
            let Some(program) = berth_driver_api::process::find(&name) else {
                println!("skipped: {name} is not installed");
                continue;
            };
            assert_eq!(
                run(&program, arch, Accelerator::Tcg).await,
                Ok(()),
                "{arch}"
            );
        }
    }

    /// Where KVM is real it passes, elsewhere it fails; either way soon, and a failure says why.
    #[tokio::test]
    async fn the_trial_under_kvm_comes_to_an_end() {
        let arch = std::env::consts::ARCH;
        let program = berth_driver_api::process::find(&format!("qemu-system-{arch}"));
        let (Some(program), Ok(())) = (program, super::super::open_device()) else {
            println!("skipped: QEMU or /dev/kvm is not there");
            return;
        };
        let begun = std::time::Instant::now();
        let outcome = run(&program, arch, Accelerator::Kvm).await;
        println!("{outcome:?} after {:?}", begun.elapsed());
        assert!(begun.elapsed() < 2 * DEADLINE);
        assert_ne!(outcome, Err(String::new()));
    }
}
