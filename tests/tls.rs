//! The TLS endpoint: who is let in, who is not, and what happens when certificates change while it serves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use berth_provision::certs::{self, Authority, Pair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::Value;
use support::engine::{self, Engine, body};
use support::{World, eventually};

type Client = StreamOwned<ClientConnection, TcpStream>;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A machine whose engine is reached over TLS.
fn machine(world: &World, name: &str) -> Engine {
    world.create(&[name]).ok();
    let engine = engine::install(world, name);
    world.berth(&["start", name]).ok();
    world.berth(&["certs", "enable", name]).ok();
    engine
}

/// The port of a machine's endpoint.
fn port(world: &World, name: &str) -> u16 {
    let url = world.berth(&["url", "--tls", name]).ok().stdout;
    let (host, port) = url.trim().rsplit_once(':').unwrap();
    assert_eq!(host, "tcp://127.0.0.1");
    port.parse().unwrap()
}

/// The files that a client of the machine has.
fn files(world: &World, name: &str) -> PathBuf {
    world.file(name, "tls")
}

fn pair(folder: &Path) -> Pair {
    Pair {
        certificate: fs::read_to_string(folder.join("cert.pem")).unwrap(),
        key: fs::read_to_string(folder.join("key.pem")).unwrap(),
    }
}

/// A client that trusts the machine's CA and shows a certificate.
fn client_config(
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

fn client(
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
fn own(world: &World, name: &str) -> Client {
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

fn ping(mut client: Client) -> std::io::Result<String> {
    client.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")?;
    let mut reader = BufReader::new(client);
    reader.fill_buf()?;
    Ok(body(&mut reader))
}

/// Whether the machine's endpoint answers to somebody who shows `shown`.
fn lets_in(world: &World, name: &str, shown: Option<&Pair>) -> bool {
    let client = client(
        port(world, name),
        &files(world, name),
        shown,
        rustls::ALL_VERSIONS,
    );
    client.and_then(ping).is_ok_and(|answer| answer == "OK")
}

/// Berth's CA, as somebody has it who took its key.
fn authority(world: &World) -> Authority {
    let keys: Vec<PathBuf> = fs::read_dir(world.data().join("secrets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    Authority::load(&Pair {
        certificate: fs::read_to_string(world.data().join("ca/ca.pem")).unwrap(),
        key: fs::read_to_string(&keys[0]).unwrap(),
    })
    .unwrap()
}

fn serial(pem: &str) -> String {
    certs::read(pem.as_bytes()).unwrap()[0].serial.clone()
}

fn server_serial(world: &World, name: &str) -> String {
    serial(&fs::read_to_string(files(world, name).join("server.pem")).unwrap())
}

/// The number of the certificate that the endpoint shows.
fn served(world: &World, name: &str) -> String {
    let mut client = own(world, name);
    client.write_all(b"GET /_ping HTTP/1.1\r\n\r\n").unwrap();
    let shown = client.conn.peer_certificates().unwrap()[0].clone();
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &shown)
    );
    // In lines, as PEM is.
    let mut lines = String::new();
    for line in pem.lines() {
        for part in line.as_bytes().chunks(64) {
            lines.push_str(std::str::from_utf8(part).unwrap());
            lines.push('\n');
        }
    }
    serial(&lines)
}

#[test]
fn the_machines_own_client_is_served_by_both_versions_of_tls() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    assert_eq!(ping(own(&world, "m1")).unwrap(), "OK");
    let folder = files(&world, "m1");
    for version in rustls::ALL_VERSIONS {
        let shown = pair(&folder);
        let client = client(port(&world, "m1"), &folder, Some(&shown), &[version]);
        assert_eq!(ping(client.unwrap()).unwrap(), "OK", "{version:?}");
    }
    // Beside it, the unix socket is what it was.
    assert_eq!(engine::ping(&world, "m1"), "OK");
    let status = world.berth(&["status", "m1"]).ok().stdout;
    let url = format!("tls        tcp://127.0.0.1:{}", port(&world, "m1"));
    assert!(status.contains(&url), "{status}");
}

