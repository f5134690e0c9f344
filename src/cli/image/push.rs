//! `berth image push`

use anyhow::Result;
use berth_images::{Access, Address};

use crate::cli::output;
use crate::cli::progress::{Screen, print_timings};
use crate::machine::{Berth, Error};

/// Brings a stored image to a registry and prints its name there by digest.
pub(super) async fn push(
    berth: &Berth,
    reference: &str,
    address: &str,
    access: &Access,
    timings: bool,
    screen: &Screen,
) -> Result<()> {
    let address: Address = address.parse().map_err(Error::Image)?;
    let image = berth.stored_image(reference)?;
    let task = screen.task(reference);
    let store = berth.images()?;
    let pushed = store.push(&image, &address, access, &*task).await;
    let pushed = pushed.map_err(Error::from)?;
    let times = task.finish();
    screen.clear();
    if timings {
        print_timings(reference, &times);
    }
    output::line(&pushed.to_string())
}
