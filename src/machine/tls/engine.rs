//! TLS that the engine of an adopted host ends itself.
//!
//! An engine lets in whoever its CA vouches for, so it gets a CA of its own that signed one server and one client and
//! whose key is forgotten: no certificate of another machine opens it. Nothing renews itself then, for the engine would
//! have to be restarted.

use std::time::SystemTime;

use berth_driver_api::Progress;
use berth_provision::certs::Authority;
use berth_provision::{end_tls, serve_tls};

use super::files::Files;
use super::{TlsWish, authority, client_name};
use crate::machine::operation::SSH_DEADLINE;
use crate::machine::{Berth, Error, Opened, Record, Result};

/// Docker's port for TLS, as IANA lists it.
const PORT: u16 = 2376;

/// Has the machine's engine listen as `wish` says, with certificates that are made for it.
///
/// # Errors
/// [`Error::BadRequest`] for machines that were not adopted; what the machine answers.
pub(super) async fn open(
    berth: &Berth,
    record: &mut Record,
    mut wish: TlsWish,
    progress: &dyn Progress,
) -> Result<()> {
    let opened = berth.open_record(record.clone()).await?;
    if opened.driver.info().capabilities.images {
        return Err(Error::BadRequest {
            what: "--by-engine".into(),
            reason: format!(
                "machine {} is on this computer, which ends TLS for it",
                record.name
            ),
        });
    }
    if record
        .installed
        .as_ref()
        .is_none_or(|engine| engine.kind != "docker")
    {
        return Err(Error::BadRequest {
            what: "--by-engine".into(),
            reason: "only Docker Engine ends TLS itself".into(),
        });
    }
    if wish.listen.port() == 0 {
        wish.listen.set_port(PORT);
    }
    if wish.hosts.is_empty() {
        wish.hosts.push(opened.address().await?.host);
    }
    let now = SystemTime::now();
    let ca = Authority::make(now)?;
    let authority = Authority::load(&ca)?;
    let files = Files {
        server: authority.server(&wish.server_names(&record.name), None, now)?,
        client: authority.client(&[client_name(record.id)], None, now)?,
        ca: ca.certificate,
    };
    let failed = Error::provision(&record.name);
    let session = opened.connect(SSH_DEADLINE).await?;
    let served = serve_tls(&session, wish.listen, &files.ca, &files.server, progress).await;
    session.disconnect().await;
    served.map_err(failed)?;
    // Not while the supervisor makes certificates for the endpoint that there was; it looks at the record anew then.
    let _lock = authority::lock(&berth.home).await?;
    record.tls = Some(wish);
    record.write(&berth.home)?;
    files.write(&opened.folder)
}

/// Takes TLS away from the machine's engine.
///
/// # Errors
/// If the machine does not answer.
pub(in crate::machine) async fn close(opened: &Opened) -> Result<()> {
    let session = opened.connect(SSH_DEADLINE).await?;
    let ended = end_tls(&session).await;
    session.disconnect().await;
    ended.map_err(Error::provision(&opened.record.name))
}
