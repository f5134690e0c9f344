//! QEMU's command line for a machine.
//!
//! The machines are later frozen and cloned, so every device has an id and a place on the bus that stay the same
//! from start to start, the disk is virtio-blk (NVMe cannot be migrated) and memory is a named object.

mod devices;

use std::path::{Path, PathBuf};

use berth_driver_api::{Error, Result};
use uuid::Uuid;

use crate::accel::Accelerator;
use crate::arguments::{Arguments, Values};
use crate::firmware::Firmware;

/// The descriptors at which QEMU finds what was opened for it.
pub(crate) mod fds {
    /// Listening socket of the monitor for commands.
    pub(crate) const QMP: i32 = 10;
    /// Listening socket of the monitor that events are watched on.
    pub(crate) const WATCH: i32 = 11;
    /// Connected socket of the network helper.
    pub(crate) const NETWORK: i32 = 13;
    /// Listening socket of the program that waits in a frozen guest.
    pub(crate) const RENEW: i32 = 14;
    /// Listening socket of the port for streams.
    pub(crate) const CHANNEL: i32 = 15;
    /// Connected sockets of the folders' servers: this one and those after it.
    pub(crate) const SHARES: i32 = 16;
}

/// How the guest's kernel comes up.
pub(crate) enum Boot<'a> {
    /// QEMU loads it.
    Direct {
        kernel: &'a Path,
        initrd: Option<&'a Path>,
        cmdline: &'a str,
    },
    /// Firmware loads it from the disk.
    Efi {
        firmware: &'a Firmware,
        /// The machine's own copy of the firmware's variables.
        variables: &'a Path,
    },
}

/// Where the guest's memory is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Memory<'a> {
    /// Nowhere but in the host's memory.
    Own,
    /// In this file, which keeps what the guest writes. The guest's CPUs wait.
    Kept(&'a Path),
    /// What this file has, until the guest writes something else. The guest's CPUs wait, for the rest of its state.
    CopyOf(&'a Path),
}

/// How the guest's network card is connected.
pub(crate) enum Netdev<'a> {
    /// QEMU's own user-mode network, with this loopback port forwarded to SSH.
    User { port: u16 },
    /// A hub with nothing else on it. Unlike the user-mode network it has no state, which a clone on another network
    /// could not take up.
    Isolated,
    /// A helper at the other end of [`fds::NETWORK`].
    Helper,
    /// A bridge of the host's.
    Bridge(&'a str),
}

/// How credentials reach the guest's systemd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carrier {
    /// SMBIOS strings of type 11.
    Smbios,
    /// QEMU's configuration device, where no firmware makes SMBIOS tables.
    FwCfg,
}

/// A machine, as far as its QEMU needs to know it.
pub(crate) struct CommandLine<'a> {
    pub(crate) id: Uuid,
    pub(crate) name: &'a str,
    pub(crate) arch: &'a str,
    pub(crate) accelerator: Accelerator,
    pub(crate) machine_type: &'a str,
    pub(crate) cpu: &'a str,
    pub(crate) cpus: u32,
    /// In bytes.
    pub(crate) memory: u64,
    pub(crate) memory_is: Memory<'a>,
    pub(crate) disk: &'a Path,
    /// A raw disk that the guest may only read.
    pub(crate) seed: Option<&'a Path>,
    /// The tags of the folders whose servers are connected, in the order of [`fds::SHARES`].
    pub(crate) shares: &'a [String],
    pub(crate) boot: Boot<'a>,
    pub(crate) netdev: Netdev<'a>,
    pub(crate) carrier: Carrier,
    /// Credentials by name, and the files that hold them.
    pub(crate) credentials: &'a [(String, PathBuf)],
    pub(crate) console: &'a Path,
    pub(crate) ready: &'a Path,
    /// Where the guest agent's pipes are, without their endings.
    pub(crate) agent: &'a Path,
    /// Whether it has the port for streams: what an older berth has frozen goes on without.
    pub(crate) channel: bool,
    /// Whether it has a high precision event timer (x86): what an older berth has frozen goes on with it.
    pub(crate) hpet: bool,
    /// Whether the guest begins anew, with nothing said yet.
    pub(crate) boots: bool,
    pub(crate) pid_file: &'a Path,
}

