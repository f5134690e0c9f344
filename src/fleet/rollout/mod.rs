//! A change taken across a fleet in batches, gated on health.
//!
//! A [`Plan`] says what is to be done to which machines, in which order. [`Rollout::begin`] writes it down and keeps other
//! rollouts off the machines; [`walk`] does the work, batch by batch, and journals it; whoever reopens a rollout and walks
//! on comes to the same end.

mod amount;
mod error;
mod folder;
mod job;
mod journal;
mod lock;
mod plan;
mod swarm;
mod walk;

pub use amount::{Amount, batches};
pub use error::{Error, Result};
pub use folder::{Rollout, Seen, list, look, only_open};
pub use job::{Job, Said};
pub use journal::{Event, Fared, Journal, State, Story};
pub use lock::{Guard, Holder};
pub use plan::{Pace, Plan, Step, Task};
pub use walk::{Ending, Heard, walk};

/// Who begins a rollout, and where: `user@computer`.
pub fn owner() -> String {
    let uid = nix::unistd::getuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    let user = user.map_or_else(|| uid.to_string(), |user| user.name);
    let host = nix::unistd::gethostname().ok();
    let host = host.and_then(|host| host.into_string().ok());
    format!("{user}@{}", host.unwrap_or_else(|| "?".into()))
}
