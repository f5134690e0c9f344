//! Opening and closing a machine's TLS endpoint.

use berth_driver_api::Progress;
use berth_driver_api::ports::Ports;
use uuid::Uuid;

use super::{ANY_PORT, TlsWish, engine, refresh};
use crate::machine::journal;
use crate::machine::{Berth, Error, Record, Result};
use crate::store;

/// Gives a machine the TLS endpoint `wish`, or another one than it had. Its supervisor opens it by itself.
///
/// # Errors
/// [`Error::NoEngine`], [`Error::Unfinished`], or what signing or a file operation fails with.
pub async fn enable(
    berth: &Berth,
    name: &str,
    wish: TlsWish,
    progress: &dyn Progress,
) -> Result<Record> {
    berth.record(name)?;
    let doing = format!("certs enable {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let mut record = complete(berth, name)?;
    if record.engine_socket().is_none() {
        return Err(Error::NoEngine(record.name));
    }
    if wish.by_engine {
        let had = record.tls.take();
        engine::open(berth, &mut record, wish, progress).await?;
        if had.is_some_and(|had| !had.by_engine) {
            release(berth, &record)?;
        }
        berth.write_contexts(&record)?;
        return Ok(record);
    }
    close_engine(berth, &record).await?;
    let leased = wish.listen.port() == ANY_PORT;
    record.tls = Some(wish);
    prepare(berth, &mut record).await?;
    if !leased {
        release(berth, &record)?;
    }
    if record.installed.is_some() {
        berth.write_contexts(&record)?;
    }
    Ok(record)
}

/// Takes a machine's TLS endpoint away with its certificates; a machine without one is a success.
///
/// # Errors
/// [`Error::Unfinished`], or what a file operation fails with.
pub async fn disable(berth: &Berth, name: &str, progress: &dyn Progress) -> Result<()> {
    berth.record(name)?;
    let doing = format!("certs disable {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let mut record = complete(berth, name)?;
    if record.tls.is_none() {
        return Ok(());
    }
    close_engine(berth, &record).await?;
    record.tls = None;
    record.write(&berth.home)?;
    if record.installed.is_some() {
        berth.write_contexts(&record)?;
    }
    release(berth, &record)?;
    Ok(store::remove_folder(&berth.home.machine(name).tls())?)
}

/// Takes TLS away from an engine that ends it itself.
async fn close_engine(berth: &Berth, record: &Record) -> Result<()> {
    match record.tls.as_ref().is_some_and(|wish| wish.by_engine) {
        true => engine::close(&berth.open_record(record.clone()).await?).await,
        false => Ok(()),
    }
}

/// Gives an endpoint that is new its port and its certificates, in the record too.
///
/// # Errors
/// If no port is free or nothing can be signed.
pub async fn prepare(berth: &Berth, record: &mut Record) -> Result<()> {
    let Some(wish) = &mut record.tls else {
        return Ok(());
    };
    if wish.listen.port() == ANY_PORT {
        let ports = Ports::open(&berth.home.ports());
        let port = ports.and_then(|ports| ports.lease(lease_id(record.id)));
        wish.listen
            .set_port(port.map_err(Error::driver(&record.name))?);
    }
    // Recorded first: the supervisor watches both, and would make certificates for the old record anew.
    record.write(&berth.home)?;
    refresh(berth, record).await.map(drop)
}

/// Gives the endpoint's port back, if it was leased.
///
/// # Errors
/// If the lease cannot be removed.
pub fn release(berth: &Berth, record: &Record) -> Result<()> {
    let ports = Ports::open(&berth.home.ports());
    let released = ports.and_then(|ports| ports.release(lease_id(record.id)));
    released.map_err(Error::driver(&record.name))
}

/// Whose lease a machine's TLS port is: one port is leased to an id, and the machine's own id has its SSH port.
fn lease_id(machine: Uuid) -> Uuid {
    Uuid::from_u128(!machine.as_u128())
}

/// The machine's record, if its create finished and no removal began.
fn complete(berth: &Berth, name: &str) -> Result<Record> {
    match journal::pending(&berth.home.machine(name).journal())? {
        Some(pending) if matches!(pending.operation.as_str(), "create" | "rm") => {
            Err(Error::Unfinished {
                name: name.to_owned(),
                operation: pending.operation,
            })
        }
        _ => berth.record(name),
    }
}
