//! What a Berth driver is: the [`Driver`] trait, the types it speaks in, and the building blocks that drivers share.
//!
//! A driver makes and drives machines on one kind of hypervisor. It knows nothing of engines, contexts or berth's
//! records: it is handed a [`Machine`] and answers about that machine only.
//!
//! Rules that every driver keeps:
//! - **Names come from the machine.** Every resource that a driver makes carries the machine's `id` or lies in its
//!   `folder`, so that [`Driver::remove`] finds all of them after a crash at any point.
//! - **Calls are idempotent.** Starting what runs, stopping what is stopped and removing what is gone are successes.
//! - **Dropping the future cancels**, and leaves something that the same call finishes or `remove` clears.

mod access;
pub mod conformance;
pub mod cpio;
pub mod credentials;
mod driver;
mod error;
pub mod files;
pub mod footprint;
mod found;
mod machine;
mod options;
pub mod plugin;
pub mod ports;
mod probe;
pub mod process;
mod progress;
pub mod ready;
pub mod record;
pub mod running;
pub mod size;
pub mod snapshot;
mod state;
pub mod thaw;

pub use access::{Access, Address, Login};
pub use credentials::Credential;
pub use driver::{Capabilities, Driver, Info, Needs};
pub use error::{Error, Result};
pub use found::{Found, LONGEST_NOTE};
pub use machine::{BootImage, DiskFormat, DriverKernel, Machine, Resource, Share, Size, Spec, mac};
pub use options::{OptionKind, OptionSpec, check_options, nearest};
pub use probe::{Execution, Finding, Probe};
pub use progress::{Progress, Silent};
pub use snapshot::Snapshot;
pub use state::State;
pub use thaw::{Place, Rest};

/// The virtio port by which streams go to a program in the guest; see [`Driver::channel`].
pub const CHANNEL_PORT: &str = "dev.berth.channel.0";
