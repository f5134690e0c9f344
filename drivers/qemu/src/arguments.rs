//! The syntax of QEMU's command line.

use std::fmt;

/// A value of QEMU's `first,key=value,…` syntax. Commas in values are doubled, as QEMU wants them.
pub(crate) struct Values(String);

impl Values {
    /// Begins with a type's name.
    pub(crate) fn of(name: &str) -> Self {
        Values(name.replace(',', ",,"))
    }

    /// Adds `key=value`.
    pub(crate) fn set(mut self, key: &str, value: impl fmt::Display) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(key);
        self.0.push('=');
        self.0.push_str(&value.to_string().replace(',', ",,"));
        self
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The words of a command line.
#[derive(Default)]
pub(crate) struct Arguments(Vec<String>);

impl Arguments {
    /// All of them.
    pub(crate) fn into_words(self) -> Vec<String> {
        self.0
    }

    pub(crate) fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }

    pub(crate) fn add(&mut self, name: &str, value: impl fmt::Display) {
        self.0.push(name.into());
        self.0.push(value.to_string());
    }

    /// A device with a place of its own, so that adding another one moves none.
    pub(crate) fn device(&mut self, values: Values, slot: u8) {
        self.add(
            "-device",
            values
                .set("bus", "pcie.0")
                .set("addr", format_args!("{slot:#x}")),
        );
    }
}
