//! State on disk: where things lie, how they are written, who may write.
//!
//! Everything is plain files under one home folder. Writers take a lock and replace files atomically; readers never
//! wait.

mod atomic;
mod error;
mod home;
mod linked;
mod lock;
mod migrate;
mod watch;

pub use atomic::{
    create_private_folder, remove_file, remove_folder, write_atomically, write_private, write_toml,
};
pub use error::{Error, Result};
pub use home::{Home, MachineFolder, sockets_of};
pub use linked::{WAITING, give_name, link, remove_entry};
pub use lock::{Holder, Lock, holder};
pub use migrate::{Migration, migrate, read_table};
pub use watch::Watch;
