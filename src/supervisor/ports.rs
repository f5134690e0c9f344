//! Containers' published ports, on this computer's loopback for as long as the containers run.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_provision::engine::{Engine, Published};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::AbortHandle;

use super::channel::Channels;
use super::link::Link;
use super::status::{Board, PortRow};
use super::udp::Relay;
use crate::channel::{self, Place};

/// Docker 20.10 tells of a container's end before its list shows it, and of nothing after that: the list is looked at
/// again this much after the last event.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// How long what carries datagrams waits for the connection that it goes through.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// What connections into the machine go by.
#[derive(Clone)]
struct Ways {
    link: Link,
    channels: Channels,
}

impl Ways {
    /// A stream to the port, if there is a channel and somebody listens there.
    async fn past_ssh(&self, key: &Key) -> Option<channel::Stream> {
        let channel = self.channels.now()?;
        let published = SocketAddrV4::new(Ipv4Addr::LOCALHOST, key.there);
        let mut places = [Some(published), None];
        if let Some(SocketAddr::V4(container)) = key.container {
            places[1] = Some(container);
        }
        for place in places.into_iter().flatten() {
            if let Ok(stream) = channel.connect(Place::Tcp(place)).await {
                return Some(stream);
            }
        }
        None
    }
}

/// The forwards, as the containers were when they were last looked at.
struct Forwards {
    ways: Ways,
    open: BTreeMap<Key, Forward>,
    /// What carries datagrams through the connection that stands, if any are.
    relay: Option<Arc<Relay>>,
}

/// Follows the engine's events, at its `socket` on this computer, and keeps the forwards as the containers are, for as
/// long as it is polled.
pub async fn follow(socket: &Path, link: Link, channels: Channels, board: Arc<Board>) {
    let mut forwards = Forwards {
        ways: Ways { link, channels },
        open: BTreeMap::new(),
        relay: None,
    };
    loop {
        if let Err(error) = watch(socket, &mut forwards, &board).await {
            tracing::debug!(%error, "the engine's events ended");
        }
        // The engine restarts, or is not there yet: nothing tells when it is.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn watch(
    socket: &Path,
    forwards: &mut Forwards,
    board: &Board,
) -> Result<(), berth_provision::Error> {
    let engine = Engine::over_unix(socket)?;
    // Subscribed before the first look, so that no change falls between the two.
    let mut events = engine.events().await?;
    let mut again: &[Duration] = &[];
    loop {
        let wanted = engine.published().await?;
        board.ports(forwards.become_those(&wanted).await);
        let event = tokio::select! {
            event = next(&mut events, again) => event,
            () = forwards.datagrams_end() => {
                forwards.forget_datagrams();
                Next::Again
            }
        };
        match event {
            Next::Event => again = &AGAIN,
            Next::Again => again = again.get(1..).unwrap_or_default(),
            Next::End => return Ok(()),
        }
    }
}

enum Next {
    Event,
    /// The time has come to look again.
    Again,
    End,
}

/// Waits for an event, for the first of `again` at most.
async fn next<T>(events: &mut (impl Stream<Item = T> + Unpin), again: &[Duration]) -> Next {
    let event = match again.first() {
        None => events.next().await,
        Some(wait) => match tokio::time::timeout(*wait, events.next()).await {
            Ok(event) => event,
            Err(_) => return Next::Again,
        },
    };
    match event {
        Some(_) => Next::Event,
        None => Next::End,
    }
}

impl Forwards {
    /// Opens what is new, closes what is gone, and tells how each port fares.
    async fn become_those(&mut self, wanted: &[Published]) -> BTreeMap<Key, PortRow> {
        let wanted: BTreeMap<Key, &Published> =
            wanted.iter().map(|port| (key(port), port)).collect();
        self.open.retain(|key, _| wanted.contains_key(key));
        let mut rows = BTreeMap::new();
        for (key, port) in wanted {
            let error = match self.open.contains_key(&key) {
                true => None,
                false => self.open(&key, port).await.err(),
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
        if !self.open.keys().any(|key| key.protocol == "udp") {
            self.relay = None;
        }
        rows
    }

    async fn open(&mut self, key: &Key, port: &Published) -> Result<(), String> {
        let taken = |error: io::Error| format!("{} is taken: {error}", key.here);
        let task = match key.protocol {
            "tcp" => {
                let listener = TcpListener::bind(key.here).await.map_err(taken)?;
                tokio::spawn(serve(listener, self.ways.clone(), key.clone()))
            }
            "udp" => {
                let there = datagrams_go_to(port)?;
                let socket = UdpSocket::bind(key.here).await.map_err(taken)?;
                let relay = match &self.relay {
                    Some(relay) => relay.clone(),
                    None => {
                        let session = tokio::time::timeout(PATIENCE, self.ways.link.session());
                        let session = session.await.ok().flatten().ok_or("no connection")?;
                        let relay = Arc::new(Relay::open(&session).await?);
                        self.relay.insert(relay).clone()
                    }
                };
                tokio::spawn(async move { relay.serve(socket, there).await })
            }
            other => return Err(format!("{other} is not forwarded")),
        };
        let forward = Forward(task.abort_handle());
        self.open.insert(key.clone(), forward);
        Ok(())
    }

    /// Returns when what carries datagrams has ended; never if nothing does.
    async fn datagrams_end(&self) {
        match &self.relay {
            Some(relay) => relay.ended().await,
            None => std::future::pending().await,
        }
        // One that ends at once, every time, must keep nobody busy.
        tokio::time::sleep(AGAIN[0]).await;
    }

    /// Closes the ports of datagrams, which go through one connection; those of streams ask for the one that stands.
    fn forget_datagrams(&mut self) {
        self.open.retain(|key, _| key.protocol != "udp");
        self.relay = None;
    }
}

/// Datagrams come back from nowhere if nobody takes them, so they go where the engine says that it listens.
fn datagrams_go_to(port: &Published) -> Result<SocketAddrV4, String> {
    let address = match port.host_ip {
        IpAddr::V4(address) if !address.is_unspecified() => address,
        IpAddr::V6(address) if !address.is_unspecified() => {
            return Err(format!("udp on {address} alone is not forwarded"));
        }
        _ => Ipv4Addr::LOCALHOST,
    };
    Ok(SocketAddrV4::new(address, port.host_port))
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

async fn serve(listener: TcpListener, ways: Ways, key: Key) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let (ways, key) = (ways.clone(), key.clone());
                tokio::spawn(async move {
                    if let Err(error) = forward(client, ways, &key).await {
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
    mut ways: Ways,
    key: &Key,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    client.set_nodelay(true)?;
    if let Some(mut inside) = ways.past_ssh(key).await {
        return copy(&mut client, &mut inside).await;
    }
    let session = ways.link.session().await.ok_or("the machine is gone")?;
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
    copy(&mut client, &mut inside).await
}

async fn copy(
    client: &mut TcpStream,
    inside: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tokio::io::copy_bidirectional_with_sizes(client, inside, 16 << 10, 16 << 10).await?;
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

    #[test]
    fn datagrams_go_where_the_engine_listens() {
        let to = |ip| datagrams_go_to(&published(ip)).map(|to| to.to_string());
        assert_eq!(to("0.0.0.0").unwrap(), "127.0.0.1:8080");
        assert_eq!(to("::").unwrap(), "127.0.0.1:8080");
        assert_eq!(to("10.0.2.15").unwrap(), "10.0.2.15:8080");
        assert_eq!(to("::1").unwrap_err(), "udp on ::1 alone is not forwarded");
    }
}
