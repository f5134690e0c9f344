//! The kernel's command line for a machine. It runs in the machine's folder, so that names are short, and hold none
//! of the commas and colons at which the kernel splits them.

use std::fmt;
use std::path::Path;

use crate::disk::{self, Disk};
use crate::{initrd, mconsole};

/// The descriptors at which the kernel finds what was opened for it.
pub(crate) mod fds {
    /// The guest's end of its network cable.
    pub(crate) const CABLE: i32 = 10;
    /// The helper's end of it, kept for a helper that takes the place of one that died.
    pub(crate) const HELPER: i32 = 11;
    /// The end of a pipe that closes when the kernel ends…
    pub(crate) const ALIVE: i32 = 12;
    /// …and the end at which helpers are told of that.
    pub(crate) const WATCH: i32 = 13;
    /// The file for the words of a guest that is up.
    pub(crate) const READY: i32 = 14;
    /// In a group, the guest's end of its second cable…
    pub(crate) const GROUP_CABLE: i32 = 15;
    /// …the end of it that is the switch's, kept for every switch to come…
    pub(crate) const SWITCH: i32 = 16;
    /// …and the group's pipe, kept open.
    pub(crate) const GROUP_ALIVE: i32 = 17;
    /// The end of a pipe that closes when nobody watches the machine any more.
    pub(crate) const LEASH: i32 = 18;
    /// One more than the highest.
    pub(crate) const END: i32 = 19;
}

/// The kernel's modules in the machine's folder, a link.
pub(crate) const MODULES: &str = "modules.img";

/// The folder of the kernel's control socket, a link into the machine's socket folder.
pub(crate) const CONTROL: &str = "control";

/// The guest's serial line on which it says that it is up.
const READY_LINE: usize = 1;

/// A machine, as far as its kernel needs to know it.
pub(crate) struct CommandLine<'a> {
    /// In bytes.
    pub(crate) memory: u64,
    pub(crate) disk: Disk,
    pub(crate) modules: bool,
    pub(crate) mac: &'a str,
    /// In a group, the second network card's address on the cable and that among the others.
    pub(crate) shared: Option<(&'a str, &'a str)>,
    /// The kernel parameters of the guest image and of the kernel.
    pub(crate) parameters: &'a str,
}

impl CommandLine<'_> {
    /// The arguments, without the program.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut args = Vec::new();
        let mut add = |arg: fmt::Arguments<'_>| args.push(arg.to_string());
        add(format_args!("mem={}M", self.memory >> 20));
        match self.disk {
            // Without discard: over a copy-on-write file it costs two writes for every sector that is freed.
            Disk::Cow => add(format_args!("ubd0t={},{}", self.disk.name(), disk::BASE)),
            Disk::Own => add(format_args!("ubd0={}", self.disk.name())),
        }
        if self.modules {
            add(format_args!("ubd1r={MODULES}"));
        }
        add(format_args!("initrd={}", initrd::FILE));
        // Guests' system calls are caught by seccomp, or the kernel says that it cannot.
        add(format_args!("seccomp=on"));
        add(format_args!("con0=null,fd:1"));
        add(format_args!("con=null"));
        add(format_args!("ssl=null"));
        add(format_args!("ssl{READY_LINE}=null,fd:{}", fds::READY));
        add(format_args!(
            "vec0:transport=fd,fd={},mac={}",
            fds::CABLE,
            self.mac
        ));
        if let Some((mac, _)) = self.shared {
            let cable = fds::GROUP_CABLE;
            add(format_args!("vec1:transport=fd,fd={cable},mac={mac}"));
        }
        // Guests mount nothing of this computer's: no path begins with a device.
        add(format_args!("hostfs=/dev/null"));
        add(format_args!("uml_dir={CONTROL}"));
        add(format_args!("umid={}", mconsole::ID));
        add(format_args!(
            "mconsole=notify:{CONTROL}/{}",
            mconsole::NOTIFY
        ));
        for word in self.parameters.split_whitespace() {
            add(format_args!("{word}"));
        }
        add(format_args!("berth.ready=ttyS{READY_LINE}"));
        if let Some((_, address)) = self.shared {
            add(format_args!("berth.shared={address}"));
        }
        args
    }
}

/// True if `path` can be where a machine's control socket is.
pub(crate) fn fits(path: &Path) -> bool {
    // `sun_path` has 108 bytes, the last one zero.
    path.as_os_str().len() < 108
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(disk: Disk, shared: Option<(&str, &str)>) -> String {
        CommandLine {
            memory: (1 << 30) + 5,
            disk,
            modules: true,
            mac: "52:54:aa:bb:cc:dd",
            shared,
            parameters: "root=PARTLABEL=berth-root rw  quiet",
        }
        .arguments()
        .join(" ")
    }

    #[test]
    fn a_machine_is_told_what_it_has() {
        assert_eq!(
            line(Disk::Cow, None),
            "mem=1024M ubd0t=disk.cow,base.raw ubd1r=modules.img initrd=initrd seccomp=on con0=null,fd:1 con=null \
             ssl=null ssl1=null,fd:14 vec0:transport=fd,fd=10,mac=52:54:aa:bb:cc:dd hostfs=/dev/null uml_dir=control umid=vm \
             mconsole=notify:control/notify root=PARTLABEL=berth-root rw quiet berth.ready=ttyS1"
        );
    }

    #[test]
    fn a_disk_of_its_own_is_named() {
        let line = line(Disk::Own, None);
        assert!(line.contains(" ubd0=disk.raw "), "{line}");
    }

    #[test]
    fn a_machine_of_a_group_has_a_second_network_card() {
        let line = line(Disk::Cow, Some(("52:56:aa:bb:cc:dd", "10.86.0.2/24")));
        assert!(line.contains(" vec1:transport=fd,fd=15,mac=52:56:aa:bb:cc:dd "));
        assert!(line.ends_with(" berth.shared=10.86.0.2/24"), "{line}");
    }
}
