//! Getting a connection: again and again while the cause passes, at once no further when it does not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::client::{Banner, Client, Ended};
use super::config::config;
use super::failed::Failed;
use super::known_hosts::Pinned;
use super::reach::{Wire, reach};
use super::{Key, Target, host_and_port, sealed};
use crate::{Error, Result};

/// How long a server may take to greet. A forwarded port accepts before its guest listens, and then nothing
/// comes: better to call again soon. It grows with each attempt, for slow guests.
pub(super) const FIRST_GREETING: Duration = Duration::from_secs(3);
pub(super) const LONGEST_GREETING: Duration = Duration::from_secs(20);
/// How long key exchange and login may take; emulated guests need many seconds.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// OpenSSH ends the connection after six attempts.
const AGENT_KEYS: usize = 5;

/// A connection that is logged in, and the program that carries it, if it goes over other hosts.
pub(super) struct Connected {
    pub(super) handle: Handle<Client>,
    pub(super) carrier: Option<Child>,
    pub(super) ended: watch::Receiver<Option<String>>,
}

/// A target with what its files hold, read once.
struct Stop<'a> {
    target: &'a Target,
    recorded_name: String,
    pinned: Pinned,
    login: Login,
}

/// What to log in with.
enum Login {
    Key(Arc<PrivateKey>, PathBuf),
    Agent,
}

/// Connects, with `greeting` as the time that the server gets for its first greeting.
pub(super) async fn connect(
    target: &Target,
    deadline: Duration,
    mut greeting: Duration,
) -> Result<Connected> {
    let started = Instant::now();
    let end = started + deadline;
    let stop = Stop::read(target).await?;
    let mut pause = Duration::from_millis(100);
    loop {
        // On the heap: it is large, and part of whatever awaits a connection.
        let attempt = timeout_at(end, Box::pin(attempt(&stop, greeting))).await;
        let last = match attempt {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(Failed::Final(error))) => return Err(error),
            Ok(Err(Failed::Passing(last))) => last,
            Err(_) => "no answer".to_owned(),
        };
        tracing::debug!(
            host = target.host,
            port = target.port,
            last,
            "not yet reachable"
        );
        if Instant::now() + pause >= end {
            return Err(Error::Unreachable {
                host: host_and_port(&target.host, target.port),
                after: started.elapsed(),
                last,
            });
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(1));
        greeting = (greeting * 3 / 2).min(LONGEST_GREETING);
    }
}

async fn attempt(stop: &Stop<'_>, greeting: Duration) -> Result<Connected, Failed> {
    let Target {
        host, port, jump, ..
    } = stop.target;
    let way = reach(host, *port, jump, greeting).await?;
    let (handle, ended) = way.greeting.before(handshake(stop, way.wire)).await?;
    let carrier = way.carrier;
    Ok(Connected {
        handle,
        carrier,
        ended,
    })
}

/// Makes sure that a machine answers, and with a host key that is recorded. Nobody logs in, and nothing is tried twice.
///
/// # Errors
/// [`Error::Unreachable`] if it does not greet within `deadline`, [`Error::HostKeyMismatch`], [`Error::JumpHost`].
pub async fn greet(target: &Target, deadline: Duration) -> Result<()> {
    let recorded_name = target.recorded_name();
    let stop = Stop {
        target,
        pinned: Pinned::read(&target.known_hosts, &recorded_name).await?,
        recorded_name,
        login: Login::Agent,
    };
    let started = Instant::now();
    let unreachable = |last: String| Error::Unreachable {
        host: host_and_port(&target.host, target.port),
        after: started.elapsed(),
        last,
    };
    let attempt = async {
        // Beside the deadline as a whole, so that silence is told from slowness.
        let greeting = deadline.mul_f32(0.9);
        let way = reach(&target.host, target.port, &target.jump, greeting).await?;
        let (client, ..) = stop.client();
        let connecting = client::connect_stream(config(&stop.pinned), way.wire, client);
        let connected = async { connecting.await.map(drop).map_err(|ended| stop.why(ended)) };
        way.greeting.before(connected).await
    };
    match timeout(deadline, Box::pin(attempt)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Failed::Final(error))) => Err(error),
        Ok(Err(Failed::Passing(last))) => Err(unreachable(last)),
        Err(_) => Err(unreachable("it greets but does not go on".into())),
    }
}

type Answered = (Handle<Client>, watch::Receiver<Option<String>>);

async fn handshake(stop: &Stop<'_>, stream: Box<dyn Wire>) -> Result<Answered, Failed> {
    let (client, banner, ended_seen) = stop.client();
    let shake = async {
        let connecting = client::connect_stream(config(&stop.pinned), stream, client);
        let mut handle = connecting.await.map_err(|ended| stop.why(ended))?;
        stop.log_in(&mut handle, &banner).await?;
        Ok(handle)
    };
    match timeout(HANDSHAKE, shake).await {
        Ok(handle) => Ok((handle?, ended_seen)),
        Err(_) => Err(Failed::Passing("it greets but does not go on".into())),
    }
}

