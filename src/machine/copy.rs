//! What a copy of a user's machine is made with, besides what every machine is.

use berth_driver_api::{Credential, Machine, Progress, State};
use berth_provision::renew::{Renewal, renew};
use berth_provision::ssh::Session;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::operation::{SSH_DEADLINE, begin, complete};
use super::{Berth, Error, Opened, Record, Result, identity};

/// Where a machine came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The machine that it is a copy of.
    pub name: String,
    /// That machine's id, since another one may have its name by now.
    pub id: Uuid,
    /// The key that it lets in, which is public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Has the driver copy the disk, while nobody else works on the machine that it is copied from.
pub(super) async fn copy_disk(
    berth: &Berth,
    origin: &Origin,
    machine: &Machine,
    credentials: &[Credential],
    progress: &dyn Progress,
) -> Result<()> {
    let source = &origin.name;
    let _lock = begin(berth, "clone", source, progress).await?;
    let original = complete(berth, source, progress).await?;
    if original.record.id != origin.id {
        return Err(berth.no_such_machine(&format!("{source} (the one that was copied)")));
    }
    let state = original.driver.state(&original.machine).await;
    match state.map_err(Error::driver(source))? {
        State::Running => write_back(&original, progress).await,
        State::Suspended => progress.note(&format!(
            "{source} is suspended: the copy has its disk and not its memory, as if its cable had been pulled"
        )),
        _ => {}
    }
    let copied = original
        .driver
        .copy(&original.machine, machine, credentials, progress);
    copied.await.map_err(Error::driver(&machine.name))
}

/// Has a running guest write what it still keeps in memory.
async fn write_back(original: &Opened, progress: &dyn Progress) {
    let written = async {
        let session = original.connect(SSH_DEADLINE).await?;
        let output = session.exec("sync").await;
        session.disconnect().await;
        output.map_err(Error::provision(&original.record.name))
    };
    if let Err(error) = written.await {
        progress.note(&format!(
            "what {} wrote last may be missing in the copy: {error}",
            original.record.name
        ));
    }
}

/// What the copy's guest is handed at its first boot: what every guest is, and what takes the original's place. The
/// forms are those of tmpfiles.d(5). A guest that reboots by itself is handed it again: that must change nothing.
pub(super) fn first_credentials(
    plain: Vec<Credential>,
    record: &Record,
    key: &str,
) -> Vec<Credential> {
    let machine_id = record.id.simple();
    let mut more = format!(
        "f+ /etc/machine-id 0444 root root - {machine_id}\\n\n\
         {}r /var/lib/systemd/random-seed\n",
        identity::lets_in(key)
    );
    if record.engine.kind == "docker" {
        more += &format!(
            "f+ /var/lib/docker/engine-id 0600 root root - {}\n",
            record.id
        );
    }
    identity::with_lines(plain, &more)
}

/// Takes from the copy's guest what the boot left of the original, and has later boots leave it alone.
pub(super) async fn renew_guest(
    opened: &Opened,
    session: &Session,
    progress: &dyn Progress,
) -> Result<()> {
    let name = &opened.record.name;
    progress.phase("Making it a machine of its own");
    let handed = takes_credentials(&opened.record);
    let origin = opened.record.origin.as_ref();
    let renewal = Renewal {
        machine_id: opened.record.id.simple().to_string(),
        key: identity::public_key(&opened.folder)?,
        old_key: origin.and_then(|origin| origin.key.clone()),
        engine_id: match opened.record.engine.kind.as_str() {
            "docker" => Some(opened.record.id.to_string()),
            _ => None,
        },
    };
    let renewed = renew(session, &renewal).await;
    renewed.map_err(Error::provision(name))?;
    if handed {
        let plain = identity::credentials(&opened.folder, name)?;
        let replaced = opened
            .driver
            .create(&opened.machine, &plain, progress)
            .await;
        replaced.map_err(Error::driver(name))?;
    }
    Ok(())
}

fn takes_credentials(record: &Record) -> bool {
    record
        .cloud_init
        .as_ref()
        .is_none_or(|cloud_init| cloud_init.credentials)
}