#[test]
fn whoever_has_no_certificate_of_this_machine_is_refused() {
    let world = World::new();
    let _engines = [machine(&world, "m1"), machine(&world, "m2")];
    let (mine, theirs) = (pair(&files(&world, "m1")), pair(&files(&world, "m2")));
    assert!(lets_in(&world, "m1", Some(&mine)));
    assert!(lets_in(&world, "m2", Some(&theirs)));
    assert!(!lets_in(&world, "m1", None), "nobody");
    assert!(!lets_in(&world, "m1", Some(&theirs)), "another machine's");
    assert!(!lets_in(&world, "m2", Some(&mine)), "another machine's");

    let now = SystemTime::now();
    let names = certs::read(mine.certificate.as_bytes()).unwrap()[0]
        .names
        .clone();
    let stranger = Authority::load(&Authority::make(now).unwrap()).unwrap();
    let forged = stranger.client(&names, None, now).unwrap();
    assert!(!lets_in(&world, "m1", Some(&forged)), "a stranger's");
    let ca = authority(&world);
    let server = ca.server(&names, None, now).unwrap();
    assert!(!lets_in(&world, "m1", Some(&server)), "a server's");
    let ended = ca.client(&names, None, now - DAY * 500).unwrap();
    assert!(!lets_in(&world, "m1", Some(&ended)), "one that ended");
    // The same names and the right CA are what it takes.
    let valid = ca.client(&names, None, now).unwrap();
    assert!(lets_in(&world, "m1", Some(&valid)));

    // Who does not speak TLS hears nothing of the engine.
    let mut plain = TcpStream::connect(("127.0.0.1", port(&world, "m1"))).unwrap();
    plain
        .write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(
        !String::from_utf8_lossy(&answer).contains("HTTP"),
        "{answer:?}"
    );
    assert!(lets_in(&world, "m1", Some(&mine)), "and it goes on");
}

#[test]
fn the_end_of_one_direction_is_not_the_end_of_the_other() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    let mut client = own(&world, "m1");
    client.write_all(b"POST /drain HTTP/1.1\r\n\r\n").unwrap();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    client.write_all(&bytes).unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(
        answer.ends_with(&format!("\r\n\r\n3000000 {sum}")),
        "{answer}"
    );
}

#[test]
fn a_hijacked_connection_carries_bytes_both_ways_until_both_ends_are_done() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    let mut client = own(&world, "m1");
    let upgrade = "POST /v1.50/upgrade HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    client.write_all(upgrade.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    for word in ["hello", "again", "and again"] {
        client.write_all(word.as_bytes()).unwrap();
        let mut answer = vec![0; word.len()];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, word.to_uppercase().as_bytes());
    }
    client.conn.send_close_notify();
    client.flush().unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "<end of input>");
}

#[test]
fn a_certificate_that_ends_soon_is_renewed_while_the_endpoint_serves() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    let ca = authority(&world);
    let folder = files(&world, "m1");
    // A client that is at work meanwhile.
    let mut at_work = own(&world, "m1");
    at_work.write_all(b"GET /_ping HTTP/1.1\r\n\r\n").unwrap();
    let before = own(&world, "m1");

    let names = |file: &str| {
        let pem = fs::read(folder.join(file)).unwrap();
        certs::read(&pem).unwrap()[0].names.clone()
    };
    let old = SystemTime::now() - DAY * 300;
    let key = pair(&folder).key;
    let server = ca.server(&names("server.pem"), None, old).unwrap();
    let client = ca.client(&names("cert.pem"), Some(&key), old).unwrap();
    let place = |name: &str, content: &str| {
        fs::write(world.path("draft"), content).unwrap();
        fs::rename(world.path("draft"), folder.join(name)).unwrap();
    };
    place("cert.pem", &client.certificate);
    place(
        "server.pem",
        &format!("{}{}", server.certificate, server.key),
    );
    let numbers = [serial(&server.certificate), serial(&client.certificate)];

    eventually("both are renewed", || {
        let client = fs::read_to_string(folder.join("cert.pem")).unwrap();
        server_serial(&world, "m1") != numbers[0] && serial(&client) != numbers[1]
    });
    assert_eq!(pair(&folder).key, key, "a key that was handed out stays");
    eventually("the new one is served", || {
        served(&world, "m1") == server_serial(&world, "m1")
    });
    assert!(lets_in(&world, "m1", Some(&client)), "until it ends");
    assert_eq!(body(&mut BufReader::new(at_work)), "OK");
    assert_eq!(ping(before).unwrap(), "OK");
    let pid = world.supervisor("m1")["pid"].clone();
    world.berth(&["start", "m1"]).ok();
    assert_eq!(world.supervisor("m1")["pid"], pid, "without a restart");
}

