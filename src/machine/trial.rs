//! Trying a driver out on two machines of its own.

use berth_driver_api::Progress;
use berth_driver_api::conformance::{self, Case, Subject};

use super::create::found;
use super::founding::safe_sockets;
use super::request::Request;
use super::{Berth, Result, identity, remove};
use crate::store::Lock;

/// Whether the driver keeps its promises: see [`conformance::check`]. The two machines are made as `request` says, by its
/// name with `-1` and `-2` after it, and removed again; if this is broken off, `berth rm` removes them.
///
/// # Errors
/// If the machines cannot be thought of, or not be removed. What the driver does wrong is no error but a case.
pub async fn try_driver(
    berth: &Berth,
    request: &Request,
    on_case: &(dyn Fn(&Case) + Send + Sync),
    progress: &dyn Progress,
) -> Result<Vec<Case>> {
    let driver = berth.drivers.get(&request.driver).await?;
    let (first, one) = subject(berth, request, 1, progress).await?;
    let second = subject(berth, request, 2, progress).await;
    let cases = match &second {
        Ok((_, two)) => {
            let boot = request.boot_deadline;
            conformance::check(&*driver, &one, two, boot, on_case).await
        }
        Err(_) => Vec::new(),
    };
    drop(first);
    remove(berth, &one.machine.name, true, progress).await?;
    let (lock, two) = second?;
    drop(lock);
    remove(berth, &two.machine.name, true, progress).await?;
    Ok(cases)
}

async fn subject(
    berth: &Berth,
    request: &Request,
    number: u32,
    progress: &dyn Progress,
) -> Result<(Lock, Subject)> {
    let request = Request {
        name: format!("{}-{number}", request.name),
        ..request.clone()
    };
    let (lock, record) = found(berth, &request, progress).await?;
    let opened = berth.open_record(record).await?;
    let machine = berth
        .machine(&opened.record, opened.driver.info(), progress)
        .await?;
    safe_sockets(&machine.sockets)?;
    let credentials = match opened.driver.info().capabilities.images {
        true => {
            identity::make(&opened.folder, &request.name)?;
            identity::credentials(&opened.folder, &request.name)?
        }
        false => Vec::new(),
    };
    let subject = Subject {
        machine,
        credentials,
    };
    Ok((lock, subject))
}
