//! Containers' published ports, on this computer's loopback for as long as the containers run.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use berth_provision::engine::{Engine, Published};
use berth_provision::ssh::Session;
use futures_util::StreamExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::link::Link;
use super::status::{Board, PortRow};

/// Docker 20.10 tells of a container's end before its list shows it, and of nothing after that: the list is looked at
/// again this much after the last event.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// One forward: where it listens here and where it leads there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    here: SocketAddr,
    there: u16,
    /// Where the container itself is, for engines that publish nothing where the kernel cannot translate addresses.
    container: Option<SocketAddr>,
    protocol: &'static str,
}

/// A forward that listens; dropping it closes the port.
struct Forward(AbortHandle);

impl Drop for Forward {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Follows the engine's events and keeps the forwards as the containers are, for as long as it is polled.
pub async fn follow(mut link: Link, socket: String, board: Arc<Board>) {
    let mut forwards: BTreeMap<Key, Forward> = BTreeMap::new();
    while let Some(session) = link.session().await {
        let mut lost = link.clone();
        tokio::select! {
            () = lost.lost() => {}
            result = watch(&session, &socket, &link, &mut forwards, &board) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "the engine's events ended");
                }
                // The engine restarts, or is not there yet: nothing tells when it is.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn watch(
    session: &Session,
    socket: &str,
    link: &Link,
    forwards: &mut BTreeMap<Key, Forward>,
    board: &Board,
) -> Result<(), berth_provision::Error> {
    let engine = Engine::over_ssh(session, socket)?;
    // Subscribed before the first look, so that no change falls between the two.
    let mut events = engine.events().await?;
    let mut again: &[Duration] = &[];
    loop {
        let wanted = engine.published().await?;
        board.ports(apply(&wanted, link, forwards).await);
        let event = match again.split_first() {
            None => events.next().await,
            Some((wait, later)) => match tokio::time::timeout(*wait, events.next()).await {
                Ok(event) => event,
                Err(_) => {
                    again = later;
                    continue;
                }
            },
        };
        if event.is_none() {
            return Ok(());
        }
        again = &AGAIN;
    }
}

/// Opens what is new, closes what is gone, and tells how each port fares.
async fn apply(
    wanted: &[Published],
    link: &Link,
    forwards: &mut BTreeMap<Key, Forward>,
) -> BTreeMap<Key, PortRow> {
    let wanted: BTreeMap<Key, &Published> = wanted.iter().map(|port| (key(port), port)).collect();
    forwards.retain(|key, _| wanted.contains_key(key));
    let mut rows = BTreeMap::new();
    for (key, port) in wanted {
        let error = if port.protocol != "tcp" {
            Some(format!("{} is not forwarded", port.protocol))
        } else if forwards.contains_key(&key) {
            None
        } else {
            match TcpListener::bind(key.here).await {
                Ok(listener) => {
                    let task = tokio::spawn(serve(listener, link.clone(), key.clone()));
                    forwards.insert(key.clone(), Forward(task.abort_handle()));
                    None
                }
                Err(error) => Some(format!("{} is taken: {error}", key.here)),
            }
        };
        if let Some(error) = &error {
            tracing::warn!(port = %key.here, error, "a published port is not forwarded");
        }
        let row = PortRow {
            host: key.here.to_string(),
            guest_port: key.there,
            protocol: port.protocol.to_owned(),
            container: port.container.clone(),
            error,
        };
        rows.insert(key, row);
    }
    rows
}

/// Whatever address a container is published on inside the machine, here it is on loopback only.
fn key(port: &Published) -> Key {
    let here = match port.host_ip {
        // The same port is published for both families; IPv4's loopback stands for both.
        IpAddr::V6(v6) if v6 == Ipv6Addr::LOCALHOST => IpAddr::V6(v6),
        _ => Ipv4Addr::LOCALHOST.into(),
    };
    Key {
        here: SocketAddr::new(here, port.host_port),
        there: port.host_port,
        container: port
            .address
            .map(|address| SocketAddr::new(address, port.container_port)),
        protocol: port.protocol,
    }
}

async fn serve(listener: TcpListener, link: Link, key: Key) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let (link, key) = (link.clone(), key.clone());
                tokio::spawn(async move {
                    if let Err(error) = forward(client, link, &key).await {
                        tracing::debug!(port = key.there, %error, "a forwarded connection ended");
                    }
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn forward(
    mut client: TcpStream,
    mut link: Link,
    key: &Key,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    client.set_nodelay(true)?;
    let session = link.session().await.ok_or("the machine is gone")?;
    let mut inside = match (
        session.open_tcp("127.0.0.1", key.there).await,
        key.container,
    ) {
        (Err(_), Some(container)) => {
            let host = container.ip().to_string();
            session.open_tcp(&host, container.port()).await?
        }
        (opened, _) => opened?,
    };
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut inside, 16 << 10, 16 << 10).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(ip: &str) -> Published {
        Published {
            container: "web".into(),
            host_ip: ip.parse().unwrap(),
            host_port: 8080,
            container_port: 80,
            address: None,
            protocol: "tcp",
        }
    }

    #[test]
    fn a_published_port_never_leaves_loopback() {
        for ip in ["0.0.0.0", "::", "127.0.0.1", "192.168.7.7", "::1"] {
            assert!(key(&published(ip)).here.ip().is_loopback(), "{ip}");
        }
        assert_eq!(key(&published("0.0.0.0")), key(&published("::")));
    }
}
