//! What the driver decided when it made a machine, kept beside the machine's disks.

use berth_driver_api::record::KeptRecord;
use serde::{Deserialize, Serialize};

/// `virtualbox.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The loopback port that leads to SSH.
    pub(crate) port: u16,
    /// What another version of berth wrote.
    #[serde(flatten)]
    pub(crate) others: toml::Table,
}

impl KeptRecord for Record {
    const FILE: &str = "virtualbox.toml";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_another_version_survive() {
        let record: Record = toml::from_str("port = 42001\nfuture = 7\n").unwrap();
        let again: Record = toml::from_str(&toml::to_string(&record).unwrap()).unwrap();
        assert_eq!(again, record);
        assert_eq!(again.others["future"].as_integer(), Some(7));
    }
}
