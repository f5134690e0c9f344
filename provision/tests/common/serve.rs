//! A folder of files on this computer's loopback.

#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Serves a folder's files to whoever asks on loopback.
pub fn serve(folder: PathBuf) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let closed = Arc::new(AtomicBool::new(false));
    let is_closed = closed.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if is_closed.load(Ordering::Relaxed) {
                return;
            }
            let folder = folder.clone();
            std::thread::spawn(move || stream.map(|stream| answer(stream, &folder)));
        }
    });
    (port, closed)
}

/// Answers one request. Whoever hangs up early is not missed.
fn answer(mut stream: TcpStream, folder: &Path) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(request)) = lines.next() else {
        return;
    };
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    let path = request.split(' ').nth(1).unwrap_or("/");
    let path = path.replace("%7e", "~").replace("%3a", ":");
    let found = fs::read(folder.join(path.trim_start_matches('/')));
    let (status, body) = match found {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
}
