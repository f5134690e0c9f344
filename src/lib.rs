//! Berth: container hosts anywhere.
//!
//! Data flows one way: `cli → machine, fleet, context → drivers, provision, images → drivers/api`.

#![forbid(unsafe_code)]

pub mod background;
mod channel;
pub mod cli;
pub mod context;
pub mod doctor;
pub mod fleet;
pub mod kept;
pub mod machine;
pub mod secrets;
pub mod sftp;
pub mod store;
pub mod supervisor;
