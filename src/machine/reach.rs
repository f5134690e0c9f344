//! The way to a machine's engine, for what asks many of them.

use std::time::Duration;

use berth_provision::engine::Engine;
use berth_provision::ssh::Session;

use super::operation::must_run;
use super::{Berth, Error, Opened, Result, endpoint};

/// A machine that answers, and its engine over the same connection.
pub struct Reached {
    /// The machine.
    pub opened: Opened,
    /// The connection.
    pub session: Session,
    /// Its engine.
    pub engine: Engine,
}

/// Connects to a running machine and its engine.
///
/// # Errors
/// If it is off, has no engine, or does not let us in within `deadline`.
pub async fn reach(berth: &Berth, name: &str, deadline: Duration) -> Result<Reached> {
    let (opened, socket) = running(berth, name).await?;
    let (session, engine) = over_ssh(&opened, &socket, deadline).await?;
    Ok(Reached {
        opened,
        session,
        engine,
    })
}

/// The engine of a running machine by the quickest way: its socket on this computer, or else a connection of its own.
///
/// # Errors
/// As [`reach`].
pub async fn reach_engine(berth: &Berth, name: &str, deadline: Duration) -> Result<Engine> {
    let (opened, socket) = running(berth, name).await?;
    if endpoint::is_open(&opened) {
        let engine = Engine::over_unix(&opened.folder.engine_socket());
        return engine.map_err(Error::provision(name));
    }
    Ok(over_ssh(&opened, &socket, deadline).await?.1)
}

/// The machine, and where its engine listens in it.
async fn running(berth: &Berth, name: &str) -> Result<(Opened, String)> {
    let opened = berth.open(name).await?;
    let Some(installed) = &opened.record.installed else {
        return Err(Error::NoEngine(name.to_owned()));
    };
    let socket = installed.socket.clone();
    must_run(&opened).await?;
    Ok((opened, socket))
}

async fn over_ssh(opened: &Opened, socket: &str, deadline: Duration) -> Result<(Session, Engine)> {
    let session = opened.connect(deadline).await?;
    let found = async {
        session.find_way(socket).await?;
        Engine::over_ssh(&session, socket)
    };
    let engine = found.await.map_err(Error::provision(&opened.record.name))?;
    Ok((session, engine))
}
