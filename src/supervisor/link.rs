//! The one SSH connection of a supervisor, made again when it is lost: at once, or where there is a quicker way to the
//! engine, when somebody asks for it.

use std::sync::Arc;
use std::time::Duration;

use berth_driver_api::footprint;
use berth_provision::ssh::Session;
use tokio::sync::{Notify, watch};

use super::status::Board;
use crate::machine::Opened;

/// How long one attempt may take; the guest may be rebooting.
const ATTEMPT: Duration = Duration::from_secs(60);

/// Hands out the connection that stands, or the next one that will.
#[derive(Clone)]
pub struct Link {
    current: watch::Receiver<Option<Session>>,
    asked: Arc<Notify>,
}

impl Link {
    /// Keeps a connection to the machine up for as long as the returned future runs, from when it is asked for if it
    /// `waits`. The machine may get another name.
    pub fn new(
        opened: watch::Receiver<Arc<Opened>>,
        board: Arc<Board>,
        waits: bool,
    ) -> (Self, impl Future<Output = ()>) {
        let (sender, current) = watch::channel(None);
        let asked = Arc::new(Notify::new());
        let link = Link {
            current,
            asked: asked.clone(),
        };
        let keep = async move {
            // Supervisors are started when the guest has said that its SSH server listens.
            let mut listens = true;
            let mut wait = waits;
            loop {
                if wait {
                    asked.notified().await;
                }
                let now = opened.borrow().clone();
                let connected = connect(&now, listens).await;
                listens = false;
                wait = waits && connected.is_ok();
                match connected {
                    Ok(session) => {
                        tracing::info!("connected");
                        board.connection(None);
                        sender.send_replace(Some(session.clone()));
                        // What made the start and the connection is not needed for long.
                        footprint::forget_code();
                        session.closed().await;
                        tracing::info!("connection lost");
                        sender.send_replace(None);
                        board.connection(Some("the connection was lost".into()));
                    }
                    Err(trouble) => {
                        tracing::warn!(trouble, "not connected");
                        board.connection(Some(trouble));
                        // The attempt itself waited and tried again; this only bounds a failure that is instant.
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        };
        (link, keep)
    }

    /// The connection, waited for if it is down.
    pub async fn session(&mut self) -> Option<Session> {
        self.asked.notify_one();
        let current = self.current.wait_for(Option::is_some).await.ok()?;
        current.clone()
    }

    /// Returns when a connection that stands, or comes to stand, is lost.
    pub async fn breaks(mut self) {
        let _ = self.current.wait_for(Option::is_some).await;
        self.lost().await;
    }

    /// Returns when there is no connection.
    pub async fn lost(&mut self) {
        // The sender lives as long as the supervisor: an error is its end.
        let _ = self.current.wait_for(Option::is_none).await;
    }
}

async fn connect(opened: &Opened, listens: bool) -> Result<Session, String> {
    // Asked anew each time: a machine that was started again may have another port.
    let target = opened.target().await.map_err(|error| error.to_string())?;
    let connected = match listens {
        true => Session::connect_to_listening(&target, ATTEMPT).await,
        false => Session::connect(&target, ATTEMPT).await,
    };
    let session = connected.map_err(|error| error.to_string())?;
    // Images of berth's let streams through; what others set up is tried.
    if let Some(socket) = opened.record.engine_socket()
        && !opened.driver.info().capabilities.images
    {
        let tried = session.find_way(socket).await;
        tried.map_err(|error| error.to_string())?;
    }
    Ok(session)
}
