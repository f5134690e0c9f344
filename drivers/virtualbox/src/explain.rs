//! VirtualBox's errors, told apart by its words, and what to do about those that have a known remedy.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

use berth_driver_api::{Error, State};

/// What VirtualBox's part in the kernel is reached by on Linux.
const DEVICE: &str = "/dev/vboxdrv";

/// True if VirtualBox knows no such VM.
pub(crate) fn is_unknown(error: &Error) -> bool {
    says(error, &["Could not find a registered machine"])
}

/// True if another VBoxManage, or the machine's own process that is just ending, holds the VM.
pub(crate) fn is_locked(error: &Error) -> bool {
    says(
        error,
        &[
            "already locked for a session",
            "already locked by a session",
            "is being unlocked",
            "VBOX_E_INVALID_OBJECT_STATE",
            // What is asked of a VM in the moment in which its process, or a VBoxManage that changes it, ends.
            "Failed to assign the machine to the session",
            "VBOX_E_INVALID_SESSION_STATE",
            "E_ACCESSDENIED (0x80070005), component",
        ],
    ) && !is_starting(error)
}

/// True if the VM's process is just being started: nobody else may even look at it.
pub(crate) fn is_starting(error: &Error) -> bool {
    says(error, &["has tried to lock the machine"])
}

/// True if what was to be made is there: a VBoxManage that lost its session at its end had made it.
pub(crate) fn is_made_already(error: &Error) -> bool {
    says(
        error,
        &[
            "is already associated with the current state of machine uuid",
            "already exists",
        ],
    )
}

/// True if the service does not know a part of the VM that it has just been given.
pub(crate) fn is_forgotten(error: &Error) -> bool {
    says(
        error,
        &[
            "Could not find a storage controller named",
            "Could not find a controller named",
            "find the controller with the name",
        ],
    )
}

/// True if the VM is off already.
pub(crate) fn is_not_running(error: &Error) -> bool {
    says(
        error,
        &["is not currently running", "VBOX_E_INVALID_VM_STATE"],
    )
}

fn says(error: &Error, phrases: &[&str]) -> bool {
    matches!(error, Error::Tool { detail, .. } if phrases.iter().any(|phrase| detail.contains(phrase)))
}

/// What keeps this computer from running any VM, and the way out; `None` if nothing is known to.
pub(crate) fn module() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    device(Path::new(DEVICE))
}

fn device(path: &Path) -> Option<String> {
    let error = OpenOptions::new().read(true).write(true).open(path).err()?;
    let shown = path.display();
    Some(match error.kind() {
        ErrorKind::NotFound => format!(
            "VirtualBox's kernel module is not loaded ({shown} is not there): install it, on Debian by the packages \
             virtualbox-dkms and linux-headers for the running kernel, elsewhere by /sbin/vboxconfig, then run \
             `modprobe vboxdrv` as root. Where Secure Boot is on, the module must be signed by a key that the \
             firmware knows"
        ),
        // It is root's, and so is the program that runs VMs (its set-user-ID bit is set).
        ErrorKind::PermissionDenied => return None,
        _ => format!("VirtualBox's kernel module cannot be reached: {shown}: {error}"),
    })
}

/// The error of a VM that did not start, with the remedy where one is known.
pub(crate) fn not_started(error: Error) -> Error {
    let Error::Tool { detail, .. } = &error else {
        return error;
    };
    match module().or_else(|| remedy(detail).map(str::to_owned)) {
        Some(remedy) => Error::failed("starting VirtualBox's VM", format!("{remedy}\n{detail}")),
        None => error,
    }
}

fn remedy(words: &str) -> Option<&'static str> {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    if says(&[
        "VERR_VM_DRIVER_NOT_INSTALLED",
        "Kernel driver not installed",
    ]) {
        return Some(
            "VirtualBox's kernel module is not loaded: run /sbin/vboxconfig, or install virtualbox-dkms, as root",
        );
    }
    if says(&["VERR_VM_DRIVER_NOT_ACCESSIBLE", "VERR_VM_DRIVER_OPEN_ERROR"]) {
        return Some(
            "/dev/vboxdrv cannot be opened: is this user allowed to run VMs (group vboxusers)?",
        );
    }
    if says(&["VERR_VM_DRIVER_VERSION_MISMATCH"]) {
        return Some(
            "the kernel module is another version's: build it anew (/sbin/vboxconfig), or reboot after an upgrade",
        );
    }
    if says(&[
        "VERR_NEM_NOT_AVAILABLE",
        "VERR_NEM_VM_CREATE_FAILED",
        "Hyper-V",
    ]) {
        return Some(
            "Hyper-V holds the CPU's virtualization: turn it off (`bcdedit /set hypervisorlaunchtype off`, memory \
             integrity, then reboot), or use another driver",
        );
    }
    if says(&["VERR_VMX_IN_VMX_ROOT_MODE", "VERR_SVM_IN_USE"]) {
        return Some(
            "another hypervisor holds the CPU's virtualization: end its machines (QEMU with KVM; kernels from 6.12 on \
             hold it as long as kvm is loaded: boot with kvm.enable_virt_at_load=0)",
        );
    }
    if says(&[
        "VERR_VMX_NO_VMX",
        "VERR_SVM_NO_SVM",
        "VERR_VMX_MSR_ALL_VMX_DISABLED",
        "VERR_VMX_MSR_VMX_DISABLED",
        "VERR_SVM_DISABLED",
        "VT-x is not available",
        "AMD-V is not available",
        "AMD-V is disabled",
        "VT-x is disabled",
    ]) {
        return Some(
            "this CPU's virtualization (VT-x, AMD-V) is missing or disabled: turn it on in the firmware's set-up, or, \
             on a computer that is itself a VM, let its host nest VMs",
        );
    }
    None
}

