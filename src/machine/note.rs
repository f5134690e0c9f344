//! The note of a machine that its hypervisor keeps: what a new record is made of when this computer's is lost.

use berth_driver_api::Progress;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::{EngineSettings, Opened, Record, Result};

/// The form that this berth writes and reads.
pub(super) const FORM: i64 = 1;

/// What is kept at the hypervisor.
#[derive(Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) berth_note: i64,
    /// The name of the computer that wrote it.
    pub(super) computer: String,
    pub(super) record: Table,
}

/// Has the hypervisor keep what is known of the machine, if its driver finds machines again. Nothing depends on that
/// now: if it fails it is only told.
pub(super) async fn keep(opened: &Opened, progress: &dyn Progress) {
    if !opened.driver.info().capabilities.adopt {
        return;
    }
    let kept = match written(&opened.record) {
        Ok(note) => {
            let kept = opened.driver.keep_note(&opened.machine, &note).await;
            kept.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = kept {
        progress.note(&format!("it could not be found again from here: {error}"));
    }
}

fn written(record: &Record) -> Result<String, toml::ser::Error> {
    toml::to_string(&Note {
        berth_note: FORM,
        computer: computer(),
        record: Table::try_from(portable(record.clone()))?,
    })
}

/// Without what is secret, is only of use on one computer, or would reach for things of this one.
pub(super) fn portable(mut record: Record) -> Record {
    (record.template, record.origin, record.recovered) = (None, None, None);
    (record.login, record.tls, record.settings) = (None, None, EngineSettings::default());
    (record.mounts, record.member, record.expiry) = (Vec::new(), None, None);
    record.unknown = Table::new();
    record
}

/// The name of this computer.
pub(super) fn computer() -> String {
    let name = nix::unistd::gethostname();
    name.map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
