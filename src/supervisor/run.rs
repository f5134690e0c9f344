//! The supervisor process itself.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::channel::Channels;
use super::forward::Forwarder;
use super::link::Link;
use super::status::Board;
use super::{mounts, name, ports, socket, tls};
use crate::background;
use crate::machine::{Berth, Error, Opened, Result, SUPERVISE, remove_by_itself};
use crate::store::{self, Lock};

/// Supervises machine `name` until its VM stops or SIGTERM comes.
///
/// # Errors
/// If the machine is not there, has neither an engine nor mounts, or its socket cannot be made.
pub async fn run(berth: &Berth, name: &str) -> Result<()> {
    let opened = Arc::new(berth.open(name).await?);
    if !opened.record.is_supervised() {
        return Err(Error::NoEngine(name.to_owned()));
    }
    let doing = format!("{} {name}", SUPERVISE);
    let lock = Lock::try_take(&opened.folder.supervisor_lock(), &doing)?;
    let Ok(lock) = lock else {
        // Another one won the race: it does the same work.
        return Ok(background::say_ready().await?);
    };
    // Held until the process is gone, not only until this function is: whoever waits for it waits for that.
    std::mem::forget(lock);
    let path = opened.folder.engine_socket();
    let endpoint = match opened.record.engine_socket() {
        Some(engine) => {
            let listener = socket::listen(&path).map_err(store::Error::io(&path))?;
            Some((engine.to_owned(), listener))
        }
        None => None,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(store::Error::io("SIGTERM"))?;
    let board = Arc::new(Board::new(&opened.folder.supervisor_status()));
    let (renamed, current) = watch::channel(opened.clone());
    // A handshake costs a guest that has just been thawed more than all that its engine is asked for.
    let waits = opened.driver.channel(&opened.machine).is_some();
    let (link, keep) = Link::new(current.clone(), board.clone(), waits);
    let (channels, keep_channel) = Channels::new(opened.clone(), link.clone(), board.clone()).await;
    let serve_engine = async {
        let Some((engine, listener)) = endpoint else {
            return std::future::pending().await;
        };
        let forwarder = Forwarder::new(link.clone(), channels.clone(), engine);
        let tls = name::with(current.clone(), |now| {
            let (forwarder, board) = (forwarder.clone(), board.clone());
            async move { tls::follow(berth, &now, forwarder, board).await }
        });
        tokio::select! {
            () = socket::serve(listener, forwarder.clone()) => {}
            () = tls => {}
            () = forward_ports(&opened, link.clone(), channels, board.clone()) => {}
        }
    };
    let time_is_over = name::with(
        current.clone(),
        |now| async move { time_is_over(&now).await },
    );
    let mounts = name::with(current.clone(), |now| {
        let (link, board) = (link.clone(), board.clone());
        async move { mounts::follow(berth, &now, link, board).await }
    });
    background::say_ready().await?;
    tokio::select! {
        stopped = opened.driver.wait_stopped(&opened.machine) => match stopped {
            Ok(why) => tracing::info!(why, "the machine stopped"),
            Err(error) => tracing::warn!(%error, "the machine can no longer be watched"),
        },
        _ = terminate.recv() => tracing::info!("told to end"),
        () = keep => {}
        () = keep_channel => {}
        () = serve_engine => {}
        () = time_is_over => tracing::info!("the machine's time is over"),
        () = mounts => {}
        () = name::follow(berth, &renamed) => {}
        () = name::tell(current.clone(), link.clone()) => {}
    }
    for file in [path, opened.folder.supervisor_status()] {
        let _ = std::fs::remove_file(file);
    }
    let now = current.borrow().clone();
    remove_by_itself(&now).await
}

async fn time_is_over(opened: &Opened) {
    match &opened.record.expiry {
        Some(expiry) => expiry.reached().await,
        None => std::future::pending().await,
    }
}

/// Containers' ports are forwarded from machines that berth made. A host that it adopted has an address of its own, at
/// which they are reached already.
async fn forward_ports(opened: &Opened, link: Link, channels: Channels, board: Arc<Board>) {
    match opened.driver.info().capabilities.images {
        true => ports::follow(&opened.folder.engine_socket(), link, channels, board).await,
        false => std::future::pending().await,
    }
}
