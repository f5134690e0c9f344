//! Handing a machine's record to a berth on another computer, and taking one over.

use std::collections::BTreeMap;
use std::path::Path;

use berth_driver_api::{Access, Login, Progress, check_options};
use berth_provision::ssh::fingerprint;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use toml::Table;
use uuid::Uuid;

use super::founding::{found_folder, safe_sockets, take_lock};
use super::journal::{self, Journal};
use super::up::publish;
use super::{Berth, Error, Opened, Record, Result, adopt, check_name};
use crate::context::ssh_config;
use crate::store;

/// The form that this berth writes and reads.
const FORM: i64 = 1;

/// More bytes than these are no export.
pub const MAX_EXPORT: u64 = 256 << 10;

/// More files than a driver keeps of an adopted host.
const MOST_FILES: usize = 8;

/// A machine on its way between computers.
#[derive(Serialize, Deserialize)]
struct Export {
    berth_export: i64,
    /// The host's public keys, as `type base64`.
    host_keys: Vec<String>,
    /// A private key that lets in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The driver's files, by name.
    files: BTreeMap<String, String>,
    record: Table,
}

/// A machine's record in the form that [`import`] reads; with the private key that lets in, if that is asked for.
///
/// # Errors
/// [`berth_driver_api::Error::Unsupported`] for machines whose disks lie on this computer; [`Error::Unfinished`].
pub async fn export(
    berth: &Berth,
    name: &str,
    with_key: bool,
    progress: &dyn Progress,
) -> Result<String> {
    let opened = berth.open(name).await?;
    if let Some(pending) = journal::pending(&opened.folder.journal())?
        && pending.operation == "create"
    {
        return Err(Error::Unfinished {
            name: name.to_owned(),
            operation: pending.operation,
        });
    }
    let access = portable(&opened).await?;
    let mut files = BTreeMap::new();
    for file in &access.files {
        files.insert(file.clone(), read(&opened.machine.file(file))?);
    }
    let host_keys = read(&opened.folder.known_hosts())?;
    let host_keys = host_keys.lines().filter_map(|line| line.split_once(' '));
    let mut record = opened.record.clone();
    record.login = None;
    if record.tls.take().is_some() {
        progress.note("its TLS endpoint is this computer's: `berth certs enable` opens one there");
    }
    if !with_key && !record.settings.environment.is_empty() {
        record.settings.environment.clear();
        progress.note(
            "its engine's environment may be secret and is left out; --with-key takes it along",
        );
    }
    let export = Export {
        berth_export: FORM,
        host_keys: host_keys.map(|(_, key)| key.to_owned()).collect(),
        key: with_key.then(|| private_key(&opened)).transpose()?,
        files,
        record: Table::try_from(&record).map_err(|error| bad("the record", &error.to_string()))?,
    };
    toml::to_string(&export).map_err(|error| bad("the record", &error.to_string()))
}

/// What lets in, where it is a file.
fn private_key(opened: &Opened) -> Result<String> {
    match &opened.record.login {
        None => read(&opened.folder.key()),
        Some(Login::File(path)) => read(path),
        Some(Login::Agent) => Err(bad(
            "--with-key",
            "it is the SSH agent that lets in, and an agent gives no keys away",
        )),
    }
}

/// How the machine is entered, if it can be driven from another computer.
async fn portable(opened: &Opened) -> Result<Access> {
    let access = opened.driver.access(&opened.machine).await;
    let failed = Error::driver(&opened.record.name);
    match access {
        Ok(Some(access)) => Ok(access),
        Ok(None) => Err(failed(berth_driver_api::Error::Unsupported {
            driver: opened.record.driver.clone(),
            what: "hand machines over: their disks lie where it made them".into(),
        })),
        Err(error) => Err(failed(error)),
    }
}

/// What came from another computer, read and checked.
pub struct Import {
    record: Record,
    host_keys: Vec<String>,
    key: Option<String>,
    files: BTreeMap<String, String>,
}

