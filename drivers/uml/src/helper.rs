//! The network helper: QEMU's user-mode network at the other end of the guest's cable. It forwards a loopback port to
//! the guest's SSH server.
//!
//! It ends when the kernel does. And where it ends before the kernel does, another one takes its place: the kernel
//! keeps a copy of the cable's end, which any process of the user's can ask it for, so the guest notices a pause.

use std::os::fd::OwnedFd;
use std::time::Duration;

use berth_driver_api::running::{self, Running};
use berth_driver_api::{Error, Machine, Result};

use crate::usermode::Network;

/// Names in the machine's folder.
pub(crate) const PID_FILE: &str = "network.pid";
pub(crate) const LOG: &str = "network.log";

/// How long it has to end after its kernel.
const END: Duration = Duration::from_secs(2);

/// How long a kernel that was killed together with its helper may take to end, on a busy computer.
const KERNEL_END: Duration = Duration::from_secs(1);

/// Why a helper did not start.
pub(crate) enum Failure {
    /// Someone else listens on the machine's port.
    PortTaken,
    Other(Error),
}

/// What joins a helper to its kernel.
pub(crate) struct Ends {
    /// Its end of the cable.
    pub(crate) cable: OwnedFd,
    /// The end of the pipe that tells when the kernel has ended.
    pub(crate) watch: OwnedFd,
}

/// The machine's helper, if it lives.
pub(crate) fn of(machine: &Machine) -> Result<Option<Running>> {
    Running::of(&machine.file(PID_FILE))
}

/// True if the helper is gone and the kernel is not: both may have been killed, and a kernel takes a moment to go.
pub(crate) async fn is_lost(machine: &Machine, kernel: &Running) -> Result<bool> {
    if of(machine)?.is_some() {
        return Ok(false);
    }
    match tokio::time::timeout(KERNEL_END, kernel.ended()).await {
        Ok(ended) => ended.map(|()| false),
        Err(_) => Ok(of(machine)?.is_none()),
    }
}

/// Starts the machine's helper and returns when it serves.
pub(crate) async fn start(machine: &Machine, port: u16, ends: &Ends) -> Result<(), Failure> {
    let name = &machine.name;
    let network = Network {
        name: format!("network-of-{name}"),
        folder: &machine.folder,
        pid_file: PID_FILE,
        log: LOG,
        user: Some(format!("hostname={name},hostfwd=tcp:127.0.0.1:{port}-:22")),
    };
    let started = network
        .start(&ends.watch, std::slice::from_ref(&ends.cable))
        .await;
    started.map_err(|error| match &error {
        Error::Tool { detail, .. } if detail.contains("Could not set up host forwarding rule") => {
            Failure::PortTaken
        }
        _ => Failure::Other(error),
    })
}

/// Starts a helper in place of one that died, for a kernel that runs on.
pub(crate) async fn replace(machine: &Machine, port: u16, kernel: &Running) -> Result<()> {
    use crate::command_line::fds;
    let get = |number| {
        kernel.open_file(number).map_err(|error| {
            Error::failed(
                "replacing the machine's network helper, which ended",
                format!("the kernel's end of its cable cannot be had ({error}); stop and start the machine"),
            )
        })
    };
    let ends = Ends {
        cable: get(fds::HELPER)?,
        watch: get(fds::WATCH)?,
    };
    let started = start(machine, port, &ends).await;
    if of(machine)?.is_some() {
        // Another berth may have been quicker. A kernel that ended meanwhile told the helper of it before that listened.
        if Running::of(&machine.file(crate::names::PID_FILE))?.is_none() {
            end(machine).await?;
        }
        return Ok(());
    }
    started.map_err(|failure| match failure {
        Failure::Other(error) => error,
        Failure::PortTaken => Error::failed(
            "replacing the machine's network helper, which ended",
            format!("another program listens on port {port}; stop and start the machine"),
        ),
    })
}

/// Sees to it that the helper of a kernel that has ended has ended as well.
pub(crate) async fn end(machine: &Machine) -> Result<()> {
    let Some(helper) = of(machine)? else {
        return Ok(());
    };
    match tokio::time::timeout(END, helper.ended()).await {
        Ok(ended) => ended,
        Err(_) => running::kill(&machine.file(PID_FILE), "network helper").await,
    }
}