/// Why a machine that ran is off, where VirtualBox's word for it tells.
pub(crate) fn why_stopped(word: &str, state: State) -> Option<String> {
    match (word, state) {
        ("aborted" | "aborted-saved", _) => {
            Some("VirtualBox's process of the machine died; it was probably killed".into())
        }
        ("gurumeditation", _) => {
            Some("VirtualBox met an error in the machine: see VBox.log".into())
        }
        (_, State::Missing) => Some("the VM was removed".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(detail: &str) -> Error {
        Error::Tool {
            tool: "VBoxManage".into(),
            detail: detail.into(),
        }
    }

    #[test]
    fn errors_are_told_apart_by_virtualboxs_words() {
        // Of VirtualBox 7.2.22.
        let unknown = tool(
            "VBoxManage: error: Could not find a registered machine with UUID {5b1e7c1e-0f0a-4a3e-9d55-0123456789ab}\n\
             VBoxManage: error: Details: code VBOX_E_OBJECT_NOT_FOUND (0x80bb0001), component VirtualBoxWrap",
        );
        let off = tool(
            "VBoxManage: error: Machine '5b1e7c1e-0f0a-4a3e-9d55-0123456789ab' is not currently running.",
        );
        // Of VirtualBox's manual and forum.
        let locked = tool(
            "VBoxManage: error: The machine 'web1' is already locked for a session (or being unlocked)\n\
             VBoxManage: error: Details: code VBOX_E_INVALID_OBJECT_STATE (0x80bb0007), component MachineWrap",
        );
        let ending = [
            tool("VBoxManage: error: Failed to assign the machine to the session (E_ACCESSDENIED)"),
            tool(
                "VBoxManage: error: Details: code E_ACCESSDENIED (0x80070005), component SessionMachine, interface IMachine, \
             callee nsISupports",
            ),
        ];
        assert!(ending.iter().all(is_locked));
        let attached = tool(
            "VBoxManage: error: Cannot attach medium 'boot.vmdk' {cb76319d-7f3d-4c12-aa60-d418e836c702}: medium is already \
             associated with the current state of machine uuid {cb76319d-7f3d-4c12-aa60-d418e836c700}!",
        );
        assert!(is_made_already(&attached) && !is_locked(&attached) && !is_made_already(&locked));
        let starting = tool(
            "VBoxManage: error: An unexpected process (PID=0x00005C6C) has tried to lock the machine 'berth-x-1', while \
             only the process started by LaunchVMProcess (PID=0x00005C5D) is allowed",
        );
        assert!(is_starting(&starting) && !is_locked(&starting) && !is_starting(&locked));
        assert!(is_unknown(&unknown) && !is_locked(&unknown) && !is_not_running(&unknown));
        assert!(is_not_running(&off) && !is_locked(&off));
        assert!(is_locked(&locked) && !is_unknown(&locked));
        let forgotten = tool("VBoxManage: error: Could not find a controller named 'SATA'\n");
        assert!(is_forgotten(&forgotten) && !is_unknown(&forgotten));
    }

    #[test]
    fn what_is_missing_on_the_computer_is_said_with_the_way_out() {
        for (words, wanted) in [
            ("VT-x is not available (VERR_VMX_NO_VMX)", "VT-x, AMD-V"),
            (
                "AMD-V is disabled in the BIOS (or by the host OS) (VERR_SVM_DISABLED)",
                "firmware's set-up",
            ),
            (
                "VT-x is being used by another hypervisor (VERR_VMX_IN_VMX_ROOT_MODE).",
                "another hypervisor",
            ),
            (
                "Call to WHvSetupPartition failed (VERR_NEM_VM_CREATE_FAILED)",
                "bcdedit",
            ),
            ("Kernel driver not installed (rc=-1908)", "vboxconfig"),
            ("(VERR_VM_DRIVER_NOT_ACCESSIBLE)", "vboxusers"),
            ("(VERR_VM_DRIVER_VERSION_MISMATCH)", "another version"),
        ] {
            let said = remedy(words).unwrap_or_default();
            assert!(said.contains(wanted), "{words}: {said}");
        }
        assert_eq!(remedy("something new"), None);
    }

    #[test]
    fn a_missing_device_is_a_missing_module() {
        let folder = tempfile::tempdir().unwrap();
        let said = device(&folder.path().join("vboxdrv")).unwrap();
        assert!(said.contains("virtualbox-dkms"), "{said}");
        let there = folder.path().join("there");
        std::fs::write(&there, "").unwrap();
        assert_eq!(device(&there), None);
    }
}
