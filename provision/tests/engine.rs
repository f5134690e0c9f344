//! The engine's API, spoken to a stand-in for an engine: what is asked, and what is borne.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_provision::Error;
use berth_provision::engine::Engine;
use common::Sshd;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

const VERSION: &str = r#"{"Version":"20.10.24+dfsg1","ApiVersion":"1.41","Extra":{"x":1}}"#;
const PONG: &str = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\
                    Server: Docker/20.10.24+dfsg1 (linux)\r\n\r\nOK";
const CONTAINERS: &str = r#"[
  {"Id":"1","Names":["/web"],"Ports":[
    {"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
    {"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
    {"PrivatePort":443,"Type":"tcp"},
    {"IP":"127.0.0.1","PrivatePort":53,"PublicPort":5353,"Type":"udp"}]},
  {"Id":"2","Names":["/quiet"],"Ports":[]}
]"#;

/// Answers requests by their path, and remembers them.
fn stand_in(path: &Path) -> Arc<Mutex<Vec<String>>> {
    let listener = UnixListener::bind(path).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let remembered = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, remembered.clone()));
        }
    });
    asked
}

async fn answer(mut stream: UnixStream, asked: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    asked.lock().unwrap().push(path.clone());
    let fixed = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let written = match path.split('?').next().unwrap() {
        "/_ping" => stream.write_all(PONG.as_bytes()).await,
        path if path.ends_with("/version") => stream.write_all(fixed(VERSION).as_bytes()).await,
        path if path.ends_with("/containers/json") => {
            stream.write_all(fixed(CONTAINERS).as_bytes()).await
        }
        path if path.ends_with("/events") => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await
                .unwrap();
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                stream.write_all(b"3\r\n{}\n\r\n").await.unwrap();
            }
            stream.write_all(b"0\r\n\r\n").await
        }
        other => panic!("{other}"),
    };
    written.unwrap();
}

async fn all_is_understood(engine: &Engine) {
    let version = engine.version().await.unwrap();
    assert_eq!(
        (version.engine.as_str(), version.api.as_str()),
        ("20.10.24+dfsg1", "1.41")
    );
    let published = engine.published().await.unwrap();
    let published: Vec<_> = published
        .iter()
        .map(|port| {
            let name = port.container.as_str();
            (
                name,
                port.host_ip.to_string(),
                port.host_port,
                port.container_port,
                port.protocol,
            )
        })
        .collect();
    assert_eq!(
        published,
        [
            ("web", "0.0.0.0".to_owned(), 8080, 80, "tcp"),
            ("web", "127.0.0.1".to_owned(), 5353, 53, "udp"),
            ("web", "::".to_owned(), 8080, 80, "tcp"),
        ]
    );
    let events = engine.events().await.unwrap();
    assert_eq!(events.count().await, 3);
}

#[tokio::test]
async fn over_a_socket_of_this_computer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    let asked = stand_in(&path);
    all_is_understood(&Engine::over_unix(&path).unwrap()).await;
    let asked = asked.lock().unwrap();
    assert!(
        asked
            .iter()
            .any(|path| path.contains("/events?filters=%7B%22type")),
        "{asked:?}"
    );
    // What costs an engine the start of other programs is asked of none that tells its version anyway.
    assert!(
        !asked.iter().any(|path| path.ends_with("/version")),
        "{asked:?}"
    );
    // An older engine refuses a newer version in the path.
    assert!(
        !asked.iter().any(|path| path.starts_with("/v1.53/")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn over_ssh() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let path = sshd.path("engine.sock");
    stand_in(&path);
    all_is_understood(&Engine::over_ssh(&session, path.to_str().unwrap()).unwrap()).await;
    let nobody = Engine::over_ssh(&session, "/nowhere.sock").unwrap();
    let error = nobody.version().await.unwrap_err();
    assert!(
        error.to_string().contains("nothing answers there"),
        "{error}"
    );
}

/// A proxy before the engine may leave its head off.
#[tokio::test]
async fn an_engine_whose_answers_do_not_tell_its_version_is_asked_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        for body in ["OK", VERSION] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let version = Engine::over_unix(&path).unwrap().version().await.unwrap();
    assert_eq!(version.engine, "20.10.24+dfsg1");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[";
                stream.write_all(head).await.unwrap();
                let noise = vec![b' '; 65536];
                while stream.write_all(&noise).await.is_ok() {}
            });
        }
    });
    let engine = Engine::over_unix(&path).unwrap();
    let error = engine.published().await.unwrap_err();
    assert!(matches!(error, Error::Engine { .. }), "{error}");
}
