//! The small process beside each local VM: it holds one SSH connection to the machine, or a channel past it,
//! forwards the engine's socket, the TLS endpoint and the containers' published ports through that, serves the folders of this computer that the
//! machine sees, and leaves with the VM.

mod channel;
mod forward;
mod link;
mod mounts;
mod name;
mod ports;
mod run;
mod socket;
mod status;
mod tls;
mod udp;

pub use run::run;
pub use socket::listen;
pub use status::{MountRow, PortRow, Status, TlsRow, tls_settles};
