//! What a guest does before it is frozen, and to become another machine after it was thawed.

use std::fmt::Write;

use berth_driver_api::Place;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Error, Result};
use crate::channel;
use crate::machine::identity;
use crate::store::{self, MachineFolder};

/// The guest's part before it is frozen.
const SETTLE: &str = include_str!("settle.sh");

/// What both parts use, in a file that stays in the guest's memory.
const ENGINE_ID: &str = include_str!("engine-id.pl");

/// The program that waits while the guest is frozen, with all that it needs in memory, for who it is to be then.
const RENEW: &str = include_str!("renew.pl");

/// The script that brings a guest into the state in which it is frozen.
pub(super) fn settle() -> String {
    let file = |name: &str, text: &str| {
        format!("cat >/run/berth/{name} <<'END OF FILE'\n{text}END OF FILE\n")
    };
    let files = file("engine-id.pl", ENGINE_ID) + &file("renew.pl", RENEW);
    let channel = channel::start_script();
    format!("mkdir -p /run/berth\n{files}{SETTLE}{channel}")
}

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

    /// What the program that waits in the guest is told: who it is to be, at `place` if that is known, with a seed and
    /// a machine id that nobody else gets, and the time that it is now.
    pub(super) fn words(&self, place: Option<&Place>) -> String {
        // Four random ids are 488 bits of the host's kernel, more than its generator's key has.
        let seed = [(); 4].map(|()| Uuid::new_v4().simple().to_string());
        let machine_id = Uuid::new_v4().simple().to_string();
        let mut words = String::new();
        for (name, value) in [
            ("seed", seed.concat().as_str()),
            ("engine_id", &Uuid::new_v4().to_string()),
            ("machine_id", &machine_id),
            ("name", &self.name),
            ("mac", &self.mac),
            ("host_key", self.host_key.trim_end()),
            ("host_public", self.host_public.trim_end()),
            ("authorized", self.authorized.trim_end()),
        ] {
            put(&mut words, name, value);
        }
        if let Some(place) = place {
            put(&mut words, "address", &place.address.to_string());
            put(&mut words, "prefix", &place.prefix.to_string());
            put(&mut words, "netmask", &place.netmask().to_string());
            put(&mut words, "gateway", &place.gateway.to_string());
            put(&mut words, "dns", &place.name_server.to_string());
        }
        let now = Timestamp::now();
        let time = format!("{}.{:09}", now.as_second(), now.subsec_nanosecond());
        put(&mut words, "now", &time);
        words + "end\n"
    }
}

/// A line of the guest's: a name, and its value in hexadecimal digits, whatever it has in it.
fn put(words: &mut String, name: &str, value: &str) {
    words.push_str(name);
    words.push(' ');
    for byte in value.bytes() {
        // Writing to a string cannot fail.
        let _ = write!(words, "{byte:02x}");
    }
    words.push('\n');
}
