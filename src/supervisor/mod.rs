//! The small process beside each local VM: it holds one SSH connection to the machine, forwards the engine's socket
//! and the containers' published ports through it, and leaves with the VM.

mod link;
mod ports;
mod run;
mod socket;
mod status;

pub use run::run;
pub use status::{PortRow, Status};
