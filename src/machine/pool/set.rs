//! Saying what a pool is to have.

use berth_driver_api::Progress;

use super::{Key, MOST, Pool, check_name};
use crate::machine::engine::check_engine;
use crate::machine::request::{check_request, planned, settled};
use crate::machine::{Berth, Error, Request, Result, image};

/// The form of a pool's file.
const VERSION: i64 = 1;

/// Makes the pool, or changes it: machines that it has and that are of another kind are replaced when it is filled. The
/// image is got now.
///
/// # Errors
/// If the request cannot be met, or is for something that a machine has from its owner.
pub async fn set(
    berth: &Berth,
    name: &str,
    request: &Request,
    ready: u32,
    progress: &dyn Progress,
) -> Result<Pool> {
    check_name(name)?;
    check_wishes(request)?;
    if ready > MOST {
        return Err(bad(
            "--ready",
            &format!("at most {MOST} machines wait in a pool"),
        ));
    }
    check_engine(&request.engine).await?;
    let request = settled(berth, request, progress).await?;
    let driver = berth.drivers.get(&request.driver).await?;
    if !driver.info().capabilities.images {
        return Err(bad(
            "--driver",
            &format!("{} makes no machines: it adopts computers", request.driver),
        ));
    }
    let pool = Pool {
        name: name.to_owned(),
        version: VERSION,
        ready,
        timeout: request.boot_deadline.as_secs(),
        key: Key::of(berth, &request).await?,
    };
    // What a machine of it would be refused for, it is refused for.
    let trial = pool.request();
    check_request(berth, &trial)?;
    image::check_driver(berth, &trial, driver.info()).map_err(Error::driver(name))?;
    planned(berth, &trial, progress).await?;
    // Another berth's words on the same pool are as good: the file is one or the other.
    pool.write(&berth.home)?;
    super::Failure::forget(&berth.home, name)?;
    Ok(pool)
}

/// What is a machine's own is said when it is taken; what only its making could do is not for a pool.
fn check_wishes(request: &Request) -> Result<()> {
    let said_later = "is said to `berth create`, of the machine that it takes";
    let made_so =
        "is a machine's own from its first moment on: such machines are not taken from pools";
    let refused = [
        (!request.labels.is_empty(), "--label", said_later),
        (request.expiry.is_some(), "--ttl, --ephemeral", said_later),
        (
            request.cold,
            "--cold",
            "is said to `berth create`, which then takes none",
        ),
        (request.no_pool, "--no-pool", said_later),
        (request.tls.is_some(), "--tls", made_so),
        (!request.mounts.is_empty(), "--mount", made_so),
        (request.cloud_init.is_some(), "--cloud-init", made_so),
    ];
    match refused.into_iter().find(|(asked, ..)| *asked) {
        Some((_, what, reason)) => Err(bad(what, reason)),
        None => Ok(()),
    }
}

fn bad(what: &str, reason: &str) -> Error {
    Error::BadRequest {
        what: what.to_owned(),
        reason: reason.to_owned(),
    }
}
