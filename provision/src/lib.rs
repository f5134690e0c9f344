//! Reaching a machine over SSH, and everything done there: recognising its system, installing and checking an engine.
//! [`certs`] makes the certificates of TLS endpoints.
//!
//! This crate knows nothing of hypervisors: it is handed an SSH address ([`ssh::Target`]) and works from there.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod certs;
mod context;
pub mod copy;
mod daemon_json;
pub mod engine;
mod engine_tls;
mod environment;
mod error;
mod facts;
pub mod family;
mod grow;
mod hostname;
mod openpgp;
pub mod os;
mod reboot;
mod recognise;
pub mod renew;
mod service;
mod settings;
pub mod share;
mod size;
pub mod ssh;
pub mod steps;
pub mod swarm;
pub mod upgrade;
mod upstream;
pub mod versions;
mod wanted;

pub use engine_tls::{end_tls, serve_tls};
pub use error::{Error, Result};
pub use grow::grow;
pub use hostname::hostname;
pub use reboot::reboot;
pub use recognise::{Recognised, recognise};
pub use settings::{Settings, drift};
pub use size::size;
pub use steps::{is_provisioned, provision};
pub use upstream::Upstream;
pub use wanted::{Channel, EngineInfo, Installed, Kind, Version, Wanted};
