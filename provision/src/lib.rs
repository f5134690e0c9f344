//! Reaching a machine over SSH, and everything done there: recognising its system, installing and checking an engine.
//!
//! This crate knows nothing of hypervisors: it is handed an SSH address ([`ssh::Target`]) and works from there.

#![forbid(unsafe_code)]

pub mod bundle;
mod context;
pub mod copy;
mod daemon_json;
pub mod engine;
mod error;
mod facts;
pub mod family;
mod openpgp;
pub mod os;
mod service;
pub mod ssh;
pub mod steps;
mod upstream;
pub mod versions;
mod wanted;

pub use error::{Error, Result};
pub use steps::provision;
pub use upstream::Upstream;
pub use wanted::{Channel, EngineInfo, Installed, Kind, Version, Wanted};