#[test]
fn a_new_ca_locks_nobody_out_unless_it_is_told_to() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    let old = pair(&files(&world, "m1"));
    world.berth(&["certs", "renew", "--ca"]).ok();
    assert_eq!(served(&world, "m1"), server_serial(&world, "m1"));
    let new = pair(&files(&world, "m1"));
    assert_ne!(new.key, old.key);
    assert!(lets_in(&world, "m1", Some(&new)));
    assert!(lets_in(&world, "m1", Some(&old)), "what the old CA signed");
    let rows: Value =
        serde_json::from_str(&world.berth(&["certs", "ls", "--json"]).ok().stdout).unwrap();
    let roles: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["ca", "old ca", "server", "client"]);
    assert_eq!(
        rows[2]["issuer"],
        format!("CN={}", rows[0]["subject"].as_str().unwrap())
    );

    // Someone has the old files: they end here, with the connections that they opened.
    let mut open = own(&world, "m1");
    open.write_all(b"GET /events HTTP/1.1\r\n\r\n").unwrap();
    open.read_exact(&mut [0; 15]).unwrap();
    world.berth(&["certs", "renew", "--ca", "--revoke"]).ok();
    assert!(!lets_in(&world, "m1", Some(&old)));
    assert!(!lets_in(&world, "m1", Some(&new)));
    let mut rest = Vec::new();
    assert!(open.read_to_end(&mut rest).is_err(), "it was cut off");
    assert!(lets_in(&world, "m1", Some(&pair(&files(&world, "m1")))));
    authority(&world);
}

#[test]
fn keys_are_their_users_alone() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in [
        files(&world, "m1"),
        world.data().join("secrets"),
        world.data().join("ca"),
    ] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
    let named = |folder: PathBuf| -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let all = ["ca.pem", "cert.pem", "key.pem", "server.pem"];
    assert_eq!(named(files(&world, "m1")), all);
}

#[test]
fn docker_speaks_tls_by_the_environment_and_by_its_context() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    for (shell, program) in [("bash", "bash"), ("sh", "dash")] {
        let script = format!(
            "set -eu; eval \"$({} env m1 --tls --shell {shell})\"; echo \"$DOCKER_HOST $DOCKER_TLS_VERIFY $DOCKER_CERT_PATH\"\n\
             docker version --format '{{{{.Server.Version}}}}'\n\
             eval \"$({} env -u --shell {shell})\"; echo \"${{DOCKER_TLS_VERIFY-none}} ${{DOCKER_CERT_PATH-none}}\"",
            support::BERTH,
            support::BERTH
        );
        let ran = world
            .finish(world.program(program).args(["-c", &script]))
            .ok();
        let first = format!(
            "tcp://127.0.0.1:{} 1 {}",
            port(&world, "m1"),
            files(&world, "m1").display()
        );
        assert_eq!(ran.lines(), [first.as_str(), "28.5.2", "none none"]);
    }

    // Docker's own context goes over TLS if that is asked for, and follows a renewal.
    world.berth(&["certs", "enable", "m1", "--context"]).ok();
    let version = ["-c", "m1", "version", "--format", "{{.Server.Version}}"];
    let docker = || world.finish(world.program("docker").args(version));
    assert_eq!(docker().ok().stdout, "28.5.2\n");
    let context = || {
        let ran = world
            .finish(world.program("docker").args(["context", "inspect", "m1"]))
            .ok();
        serde_json::from_str::<Value>(&ran.stdout).unwrap()[0].clone()
    };
    let found = context();
    assert_eq!(
        found["Endpoints"]["docker"]["Host"],
        format!("tcp://127.0.0.1:{}", port(&world, "m1"))
    );
    assert_eq!(found["Endpoints"]["docker"]["SkipTLSVerify"], false);
    assert_eq!(found["TLSMaterial"]["docker"].as_array().unwrap().len(), 3);
    world.berth(&["certs", "renew", "--ca", "--revoke"]).ok();
    assert_eq!(docker().ok().stdout, "28.5.2\n");

    world.berth(&["certs", "disable", "m1"]).ok();
    assert_eq!(docker().ok().stdout, "28.5.2\n");
    let host = context()["Endpoints"]["docker"]["Host"].clone();
    assert!(host.as_str().unwrap().starts_with("unix://"), "{host}");
    assert_eq!(context()["TLSMaterial"], serde_json::json!({}));
}

