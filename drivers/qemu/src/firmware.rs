//! UEFI firmware, found by the descriptors that distributions install for it (QEMU's `docs/interop/firmware.json`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A firmware without Secure Boot, whose variables are in a file that each machine gets a copy of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Firmware {
    pub(crate) code: PathBuf,
    pub(crate) code_format: String,
    pub(crate) variables: PathBuf,
    pub(crate) variables_format: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Descriptor {
    interface_types: Vec<String>,
    mapping: Mapping,
    targets: Vec<Target>,
    features: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mapping {
    executable: FlashFile,
    nvram_template: FlashFile,
}

#[derive(Deserialize)]
struct FlashFile {
    filename: PathBuf,
    format: String,
}

#[derive(Deserialize)]
struct Target {
    architecture: String,
    machines: Vec<String>,
}

/// Finds firmware for `arch`.
pub(crate) fn find(arch: &str) -> Option<Firmware> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    if let Some(config) = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(home?.join(".config")))
    {
        folders.push(config.join("qemu/firmware"));
    }
    folders.extend(
        [
            "/etc/qemu/firmware",
            "/usr/share/qemu/firmware",
            "/usr/local/share/qemu/firmware",
            "/opt/homebrew/share/qemu/firmware",
        ]
        .map(PathBuf::from),
    );
    find_in(&folders, arch)
}

/// A file in an earlier folder hides those of its name in later ones; then the names' order decides.
fn find_in(folders: &[PathBuf], arch: &str) -> Option<Firmware> {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for entry in folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten()
    {
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files
                .entry(entry.file_name())
                .or_insert_with(|| entry.path());
        }
    }
    files.values().find_map(|file| usable(file, arch))
}

fn usable(file: &Path, arch: &str) -> Option<Firmware> {
    // Descriptors of other kinds of firmware do not parse; they are none of ours.
    let descriptor: Descriptor = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let machines = if arch == "x86_64" { "pc-q35" } else { "virt" };
    let fits = descriptor.interface_types.iter().any(|kind| kind == "uefi")
        && descriptor.targets.iter().any(|target| {
            target.architecture == arch
                && target
                    .machines
                    .iter()
                    .any(|machine| machine.starts_with(machines))
        })
        && !descriptor
            .features
            .iter()
            .any(|feature| matches!(feature.as_str(), "secure-boot" | "requires-smm"));
    let Mapping {
        executable,
        nvram_template,
    } = descriptor.mapping;
    (fits && executable.filename.is_file() && nvram_template.filename.is_file()).then_some(
        Firmware {
            code: executable.filename,
            code_format: executable.format,
            variables: nvram_template.filename,
            variables_format: nvram_template.format,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secure_boot_and_other_architectures_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let flash = folder.path().join("flash.fd");
        fs::write(&flash, "").unwrap();
        let describe = |name: &str, arch: &str, machine: &str, features: &[&str]| {
            let file = serde_json::json!({ "filename": flash, "format": "raw" });
            let descriptor = serde_json::json!({
                "interface-types": ["uefi"],
                "mapping": { "device": "flash", "executable": file, "nvram-template": file },
                "targets": [{ "architecture": arch, "machines": [machine] }],
                "features": features,
            });
            fs::write(folder.path().join(name), descriptor.to_string()).unwrap();
        };
        let found = |arch| find_in(&[folder.path().to_owned()], arch);
        describe(
            "40-secure.json",
            "x86_64",
            "pc-q35-*",
            &["requires-smm", "secure-boot"],
        );
        describe("50-arm.json", "aarch64", "virt-*", &[]);
        fs::write(folder.path().join("10-broken.json"), "{").unwrap();
        assert_eq!(found("x86_64"), None);
        assert_eq!(found("aarch64").unwrap().code, flash);
        describe("60-plain.json", "x86_64", "pc-q35-*", &["acpi-s3"]);
        assert_eq!(found("x86_64").unwrap().variables, flash);
    }
}