impl Import {
    /// Reads what [`export`] wrote. The machine gets `name`, if one is given, and is another one from now on.
    ///
    /// # Errors
    /// [`Error::BadRequest`] if it is none, or of a later berth.
    pub fn read(text: &str, name: Option<&str>) -> Result<Self> {
        let wrong = |reason: &str| bad("the file", reason);
        let export: Export = toml::from_str(text)
            .map_err(|error| wrong(&format!("is no export of berth's: {}", error.message())))?;
        if export.berth_export != FORM {
            return Err(wrong(
                "is of another berth's form; use one of the same version",
            ));
        }
        let mut record = Record::from_table(Path::new("the file"), export.record)?;
        if let Some(name) = name {
            name.clone_into(&mut record.name);
        }
        check_name(&record.name)?;
        if record.image.is_some() || record.cloud_init.is_some() {
            return Err(wrong("is of a machine whose disk lies on another computer"));
        }
        record.id = Uuid::new_v4();
        record.created = Timestamp::now();
        (record.login, record.tls, record.unknown) = (None, None, Table::new());
        record.settings.resolve()?;
        if export.host_keys.is_empty() || export.host_keys.iter().any(|key| !is_key(key)) {
            return Err(wrong("does not tell the host's key"));
        }
        let plain = |name: &String| {
            !name.starts_with('.')
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        if export.files.len() > MOST_FILES || !export.files.keys().all(plain) {
            return Err(wrong("names files that are no driver's"));
        }
        Ok(Import {
            record,
            host_keys: export.host_keys,
            key: export.key,
            files: export.files,
        })
    }

    /// Whether it brought what lets in.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        &self.record.name
    }
}

/// Takes a machine over, if `login`, or else the key that came with it, lets in. Otherwise nothing is left of it.
///
/// # Errors
/// [`Error::Exists`]; what logging in or pointing clients at it fails with.
pub async fn import(
    berth: &Berth,
    import: Import,
    login: Option<Login>,
    progress: &dyn Progress,
) -> Result<Record> {
    let record = &import.record;
    let name = record.name.clone();
    let driver = berth.drivers.get(&record.driver).await?;
    check_options(driver.info(), &record.options).map_err(Error::driver(&name))?;
    if driver.info().capabilities.images {
        return Err(bad("the file", "is of a driver that makes machines"));
    }
    berth.check_contexts_free(&name, &record.engine.kind)?;
    berth.home.prepare()?;
    let lock = take_lock(berth, &name)?;
    let folder = berth.home.machine(&name);
    if folder.path().exists() {
        return Err(Error::Exists(name));
    }
    let carried = folder.path().join("login_key");
    let founded = found_folder(berth, record, |draft| {
        let lines = import.host_keys.iter();
        let lines = lines.map(|key| format!("{} {key}\n", ssh_config::alias(&name)));
        let known_hosts: String = lines.collect();
        store::write_private(&draft.join("known_hosts"), known_hosts.as_bytes())?;
        for (file, text) in &import.files {
            store::write_private(&draft.join("vm").join(file), text.as_bytes())?;
        }
        match &import.key {
            Some(key) if login.is_none() => {
                store::write_private(&draft.join("login_key"), key.as_bytes())
            }
            _ => Ok(()),
        }
    });
    let login = login.unwrap_or(Login::File(carried.clone()));
    let entered = match founded {
        Ok(()) => enter(berth, import.record, login, progress).await,
        Err(error) => Err(error),
    };
    match entered {
        Ok((opened, mut journal)) => {
            // A key that only opened the door for berth's own is not kept.
            if opened.record.login != Some(Login::File(carried.clone())) {
                let _ = std::fs::remove_file(&carried);
            }
            publish(berth, &opened, &mut journal, progress).await?;
            journal.end()?;
            Ok(opened.record)
        }
        Err(error) => {
            store::remove_folder(folder.path())?;
            lock.remove()?;
            Err(error)
        }
    }
}

/// Makes sure that `login` lets in. Where a key of berth's own was let in, a new one of this computer's is.
async fn enter(
    berth: &Berth,
    record: Record,
    login: Login,
    progress: &dyn Progress,
) -> Result<(Opened, Journal)> {
    let mut opened = berth.open_record(record).await?;
    let mut journal = Journal::begin(&opened.folder.journal(), "create")?;
    let access = Access {
        logins: vec![login],
        ..portable(&opened).await?
    };
    journal
        .once("keys", async { safe_sockets(&opened.machine.sockets) })
        .await?;
    journal
        .always("connect", async {
            progress.phase("Connecting");
            let session = adopt::log_in(berth, &mut opened, &access, progress).await?;
            session.disconnect().await;
            Ok::<_, Error>(())
        })
        .await?;
    Ok((opened, journal))
}

/// Whether a line is a public key, and only that.
fn is_key(line: &str) -> bool {
    !line.chars().any(char::is_control) && fingerprint(line).is_ok()
}

fn read(path: &Path) -> Result<String> {
    Ok(std::fs::read_to_string(path).map_err(store::Error::io(path))?)
}

fn bad(what: &str, reason: &str) -> Error {
    Error::BadRequest {
        what: what.to_owned(),
        reason: reason.to_owned(),
    }
}
