//! A client of an endpoint.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_provision::certs::Pair;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::support::World;
use crate::support::engine::body;
use crate::{files, pair, port};

pub type Client = StreamOwned<ClientConnection, TcpStream>;

/// A client that trusts the machine's CA and shows a certificate.
pub fn client_config(
    ca: &Path,
    shown: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca.join("ca.pem")).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match shown {
        None => config.with_no_client_auth(),
        Some(pair) => {
            let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
            let chain = chain.map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

pub fn client(
    port: u16,
    ca: &Path,
    shown: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<Client> {
    let config = client_config(ca, shown, versions);
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(StreamOwned::new(connection, stream))
}

/// The machine's own client.
pub fn own(world: &World, name: &str) -> Client {
    let folder = files(world, name);
    let shown = pair(&folder);
    client(
        port(world, name),
        &folder,
        Some(&shown),
        rustls::ALL_VERSIONS,
    )
    .unwrap()
}

pub fn ping(mut client: Client) -> std::io::Result<String> {
    client.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")?;
    let mut reader = BufReader::new(client);
    reader.fill_buf()?;
    Ok(body(&mut reader))
}

/// Whether the machine's endpoint answers to somebody who shows `shown`.
pub fn lets_in(world: &World, name: &str, shown: Option<&Pair>) -> bool {
    let client = client(
        port(world, name),
        &files(world, name),
        shown,
        rustls::ALL_VERSIONS,
    );
    client.and_then(ping).is_ok_and(|answer| answer == "OK")
}
