//! VBoxManage's arguments, whose spelling changed with version 7.0.

use berth_driver_api::Spec;
use berth_driver_api::size::mib;
use uuid::Uuid;

/// VirtualBox's version, its first two numbers.
pub(crate) type Version = (u32, u32);

/// The NAT rule that leads to SSH.
const RULE: &str = "ssh";

/// The VM's hardware.
pub(crate) struct Hardware<'a> {
    pub(crate) id: Uuid,
    pub(crate) spec: &'a Spec,
    /// VirtualBox's name of a network card.
    pub(crate) card: &'a str,
    /// As VirtualBox takes it: twelve digits.
    pub(crate) mac: String,
    /// The loopback port that leads to SSH.
    pub(crate) port: u16,
    /// The file of the serial console.
    pub(crate) console: &'a str,
}

/// The name that the option has in this version.
pub(crate) fn named(version: Version, new: &'static str, old: &'static str) -> &'static str {
    if version >= (7, 0) { new } else { old }
}

/// Words, each an argument.
pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Hardware<'_> {
    /// `modifyvm`.
    pub(crate) fn arguments(&self, version: Version) -> Vec<String> {
        let named = |new, old| named(version, new, old);
        let rule = rule(self.port);
        let mut arguments = size(self.id, self.spec);
        // The image has no boot loader for a BIOS. Without a floppy and a DVD to ask first, it is the first disk's turn.
        arguments.extend(words(&[
            "--firmware",
            "efi",
            "--boot1",
            "disk",
            "--boot2",
            "none",
            "--boot3",
            "none",
            "--boot4",
            "none",
        ]));
        arguments.extend(words(&[
            "--ioapic",
            "on",
            named("--rtc-use-utc", "--rtcuseutc"),
            "on",
        ]));
        // A screen that nobody sees still wants its memory.
        arguments.extend(words(&["--graphicscontroller", "vmsvga", "--vram", "16"]));
        arguments.extend(words(&[named("--audio-driver", "--audio"), "none"]));
        arguments.extend(words(&[
            "--nic1",
            "nat",
            named("--nic-type1", "--nictype1"),
            self.card,
        ]));
        arguments.extend(words(&[
            named("--mac-address1", "--macaddress1"),
            &self.mac,
        ]));
        arguments.extend(words(&[named("--nat-pf1", "--natpf1"), &rule]));
        arguments.extend(words(&["--uart1", "0x3f8", "4"]));
        arguments.extend(words(&[
            named("--uart-mode1", "--uartmode1"),
            "file",
            self.console,
        ]));
        arguments
    }
}

/// `modifyvm` for CPUs and memory.
pub(crate) fn size(id: Uuid, spec: &Spec) -> Vec<String> {
    let (id, cpus) = (id.to_string(), spec.cpus.to_string());
    let memory = mib(spec.memory);
    let memory = memory.trim_end_matches(" MiB");
    words(&["modifyvm", &id, "--cpus", &cpus, "--memory", memory])
}

/// What has SSH be on `port`, if that is not what the VM's `rules` say: `modifyvm`, once or twice.
pub(crate) fn lead_port(id: Uuid, port: u16, rules: &[&str], version: Version) -> Vec<Vec<String>> {
    let option = named(version, "--nat-pf1", "--natpf1");
    let (id, wanted) = (id.to_string(), rule(port));
    let own = rules
        .iter()
        .find(|rule| rule.split(',').next() == Some(RULE));
    if own.is_some_and(|rule| *rule == wanted) {
        return Vec::new();
    }
    let mut all = Vec::new();
    if own.is_some() {
        all.push(words(&["modifyvm", &id, option, "delete", RULE]));
    }
    all.push(words(&["modifyvm", &id, option, &wanted]));
    all
}

fn rule(port: u16) -> String {
    format!("{RULE},tcp,127.0.0.1,{port},,22")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(version: Version) -> String {
        let spec = Spec {
            cpus: 2,
            memory: (1 << 30) + 1,
            disk: 0,
            image: None,
            options: Default::default(),
        };
        let hardware = Hardware {
            id: Uuid::from_u128(7),
            spec: &spec,
            card: "virtio",
            mac: "525400000007".into(),
            port: 42001,
            console: "/m/console.log",
        };
        hardware.arguments(version).join(" ")
    }

    #[test]
    fn each_version_is_spoken_to_in_its_own_words() {
        let common = "modifyvm 00000000-0000-0000-0000-000000000007 --cpus 2 --memory 1025 --firmware efi \
                      --boot1 disk --boot2 none --boot3 none --boot4 none --ioapic on";
        let screen = "on --graphicscontroller vmsvga --vram 16";
        let old = format!(
            "{common} --rtcuseutc {screen} --audio none --nic1 nat --nictype1 virtio --macaddress1 525400000007 \
             --natpf1 ssh,tcp,127.0.0.1,42001,,22 --uart1 0x3f8 4 --uartmode1 file /m/console.log"
        );
        let new = format!(
            "{common} --rtc-use-utc {screen} --audio-driver none --nic1 nat --nic-type1 virtio --mac-address1 \
             525400000007 --nat-pf1 ssh,tcp,127.0.0.1,42001,,22 --uart1 0x3f8 4 --uart-mode1 file /m/console.log"
        );
        assert_eq!(arguments((6, 1)), old);
        for version in [(7, 0), (7, 1), (7, 2)] {
            assert_eq!(arguments(version), new);
        }
    }

    #[test]
    fn a_rule_is_replaced_by_its_name() {
        let led = |rules: &[&str]| lead_port(Uuid::from_u128(7), 42002, rules, (6, 1));
        let all = led(&["mine,tcp,,80,,80", "ssh,tcp,127.0.0.1,42001,,22"]);
        let [delete, add] = &all[..] else {
            panic!("{all:?}");
        };
        assert_eq!(delete[2..], ["--natpf1", "delete", "ssh"]);
        assert_eq!(add[2..], ["--natpf1", "ssh,tcp,127.0.0.1,42002,,22"]);
        assert_eq!(led(&["mine,tcp,,80,,80"]).first(), Some(add));
        assert!(led(&["ssh,tcp,127.0.0.1,42002,,22"]).is_empty());
    }
}
