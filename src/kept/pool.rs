//! The connections that wait for the next command.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_provision::ssh::{Session, Target};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a machine that runs may take to let us in.
const CONNECTING: Duration = Duration::from_secs(30);

/// How long a machine may take to answer on a connection that has waited; one that does not is dialled anew.
const ANSWER: Duration = Duration::from_secs(5);

/// How long connections are kept until someone says otherwise.
const KEEP: Duration = Duration::from_secs(60);

/// Longer than anything that is waited for.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// What must be the same for a connection to be used again: where it leads, the keys in the files that tell who may
/// answer there, and the key that lets us in.
pub type Place = [u8; 32];

/// Connections by where they lead.
pub struct Pool {
    state: Mutex<State>,
    /// Rung when there is something else to wait for.
    changed: Notify,
}

struct State {
    keep: Duration,
    idle: HashMap<Place, Vec<Idle>>,
    busy: usize,
    /// When something was last asked.
    last: Instant,
}

struct Idle {
    session: Session,
    since: Instant,
}

/// A connection in use; it counts as that until it is dropped or given back.
pub struct Busy<'a> {
    pool: &'a Pool,
    place: Place,
    session: Session,
}

impl Default for Pool {
    fn default() -> Self {
        Pool {
            state: Mutex::new(State {
                keep: KEEP,
                idle: HashMap::new(),
                busy: 0,
                last: Instant::now(),
            }),
            changed: Notify::new(),
        }
    }
}

/// What tells a connection to `target` from others.
///
/// # Errors
/// If a file cannot be read.
pub async fn place(target: &Target) -> std::io::Result<Place> {
    let mut digest = Sha256::new();
    let mut take_in = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    take_in(&serde_json::to_vec(target)?);
    take_in(&tokio::fs::read(&target.known_hosts).await?);
    if let Some(key) = target.key.file() {
        take_in(&tokio::fs::read(key).await?);
    }
    Ok(digest.finalize().into())
}

impl Pool {
    /// Something is asked; connections are kept so long from now on, if that is said.
    pub fn asked(&self, keep: Option<Duration>) {
        let mut state = self.state();
        state.last = Instant::now();
        if let Some(keep) = keep {
            state.keep = keep;
            self.changed.notify_one();
        }
    }

    /// A connection that nobody else uses: one that waited and still answers, or else a new one.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn take(
        &self,
        place: Place,
        target: &Target,
    ) -> Result<Busy<'_>, berth_provision::Error> {
        loop {
            let waited = {
                let mut state = self.state();
                let of_place = state.idle.get_mut(&place);
                of_place.and_then(|idle| idle.pop())
            };
            let Some(Idle { session, .. }) = waited else {
                break;
            };
            if !session.is_closed() && session.answers(ANSWER).await {
                return Ok(self.in_use(place, session));
            }
            tracing::info!(host = session.host(), "no longer answers");
        }
        let session = Session::connect(target, CONNECTING).await?;
        tracing::info!(host = session.host(), "connected");
        Ok(self.in_use(place, session))
    }

    fn in_use(&self, place: Place, session: Session) -> Busy<'_> {
        self.state().busy += 1;
        Busy {
            pool: self,
            place,
            session,
        }
    }

    /// Drops what has waited long enough, and tells when there may be more to drop; `None` if nothing is there and
    /// nobody has asked for anything for long enough.
    pub fn expire(&self) -> Option<Instant> {
        let mut state = self.state();
        let (now, keep) = (Instant::now(), state.keep);
        for idle in state.idle.values_mut() {
            idle.retain(|idle| idle.since + keep > now && !idle.session.is_closed());
        }
        state.idle.retain(|_, idle| !idle.is_empty());
        let since = state.idle.values().flatten().map(|idle| idle.since);
        match since.min() {
            Some(since) => Some(since + keep),
            // Their ends are told of.
            None if state.busy > 0 => Some(now + LONG),
            None => Some(state.last + keep).filter(|over| *over > now),
        }
    }

    /// Returns when [`Pool::expire`] may say something else.
    pub async fn changes(&self) {
        self.changed.notified().await;
    }

    /// Drops all that waits.
    pub fn clear(&self) {
        self.state().idle.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Busy<'_> {
    /// The connection.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Keeps it for the next command. One that is not given back ends: nobody knows what still runs on it.
    pub fn give_back(self) {
        let idle = Idle {
            session: self.session.clone(),
            since: Instant::now(),
        };
        let mut state = self.pool.state();
        state.last = idle.since;
        state.idle.entry(self.place).or_default().push(idle);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.pool.state().busy -= 1;
        self.pool.changed.notify_one();
    }
}
