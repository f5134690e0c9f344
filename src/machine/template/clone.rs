//! Making a machine by going on where a template stopped.

use berth_driver_api::{Credential, Place, Progress, Rest};
use tokio::sync::Notify;

use super::guest::Identity;
use super::{Template, folder};
use crate::machine::{Berth, Error, Opened, Result, endpoint};

/// Makes and starts the machine from the template that its record names, as a machine of its own: with its keys, its
/// name, its network address, and randomness that no other clone has.
///
/// # Errors
/// If the template is gone or damaged, or a step fails; what was made is then there to be removed.
pub(in crate::machine) async fn clone(
    berth: &Berth,
    opened: &Opened,
    id: &str,
    credentials: &[Credential],
    progress: &dyn Progress,
) -> Result<Rest> {
    let record = &opened.record;
    let gone = || Error::NoSuchTemplate(id.to_owned());
    let template = Template::read(&folder(&berth.home, id))?.ok_or_else(gone)?;
    let identity = Identity::read(&opened.folder, &record.name, record.id)?;
    let runs = Notify::new();
    let words = |place: Option<&Place>| {
        runs.notify_one();
        identity.words(place)
    };
    let (machine, from) = (&opened.machine, &template.folder);
    let thaw = async {
        let thawed = opened
            .driver
            .thaw(machine, from, credentials, &words, progress);
        thawed.await.map_err(Error::driver(&record.name))
    };
    // The supervisor starts beside the renewal, and nobody is led to it before that is over.
    let endpoint = async {
        runs.notified().await;
        match record.engine_socket() {
            Some(_) => endpoint::ensure(opened).await,
            None => Ok(()),
        }
    };
    let (rest, ()) = tokio::try_join!(thaw, endpoint)?;
    Ok(rest)
}
