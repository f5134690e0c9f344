//! Making a swarm, joining one, leaving one.

use std::time::Duration;

use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::Role;
use crate::Result;
use crate::engine::Engine;

/// Where managers listen, on every address: their own protocol, by mutual TLS with certificates of the swarm's.
const PORT: u16 = 2377;

/// How long a node may take to join: its certificate is made, and managers agree on it. The engine itself gives up
/// after twenty seconds and goes on in the background.
const JOINING: Duration = Duration::from_secs(120);

/// What lets a node into a swarm. It is shown to nobody.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// The two tokens of a swarm.
#[derive(Clone, Debug)]
pub struct Tokens {
    manager: Token,
    worker: Token,
}

impl Tokens {
    /// What lets a node in as this.
    pub fn of(&self, role: Role) -> &Token {
        match role {
            Role::Manager => &self.manager,
            Role::Worker => &self.worker,
        }
    }
}

/// Makes a swarm of which the engine is the only node; the others will reach it at `address`. Returns its node's id.
///
/// # Errors
/// [`crate::Error::Engine`] if it refuses, as one that is in a swarm does.
pub async fn init(engine: &Engine, address: &str) -> Result<String> {
    let wish = json!({
        "ListenAddr": format!("0.0.0.0:{PORT}"),
        "AdvertiseAddr": address,
    });
    engine.post("/swarm/init", &wish).await
}

/// A manager's tokens.
///
/// # Errors
/// [`crate::Error::Engine`] if it is no manager.
pub async fn tokens(manager: &Engine) -> Result<Tokens> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Swarm {
        join_tokens: Pair,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Pair {
        manager: String,
        worker: String,
    }
    let swarm: Swarm = manager.get("/swarm").await?;
    Ok(Tokens {
        manager: Token(swarm.join_tokens.manager),
        worker: Token(swarm.join_tokens.worker),
    })
}

/// Has an engine join the swarm whose managers are at `managers`; the others will reach it at `address`.
///
/// # Errors
/// [`crate::Error::Engine`] if it refuses, or cannot reach them.
pub async fn join(
    engine: &Engine,
    address: &str,
    managers: &[String],
    token: &Token,
) -> Result<()> {
    let managers: Vec<String> = managers
        .iter()
        .map(|address| match address.contains(':') {
            true => format!("[{address}]:{PORT}"),
            false => format!("{address}:{PORT}"),
        })
        .collect();
    let wish = json!({
        "ListenAddr": format!("0.0.0.0:{PORT}"),
        "AdvertiseAddr": address,
        "RemoteAddrs": managers,
        "JoinToken": token.0,
    });
    engine
        .order(Method::POST, "/swarm/join", Some(&wish), JOINING)
        .await
}

/// Has an engine leave its swarm; its containers of the swarm's end. A manager needs `force`, and should have been
/// demoted before.
///
/// # Errors
/// [`crate::Error::Engine`] if it refuses.
pub async fn leave(engine: &Engine, force: bool) -> Result<()> {
    let path = format!("/swarm/leave?force={force}");
    engine
        .order(Method::POST, &path, None::<&()>, JOINING)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_shown() {
        let token = Token("SWMTKN-1-secret".into());
        let tokens = Tokens {
            manager: token.clone(),
            worker: token,
        };
        assert!(!format!("{tokens:?}").contains("SWMTKN"));
    }
}
