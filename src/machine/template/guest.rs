//! What a guest does before it is frozen, and to become another machine after it was thawed.

use berth_provision::ssh::quote;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Error, Result};
use crate::machine::identity;
use crate::store::{self, MachineFolder};

/// The guest's part before it is frozen.
const SETTLE: &str = include_str!("settle.sh");

/// What both parts use, in a file that stays in the guest's memory.
const ENGINE_ID: &str = include_str!("engine-id.pl");

/// The script that brings a guest into the state in which it is frozen.
pub(super) fn settle() -> String {
    format!(
        "mkdir -p /run/berth\ncat >/run/berth/engine-id.pl <<'END OF FILE'\n{ENGINE_ID}END OF FILE\n{SETTLE}"
    )
}

/// The guest's part after it was thawed. What it is to become is put before it, as variables of the shell.
const RENEW: &str = include_str!("renew.sh");

/// Who a thawed guest is to be.
pub(super) struct Identity {
    name: String,
    mac: String,
    host_key: String,
    host_public: String,
    authorized: String,
}

impl Identity {
    /// The identity whose keys are in the machine's folder.
    ///
    /// # Errors
    /// If they cannot be read, or the host key was handed over to another guest before.
    pub(super) fn read(folder: &MachineFolder, name: &str, id: Uuid) -> Result<Self> {
        let public = folder.key().with_extension("pub");
        let host_key = identity::host_key(folder)?.ok_or_else(|| Error::Unfinished {
            name: name.to_owned(),
            operation: "create".into(),
        })?;
        Ok(Identity {
            name: name.to_owned(),
            mac: berth_driver_api::mac(id),
            host_key,
            host_public: identity::host_public(folder, name)?,
            authorized: std::fs::read_to_string(&public).map_err(store::Error::io(&public))?,
        })
    }

    /// The guest's script, with a seed and a machine id that nobody else gets, and the time that it is now.
    pub(super) fn script(&self) -> String {
        // Four random ids are 488 bits of the host's kernel, more than its generator's key has.
        let seed = [(); 4].map(|()| Uuid::new_v4().simple().to_string());
        let now = Timestamp::now();
        let time = format!("{}.{:09}", now.as_second(), now.subsec_nanosecond());
        let engine_id = Uuid::new_v4().to_string();
        let machine_id = Uuid::new_v4().simple().to_string();
        let seed = seed.concat();
        let variables = [
            ("seed", seed.as_str()),
            ("now", &time),
            ("engine_id", &engine_id),
            ("machine_id", &machine_id),
            ("name", &self.name),
            ("mac", &self.mac),
            ("host_key", self.host_key.trim_end()),
            ("host_public", self.host_public.trim_end()),
            ("authorized", self.authorized.trim_end()),
        ];
        let mut script = String::new();
        for (name, value) in variables {
            script.push_str(&format!("{name}={}\n", quote(value)));
        }
        script + RENEW
    }
}
