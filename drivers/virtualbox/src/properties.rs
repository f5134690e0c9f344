//! What VBoxManage prints with `--machinereadable`: a property a line, `name=value`, either of them quoted or not.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use berth_driver_api::State;

/// The properties of a VM, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Reads them. Lines of another form are passed over: Debian's VBoxManage begins with a warning on its standard
    /// output where the kernel module is missing.
    pub(crate) fn parse(text: &str) -> Properties {
        let mut found = BTreeMap::new();
        let mut chars = text.chars().peekable();
        while chars.peek().is_some() {
            let name = match chars.next_if_eq(&'"') {
                Some(_) => quoted(&mut chars),
                None => until(&mut chars, &['=', '\n']),
            };
            if chars.next_if_eq(&'=').is_some() {
                let value = match chars.next_if_eq(&'"') {
                    Some(_) => quoted(&mut chars),
                    None => until(&mut chars, &['\n']).trim_end().to_owned(),
                };
                found.insert(name, value);
            }
            until(&mut chars, &['\n']);
            chars.next();
        }
        Properties(found)
    }

    /// The property's value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names that begin with `prefix`, without it, and their values.
    pub(crate) fn under(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }

    /// VirtualBox's word for what the VM does.
    pub(crate) fn state_word(&self) -> &str {
        self.get("VMState").unwrap_or_default()
    }

    /// What the VM does.
    pub(crate) fn state(&self) -> State {
        state(self.state_word())
    }
}

fn until(chars: &mut Peekable<Chars>, ends: &[char]) -> String {
    let mut text = String::new();
    while let Some(char) = chars.next_if(|char| !ends.contains(char)) {
        text.push(char);
    }
    text
}

/// Up to the closing quote, which is taken too. A value may span lines; quotes and backslashes in it are escaped.
fn quoted(chars: &mut Peekable<Chars>) -> String {
    let mut text = String::new();
    while let Some(char) = chars.next() {
        match char {
            '"' => break,
            '\\' => text.extend(chars.next()),
            other => text.push(other),
        }
    }
    text
}

/// By the words of VBoxManage's `machineStateToName`.
fn state(word: &str) -> State {
    match word {
        // Its process died: it is off, and [`berth_driver_api::Driver::wait_stopped`] says how it came to that.
        "poweroff"
        | "aborted"
        | "teleported"
        | "deletingsnapshot"
        | "restoringsnapshot"
        | "offlinesnapshotting"
        | "settingup" => State::Stopped,
        "saved" | "aborted-saved" => State::Suspended,
        "starting" | "restoring" | "teleportingin" => State::Starting,
        "running"
        | "livesnapshotting"
        | "onlinesnapshotting"
        | "teleporting"
        | "deletingsnapshotlive" => State::Running,
        "paused" | "teleportingpausedvm" | "deletingsnapshotlivepaused" => State::Paused,
        "stopping" | "saving" => State::Stopping,
        _ => State::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of VirtualBox 7.2.22, shortened.
    const SHOWN: &str = r#"WARNING: The character device /dev/vboxdrv does not exist.
	 Please install the virtualbox-dkms package and the appropriate

name="berth-x-1"
memory=1024
rec_screen0
CfgFile="/tmp/a b/\"quoted\"=\\x/berth-x-1.vbox"
VMState="poweroff"
"SATA-0-0"="none"
"SATA-1-0"="/tmp/w/m/disk.vdi"
 rec_screen0
"odd=name"="odd=value"
Forwarding(0)="ssh,tcp,127.0.0.1,42000,,22"
description="one
two=three"
GuestMemoryBalloon=0
"#;

    #[test]
    fn properties_are_read_whatever_is_in_them() {
        let shown = Properties::parse(SHOWN);
        for (name, value) in [
            ("name", "berth-x-1"),
            ("memory", "1024"),
            ("CfgFile", "/tmp/a b/\"quoted\"=\\x/berth-x-1.vbox"),
            ("SATA-1-0", "/tmp/w/m/disk.vdi"),
            ("odd=name", "odd=value"),
            ("Forwarding(0)", "ssh,tcp,127.0.0.1,42000,,22"),
            ("description", "one\ntwo=three"),
            ("GuestMemoryBalloon", "0"),
        ] {
            assert_eq!(shown.get(name), Some(value), "{name}");
        }
        assert_eq!(shown.get("two"), None);
        assert_eq!(shown.get("rec_screen0"), None);
        assert_eq!(shown.state(), State::Stopped);
    }

    #[test]
    fn what_breaks_off_is_no_trouble() {
        for text in [
            "",
            "a",
            "a=",
            "\"a",
            "\"a\"",
            "a=\"b",
            "a=\"b\\",
            "=\n=",
            "\"\"=\"\"",
        ] {
            Properties::parse(text);
        }
        assert_eq!(Properties::parse("a=\"b").get("a"), Some("b"));
        assert_eq!(Properties::parse("a=b\r\nc=d").get("a"), Some("b"));
    }

    #[test]
    fn states_are_berths_words() {
        for (word, wanted) in [
            ("poweroff", State::Stopped),
            ("aborted", State::Stopped),
            ("starting", State::Starting),
            ("running", State::Running),
            ("paused", State::Paused),
            ("stopping", State::Stopping),
            ("saved", State::Suspended),
            ("gurumeditation", State::Error),
            ("", State::Error),
        ] {
            assert_eq!(state(word), wanted, "{word}");
        }
    }
}
