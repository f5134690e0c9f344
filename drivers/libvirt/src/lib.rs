//! The libvirt driver: a machine is a domain of libvirt's QEMU, on this computer or by SSH on another one.
//!
//! What a machine consists of: a domain with the machine's id as its UUID and berth's mark in its metadata, the
//! volumes in a storage pool that begin with `berth-` and its id, and in its folder `libvirt.toml` (what was decided
//! when it was made). Outside, the lease of its SSH port, if it is reached by one.
//!
//! In a session of the user's own, QEMU runs as the user and reads the user's files: the disk stands on berth's stored
//! image, and credentials, console and the guest's words are files of the machine's folder. Elsewhere the image is
//! uploaded once, as volumes named after its digest, which go with the last machine made of it; credentials are volumes
//! that only QEMU's user may read.
//!
//! A domain without the mark, or with another machine's, is never touched.

#![cfg_attr(
    not(feature = "libvirt"),
    allow(dead_code, reason = "what speaks with libvirt is left out")
)]

mod capabilities;
mod domain;
mod mark;
mod options;
mod port;
mod record;
mod snapshot;
mod uri;
mod volume;
mod xml;

#[cfg(feature = "libvirt")]
mod check;
#[cfg(feature = "libvirt")]
mod clock;
#[cfg(feature = "libvirt")]
mod driver;
#[cfg(feature = "libvirt")]
mod events;
#[cfg(feature = "libvirt")]
mod failure;
#[cfg(feature = "libvirt")]
mod found;
#[cfg(feature = "libvirt")]
mod hypervisor;
#[cfg(feature = "libvirt")]
mod making;
#[cfg(feature = "libvirt")]
mod mirror;
#[cfg(feature = "libvirt")]
mod names;
#[cfg(feature = "libvirt")]
mod network;
#[cfg(feature = "libvirt")]
mod power;
#[cfg(feature = "libvirt")]
mod raw;
#[cfg(feature = "libvirt")]
mod ready;
#[cfg(feature = "libvirt")]
mod resize;
#[cfg(feature = "libvirt")]
mod saved;
#[cfg(feature = "libvirt")]
mod snapshots;
#[cfg(feature = "libvirt")]
mod state;
#[cfg(feature = "libvirt")]
mod storage;

#[cfg(feature = "libvirt")]
pub use driver::Libvirt;
