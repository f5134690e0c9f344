//! The TLS endpoint of an engine: opened, closed and given new certificates as the machine's record and files say.

mod config;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::forward::Forwarder;
use super::status::{Board, TlsRow};
use crate::machine::tls::{Files, certificate, client_name, refresh, wish};
use crate::machine::{Berth, Opened};
use crate::store::Watch;

/// How often certificates are looked at when nothing changes. A timer to their date would stand still while the
/// computer sleeps.
const LOOK: Duration = Duration::from_secs(3600);

/// How long a client may take to show who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Clients that have not shown who they are, at once; the others wait in the listener's queue.
const STRANGERS: usize = 64;

/// Keeps the endpoint as it is wanted, for as long as it is polled.
pub async fn follow(berth: &Berth, opened: &Opened, forwarder: Forwarder, board: Arc<Board>) {
    let mut changes = match Watch::new() {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, "changes are noticed once an hour only");
            None
        }
    };
    let mut endpoint = None;
    loop {
        // Watched before it is read, so that no change falls between the two.
        let there = opened.folder.tls().exists();
        watch_folders(&mut changes, opened);
        let outcome = adapt(berth, &opened.record.name, &mut endpoint, &forwarder).await;
        if let Err(error) = &outcome {
            tracing::warn!(error, "the TLS endpoint");
        }
        board.tls(told(endpoint.as_ref(), outcome.err()));
        if !there && opened.folder.tls().exists() {
            // Its first certificates were made just now, and nobody watched.
            continue;
        }
        // A look that comes too often costs a few files read.
        let _ = tokio::time::timeout(LOOK, next_change(&mut changes)).await;
    }
}

fn told(endpoint: Option<&Endpoint>, error: Option<String>) -> Option<TlsRow> {
    if endpoint.is_none() && error.is_none() {
        return None;
    }
    Some(TlsRow {
        address: endpoint.map(|endpoint| endpoint.address),
        serial: endpoint.and_then(|endpoint| endpoint.serial.clone()),
        error,
    })
}

fn watch_folders(changes: &mut Option<Watch>, opened: &Opened) {
    let Some(watch) = changes else {
        return;
    };
    let tls = opened.folder.tls();
    for folder in [opened.folder.path(), &tls] {
        // A machine without TLS has no such folder.
        if let Err(error) = watch.folder(folder)
            && folder.exists()
        {
            tracing::warn!(%error, "not watched");
        }
    }
}

/// Returns when the record or a certificate was written.
async fn next_change(changes: &mut Option<Watch>) {
    let Some(watch) = changes else {
        return std::future::pending().await;
    };
    loop {
        let name = watch.next().await;
        let name = name.to_string_lossy();
        if name.is_empty() || name == "machine.toml" || name.ends_with(".pem") {
            return;
        }
    }
}

/// Opens, closes or renews the endpoint as the record says now.
async fn adapt(
    berth: &Berth,
    name: &str,
    endpoint: &mut Option<Endpoint>,
    forwarder: &Forwarder,
) -> Result<(), String> {
    let record = berth.record(name).map_err(|error| error.to_string())?;
    // An engine that ends TLS itself needs nobody to do it here.
    let wished = wish(&record).ok().filter(|wish| !wish.by_engine);
    let Some(wish) = wished else {
        close(endpoint).await;
        return Ok(());
    };
    // Certificates that cannot be renewed are served until they end.
    let renewed = refresh(berth, &record).await;
    let files = Files::read(&berth.home.machine(name)).map_err(|error| error.to_string())?;
    let Some(files) = files else {
        return Err(match renewed {
            Err(error) => error.to_string(),
            Ok(_) => "its certificates are gone".into(),
        });
    };
    let config = Arc::new(config::server(&files, client_name(record.id))?);
    let kept = endpoint
        .as_ref()
        .is_some_and(|open| open.address == wish.listen && open.still_trusts(&files.ca));
    if !kept {
        // The old address is given up before the new one is taken: they may overlap.
        close(endpoint).await;
        let opened = Endpoint::open(wish.listen, config.clone(), forwarder.clone()).await;
        let opened = opened.map_err(|error| format!("{} is not to be had: {error}", wish.listen));
        *endpoint = Some(opened?);
    }
    if let Some(open) = endpoint {
        open.serial = certificate(&files.server).map(|found| found.serial);
        open.ca = files.ca;
        open.config.send_replace(config);
    }
    renewed.map(drop).map_err(|error| error.to_string())
}

/// Closes the endpoint and ends its connections; its address is free then.
async fn close(endpoint: &mut Option<Endpoint>) {
    if let Some(mut open) = endpoint.take() {
        open.task.abort();
        // That it was aborted is no news.
        let _ = (&mut open.task).await;
    }
}

/// An endpoint that listens; dropping it closes it a moment later.
struct Endpoint {
    address: SocketAddr,
    /// The certificates that clients' ones are traced to.
    ca: String,
    /// The number of its own.
    serial: Option<String>,
    config: watch::Sender<Arc<ServerConfig>>,
    task: JoinHandle<()>,
}

impl Endpoint {
    async fn open(
        address: SocketAddr,
        config: Arc<ServerConfig>,
        forwarder: Forwarder,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (config, receiver) = watch::channel(config);
        let task = tokio::spawn(serve(listener, receiver, forwarder));
        tracing::info!(%address, "the TLS endpoint listens");
        Ok(Endpoint {
            address,
            ca: String::new(),
            serial: None,
            config,
            task,
        })
    }

    /// True if no CA that let a client in was taken away: such clients' connections end.
    fn still_trusts(&self, ca: &str) -> bool {
        let mut before = self.ca.split_inclusive("-----END CERTIFICATE-----");
        before.all(|certificate| ca.contains(certificate.trim()))
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    forwarder: Forwarder,
) {
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    let mut clients = JoinSet::new();
    loop {
        let Ok(permit) = strangers.clone().acquire_owned().await else {
            return;
        };
        while clients.try_join_next().is_some() {}
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                // Out of file descriptors: the connections that are open give some back.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let acceptor = TlsAcceptor::from(config.borrow().clone());
        let forwarder = forwarder.clone();
        clients.spawn(async move {
            let known = let_in(acceptor, client).await;
            drop(permit);
            let outcome = match known {
                Ok(client) => forwarder.forward(client).await,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, "a TLS connection ended");
            }
        });
    }
}

async fn let_in(
    acceptor: TlsAcceptor,
    client: TcpStream,
) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    client.set_nodelay(true)?;
    tokio::time::timeout(HANDSHAKE, acceptor.accept(client))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