impl CommandLine<'_> {
    /// The arguments, without the program.
    pub(crate) fn arguments(&self) -> Result<Vec<String>> {
        let mut args = Arguments::default();
        self.base(&mut args)?;
        self.boot(&mut args)?;
        self.disk(&mut args)?;
        self.network(&mut args);
        self.channels(&mut args)?;
        self.credentials(&mut args)?;
        self.seed(&mut args)?;
        self.shares(&mut args);
        Ok(args.into_words())
    }

    fn x86(&self) -> bool {
        self.arch == "x86_64"
    }

    fn base(&self, args: &mut Arguments) -> Result<()> {
        args.flag("-nodefaults");
        args.flag("-no-user-config");
        args.add("-display", "none");
        args.add(
            "-name",
            Values::of("")
                .set("guest", self.name)
                .set("debug-threads", "on"),
        );
        args.add("-uuid", self.id);
        args.add("-pidfile", text(self.pid_file)?);
        args.add("-msg", "timestamp=on");

        let mut machine = Values::of(self.machine_type).set("memory-backend", "mem0");
        if self.x86() {
            // Every device is on virtio: a controller without disks is only one more thing to look for at boot.
            machine = machine
                .set("vmport", "off")
                .set("sata", "off")
                .set("smbus", "off");
            if !self.hpet {
                // Linux leaves its first timer running, which wakes an idle QEMU 250 times a second; libvirt's
                // machines have none either.
                machine = machine.set("hpet", "off");
            }
        } else if self.accelerator != Accelerator::Hvf {
            machine = machine.set("gic-version", "max");
        }
        if let Boot::Efi { .. } = self.boot {
            machine = machine.set("pflash0", "code0").set("pflash1", "vars0");
        }
        args.add("-machine", machine);
        args.add(
            "-accel",
            match self.accelerator {
                Accelerator::Tcg => Values::of("tcg").set("thread", "multi"),
                other => Values::of(other.word()),
            },
        );
        // Not a list of ours: `-o cpu=max,-avx` is QEMU's own syntax.
        args.add("-cpu", self.cpu);
        args.add(
            "-smp",
            Values::of(&self.cpus.to_string())
                .set("sockets", 1)
                .set("cores", self.cpus)
                .set("threads", 1),
        );
        let memory = memory_in_kib(self.memory);
        args.add("-m", Values::of("").set("size", format_args!("{memory}k")));
        let in_file = |file, share| {
            Ok(Values::of("memory-backend-file")
                .set("mem-path", text(file)?)
                .set("share", share))
        };
        let backend = match (self.memory_is, self.shares.is_empty()) {
            (Memory::Kept(file), _) => in_file(file, "on")?,
            (Memory::CopyOf(file), _) => in_file(file, "off")?,
            (Memory::Own, true) => Values::of("memory-backend-ram"),
            // Servers of folders read and write the guest's memory themselves.
            (Memory::Own, false) => Values::of("memory-backend-memfd").set("share", "on"),
        };
        args.add(
            "-object",
            backend
                .set("id", "mem0")
                .set("size", format_args!("{memory}k")),
        );
        Ok(())
    }

    fn boot(&self, args: &mut Arguments) -> Result<()> {
        match &self.boot {
            Boot::Direct {
                kernel,
                initrd,
                cmdline,
            } => {
                args.add("-kernel", text(kernel)?);
                if let Some(initrd) = initrd {
                    args.add("-initrd", text(initrd)?);
                }
                let console = if self.x86() { "ttyS0" } else { "ttyAMA0" };
                // Emulation isolates nothing that these guard (QEMU's manual, "Security": TCG is no security
                // boundary), and page-table isolation alone costs a fifth of all that an emulated guest does.
                let mitigations = match self.accelerator {
                    Accelerator::Tcg => " mitigations=off",
                    _ => "",
                };
                let line = format!("{cmdline} console={console}{mitigations}");
                args.add("-append", line.trim());
            }
            Boot::Efi {
                firmware,
                variables,
            } => {
                args.add(
                    "-blockdev",
                    flash("code0", &firmware.code_format, &firmware.code)?.set("read-only", "on"),
                );
                args.add(
                    "-blockdev",
                    flash("vars0", &firmware.variables_format, variables)?,
                );
            }
        }
        Ok(())
    }
}

fn flash(node: &str, format: &str, file: &Path) -> Result<Values> {
    Ok(Values::of("")
        .set("driver", format)
        .set("node-name", node)
        .set("file.driver", "file")
        .set("file.filename", text(file)?))
}

/// Memory in whole MiB, as guests and backends want it.
pub(crate) fn memory_in_kib(bytes: u64) -> u64 {
    (bytes >> 20) << 10
}

/// QEMU's options are text.
fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::failed(
            "QEMU's command line",
            format!("the path {} is not UTF-8", path.display()),
        )
    })
}

#[cfg(test)]
mod tests;
