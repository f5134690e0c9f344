//! Drivers in programs of their own: JSON-RPC 2.0, one message a line, over standard input and output.
//!
//! Berth starts the program `berth-driver-NAME`, calls `initialize`, and then any number of methods at once, for any
//! number of machines. The methods are those of [`crate::Driver`]; parameters are objects. While a call is under way
//! the plugin may send `progress` notifications that carry the call's id. A call that berth gives up is cancelled by a
//! `cancel` notification. The plugin ends when its standard input does; what it writes to standard error is its log.

mod client;
mod message;
mod schema;
mod serve;
mod wire;

pub use client::Plugin;
pub use message::PROTOCOL;
pub use schema::schema;
pub use serve::{serve, serve_on};
