//! The channel to the machine, where its hypervisor has one: opened again whenever it ended.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use berth_provision::ssh::Session;
use tokio::sync::watch;

use super::link::Link;
use super::status::Board;
use crate::channel::{self, Channel};
use crate::machine::Opened;

/// How long a guest in which the program waits may take to greet; an emulated one on a busy computer is slow.
const GREETING: Duration = Duration::from_secs(5);

/// A guest that takes longer to answer is looked at.
const SILENCE: Duration = Duration::from_secs(1);

/// How long a program that was started just now may take to greet.
const STARTED: Duration = Duration::from_secs(60);

/// Hands out the channel that stands.
#[derive(Clone)]
pub struct Channels {
    current: watch::Receiver<State>,
}

#[derive(Clone)]
enum State {
    /// The guest may greet at any moment.
    Opening,
    Open(Arc<Channel>),
    None,
}

impl Channels {
    /// Keeps a channel to the machine open for as long as the returned future runs.
    pub async fn new(
        opened: Arc<Opened>,
        link: Link,
        board: Arc<Board>,
    ) -> (Self, impl Future<Output = ()>) {
        let socket = opened.driver.channel(&opened.machine);
        // A guest that goes on from where it was frozen has the program in it; one that boots has not.
        let listens = match socket {
            Some(_) => opened.driver.channel_listens(&opened.machine).await,
            None => Ok(false),
        };
        let (sender, current) = watch::channel(match listens {
            Ok(true) => State::Opening,
            _ => State::None,
        });
        let keep = async move {
            let Some(socket) = socket else {
                return std::future::pending().await;
            };
            let mut greeted = match listens {
                Ok(true) => Channel::open(&socket, GREETING).await,
                Ok(false) => Err(io::ErrorKind::NotConnected.into()),
                Err(error) => Err(io::Error::other(error)),
            };
            loop {
                match greeted {
                    Ok(channel) => {
                        tracing::info!("the channel is open");
                        board.connection(None);
                        let channel = Arc::new(channel);
                        sender.send_replace(State::Open(channel.clone()));
                        tokio::select! {
                            () = channel.ended() => {}
                            // The guest boots anew.
                            () = link.clone().breaks() => {}
                            () = closed(&opened, &channel) => {}
                        }
                        channel.end();
                        tracing::info!("the channel has ended");
                    }
                    Err(error) => tracing::info!(%error, "no channel"),
                }
                sender.send_replace(State::None);
                let mut link = link.clone();
                let Some(session) = link.session().await else {
                    return;
                };
                greeted = match start(&session).await {
                    Ok(()) => Channel::open(&socket, STARTED).await,
                    Err(error) => Err(error),
                };
                if greeted.is_err() {
                    // This guest has none. Another one may, that boots in its place.
                    link.lost().await;
                }
            }
        };
        (Channels { current }, keep)
    }

    /// The channel, if it is open.
    pub fn now(&self) -> Option<Arc<Channel>> {
        match &*self.current.borrow() {
            State::Open(channel) if channel.has_ended() => None,
            State::Open(channel) => Some(channel.clone()),
            State::Opening | State::None => None,
        }
    }

    /// The channel, as soon as it is told whether there is one.
    pub async fn settled(&mut self) -> Option<Arc<Channel>> {
        let told = |state: &State| !matches!(state, State::Opening);
        // The sender lives as long as the supervisor: an error is its end.
        drop(self.current.wait_for(told).await);
        self.now()
    }
}

/// Returns when the guest does not answer because it has closed its end: one that was reset does not hang up.
async fn closed(opened: &Opened, channel: &Channel) {
    loop {
        channel.is_silent(SILENCE).await;
        let listens = opened.driver.channel_listens(&opened.machine).await;
        // A hypervisor that does not answer either is busy with the guest, which it holds meanwhile.
        if let Ok(false) = listens {
            return;
        }
    }
}

async fn start(session: &Session) -> io::Result<()> {
    let script = channel::start_script();
    let started = session.exec_input("sh -s", script.as_bytes()).await;
    let output = started.map_err(io::Error::other)?;
    match output.success() {
        true => Ok(()),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )),
    }
}