impl<'a> Stop<'a> {
    async fn read(target: &'a Target) -> Result<Self> {
        let recorded_name = target.recorded_name();
        Ok(Stop {
            target,
            pinned: Pinned::read(&target.known_hosts, &recorded_name).await?,
            recorded_name,
            login: match &target.key {
                Key::File(file) => Login::Key(sealed::plain(file).await?, file.clone()),
                Key::Sealed { file, passphrase } => {
                    Login::Key(sealed::open(file, passphrase).await?, file.clone())
                }
                Key::Agent => Login::Agent,
            },
        })
    }

    fn client(&self) -> (Client, Banner, watch::Receiver<Option<String>>) {
        let (ended, ended_seen) = watch::channel(None);
        let banner = Banner::default();
        let client = Client {
            pinned: self.pinned.clone(),
            banner: banner.clone(),
            ended,
        };
        (client, banner, ended_seen)
    }

    fn why(&self, ended: Ended) -> Failed {
        let offered = match ended {
            Ended::WrongHostKey(offered) => offered,
            Ended::Ssh(russh::Error::NoCommonAlgo {
                kind: russh::AlgorithmKind::Key,
                theirs,
                ..
            }) => format!("only keys of the types {}", theirs.join(", ")),
            Ended::Ssh(error @ russh::Error::NoCommonAlgo { .. }) => {
                return Failed::Final(Error::Refused {
                    host: self.target.host.clone(),
                    what: "a connection".into(),
                    detail: error.to_string(),
                });
            }
            Ended::Ssh(error) => return Failed::Passing(error.to_string()),
        };
        Failed::Final(Error::HostKeyMismatch {
            host: self.recorded_name.clone(),
            known_hosts: self.target.known_hosts.clone(),
            offered,
            recorded: self.pinned.fingerprints(),
        })
    }

    async fn log_in(&self, handle: &mut Handle<Client>, banner: &Banner) -> Result<(), Failed> {
        let key = match &self.login {
            Login::Key(key, path) => {
                let hash = match key.algorithm().is_rsa() {
                    true => best_rsa_hash(handle).await?,
                    false => None,
                };
                let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
                let outcome = handle.authenticate_publickey(&*self.target.user, key).await;
                match outcome.map_err(passing)? {
                    AuthResult::Success => return Ok(()),
                    AuthResult::Failure { .. } => format!("the key {}", path.display()),
                }
            }
            Login::Agent => match self.log_in_by_agent(handle).await? {
                None => return Ok(()),
                Some(tried) => format!("any of the {tried} keys of the SSH agent"),
            },
        };
        let banner = banner.text();
        // A guest that is still booting (pam_nologin) turns away even those whom it knows.
        if handle.is_closed() || banner.contains("booting up") {
            return Err(Failed::Passing(match banner.is_empty() {
                true => "the connection was closed during login".into(),
                false => banner,
            }));
        }
        Err(Failed::Final(Error::KeyRejected {
            host: host_and_port(&self.target.host, self.target.port),
            user: self.target.user.clone(),
            key,
            banner,
        }))
    }

    /// `None` if one of the agent's keys was accepted, otherwise how many were tried.
    async fn log_in_by_agent(&self, handle: &mut Handle<Client>) -> Result<Option<usize>, Failed> {
        let unusable = |detail: String| Failed::Final(Error::Agent { detail });
        let connecting = AgentClient::connect_env().await;
        let mut agent = connecting.map_err(|error| unusable(error.to_string()))?;
        let identities = agent.request_identities().await;
        let identities = identities.map_err(|error| unusable(error.to_string()))?;
        if identities.is_empty() {
            return Err(unusable("it holds no keys".into()));
        }
        let mut rsa_hash = None;
        let mut tried = 0;
        for identity in identities {
            let AgentIdentity::PublicKey { key, .. } = identity else {
                continue;
            };
            if tried == AGENT_KEYS || handle.is_closed() {
                break;
            }
            let hash = match (key.algorithm().is_rsa(), rsa_hash) {
                (false, _) => None,
                (true, Some(known)) => known,
                (true, None) => *rsa_hash.insert(best_rsa_hash(handle).await?),
            };
            tried += 1;
            let attempt =
                handle.authenticate_publickey_with(&*self.target.user, key, hash, &mut agent);
            match attempt.await {
                Ok(AuthResult::Success) => return Ok(None),
                Ok(AuthResult::Failure { .. }) => {}
                Err(error) => tracing::debug!(%error, "a key of the SSH agent did not sign"),
            }
        }
        Ok(Some(tried))
    }
}

async fn best_rsa_hash(handle: &Handle<Client>) -> Result<Option<HashAlg>, Failed> {
    match handle.best_supported_rsa_hash().await.map_err(passing)? {
        Some(best) => Ok(best),
        // Every server of the last ten years can do this one.
        None => Ok(Some(HashAlg::Sha256)),
    }
}

fn passing(error: russh::Error) -> Failed {
    Failed::Passing(error.to_string())
}
