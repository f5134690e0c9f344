//! Machines whose engines are one swarm: Docker's own way to be one engine across many hosts.
//!
//! What a swarm is, its managers tell; berth keeps its name, its machines and how many managers it is to have.

mod context;
mod error;
mod form;
mod leave;
mod members;
mod record;
mod status;

pub use error::{Error, Result};
pub use form::{Formed, Wish, check_managers, default_managers, form};
pub use leave::{Left, leave, replace};
pub use record::{Swarm, names, of_machine};
pub use status::{Row, Status, status};

use crate::machine::Berth;

/// Forgets the swarms all of whose machines are removed: nobody can ask them any more.
///
/// # Errors
/// If a record cannot be read or removed.
pub fn forget_gone(berth: &Berth) -> Result<()> {
    for name in names(berth)? {
        if let Some(swarm) = Swarm::find(berth, &name)?
            && !swarm
                .machines
                .keys()
                .any(|name| berth.home.has_traces(name))
        {
            swarm.forget(berth)?;
        }
    }
    Ok(())
}