#[test]
fn an_endpoint_opens_and_closes_while_the_machine_runs_and_comes_back_with_it() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    let first = port(&world, "m1");
    let mut open = own(&world, "m1");
    open.write_all(b"GET /events HTTP/1.1\r\n\r\n").unwrap();
    open.read_exact(&mut [0; 15]).unwrap();
    world.berth(&["restart", "m1"]).ok();
    assert_eq!(port(&world, "m1"), first, "the port stays");
    eventually("it is back", || {
        lets_in(&world, "m1", Some(&pair(&files(&world, "m1"))))
    });

    world.berth(&["certs", "disable", "m1"]).ok();
    assert!(TcpStream::connect(("127.0.0.1", first)).is_err());
    assert!(!files(&world, "m1").exists());
    world
        .berth(&["url", "--tls", "m1"])
        .code(4)
        .says("berth certs enable m1");
    world.berth(&["env", "--tls", "m1"]).code(4);
    world.berth(&["certs", "renew", "m1"]).code(4);
    world.berth(&["certs", "disable", "m1"]).ok();

    // An address of the user's own, which somebody else has at first.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = world
        .berth(&["certs", "enable", "m1", "--address", &address])
        .code(1);
    assert!(refused.stderr.contains("is not to be had"), "{refused:?}");
    drop(taken);
    let url = world
        .berth(&["certs", "enable", "m1", "--address", &address])
        .ok()
        .stdout;
    assert_eq!(url.trim(), format!("tcp://{address}"));
    assert!(lets_in(&world, "m1", Some(&pair(&files(&world, "m1")))));
    assert_eq!(engine::ping(&world, "m1"), "OK");
}

#[test]
fn create_opens_an_endpoint_and_a_machine_without_an_engine_has_none() {
    let world = World::new();
    world.create(&["m1", "--tls"]).ok();
    let _engine = engine::install(&world, "m1");
    world.berth(&["start", "m1"]).ok();
    eventually("it listens", || {
        lets_in(&world, "m1", Some(&pair(&files(&world, "m1"))))
    });

    // Elsewhere and under another name, which the certificate then proves.
    let more = ["--address", "127.0.0.2", "--host", "Build.example.org"];
    let enable = [&["certs", "enable", "m1"], &more[..]].concat();
    let url = world.berth(&enable).ok().stdout;
    let port = url.trim().strip_prefix("tcp://build.example.org:").unwrap();
    let stream = TcpStream::connect(format!("127.0.0.2:{port}")).unwrap();
    let folder = files(&world, "m1");
    for name in ["build.example.org", "127.0.0.2", "m1"] {
        let config = client_config(&folder, Some(&pair(&folder)), rustls::ALL_VERSIONS);
        let name = ServerName::try_from(name).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(stream.peer_addr().unwrap()).unwrap();
        let answer = ping(StreamOwned::new(connection, stream));
        assert_eq!(answer.unwrap(), "OK");
    }

    world.create(&["m2"]).ok();
    world
        .berth(&["certs", "enable", "m2"])
        .code(4)
        .says("no container engine");
    world
        .berth(&["certs", "enable", "m1", "m2", "--address", "127.0.0.1:2376"])
        .code(2);
    world
        .berth(&["certs", "enable", "m1", "--address", "localhost"])
        .code(2);
    world
        .berth(&["certs", "enable", "m1", "--host", "a b"])
        .code(2);
    world.berth(&["certs", "renew", "--revoke", "m1"]).code(2);
}

#[test]
fn many_machines_at_once_share_one_ca() {
    let world = World::new();
    let names: Vec<String> = (0..8).map(|n| format!("m{n}")).collect();
    let mut children = Vec::new();
    for name in &names {
        let args = world.create_args(&[name, "--tls"]);
        children.push(world.background(&args.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    for child in children {
        world.wait(child).ok();
    }
    let ca = authority(&world);
    for name in &names {
        let pem = fs::read(files(&world, name).join("cert.pem")).unwrap();
        let found = certs::read(&pem).unwrap();
        assert_eq!(found[0].issuer, ca.certificate().subject);
    }
}
