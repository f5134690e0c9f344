//! A small HTTP server on loopback, which serves what a test says, well or badly.

#![allow(dead_code, reason = "every test program uses its own part")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// By lower-case name.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

/// What is answered: a head as it goes over the line, and a body in pieces.
pub struct Answer {
    head: String,
    body: Box<dyn Iterator<Item = Vec<u8>> + Send>,
}

/// Answers until the test ends.
pub struct Server {
    address: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn new(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), seen.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log) = (answer.clone(), log.clone());
                thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    log.lock().unwrap().push(request.clone());
                    send(stream, answer(&request));
                });
            }
        });
        Server { address, seen }
    }

    /// `http://127.0.0.1:PORT`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The requests for `path` so far.
    pub fn asked_for(&self, path: &str) -> Vec<Request> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|request| request.path == path)
            .cloned()
            .collect()
    }
}

impl Answer {
    /// A file as web servers send it: all of it, or what a `Range` wants if it is still the same.
    pub fn file(request: &Request, bytes: &[u8]) -> Answer {
        let tag = format!("\"{}\"", &sha256(bytes)[..16]);
        let from = request.headers.get("range").and_then(|range| {
            let same = request
                .headers
                .get("if-range")
                .is_none_or(|wanted| *wanted == tag);
            let begin: usize = range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()?;
            same.then_some(begin)
        });
        let total = bytes.len();
        if from.is_some_and(|begin| begin >= total) {
            return Answer {
                head: format!("416 Status\r\nContent-Length: 0\r\nContent-Range: bytes */{total}"),
                body: Box::new(std::iter::empty()),
            };
        }
        let head = match from {
            None => format!("200 OK\r\nContent-Length: {total}"),
            Some(begin) => format!(
                "206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {begin}-{}/{total}",
                total - begin,
                total - 1
            ),
        };
        let rest = bytes[from.unwrap_or(0)..].to_vec();
        Answer {
            head: format!("{head}\r\nETag: {tag}"),
            body: Box::new(
                rest.chunks(1 << 16)
                    .map(<[u8]>::to_vec)
                    .collect::<Vec<_>>()
                    .into_iter(),
            ),
        }
    }

    pub fn text(text: &str) -> Answer {
        Answer {
            head: format!("200 OK\r\nContent-Length: {}", text.len()),
            body: Box::new(std::iter::once(text.as_bytes().to_vec())),
        }
    }

    pub fn bytes(bytes: &[u8]) -> Answer {
        Answer {
            head: format!("200 OK\r\nContent-Length: {}", bytes.len()),
            body: Box::new(std::iter::once(bytes.to_vec())),
        }
    }

    pub fn status(code: u16) -> Answer {
        Answer {
            head: format!("{code} Status\r\nContent-Length: 0"),
            body: Box::new(std::iter::empty()),
        }
    }

    /// With another line of its head.
    pub fn with(self, header: &str) -> Answer {
        Answer {
            head: format!("{}\r\n{header}", self.head),
            body: self.body,
        }
    }

    pub fn redirect(to: &str) -> Answer {
        Answer {
            head: format!("302 Found\r\nLocation: {to}\r\nContent-Length: 0"),
            body: Box::new(std::iter::empty()),
        }
    }

    /// A body that never ends, of a length that is not told.
    pub fn endless() -> Answer {
        Answer {
            head: "200 OK".into(),
            body: Box::new(std::iter::repeat_with(|| vec![b'x'; 1 << 16])),
        }
    }

    /// What is said to be the rest of a file from `begin` on, and never ends.
    pub fn endless_rest(begin: usize, total: usize) -> Answer {
        let range = format!("bytes {begin}-{}/{total}", total - 1);
        Answer {
            head: format!("206 Partial Content\r\nContent-Range: {range}"),
            body: Answer::endless().body,
        }
    }

    /// The first piece comes late.
    pub fn after(self, pause: Duration) -> Answer {
        let mut pause = Some(pause);
        Answer {
            head: self.head,
            body: Box::new(self.body.inspect(move |_| {
                if let Some(pause) = pause.take() {
                    thread::sleep(pause);
                }
            })),
        }
    }

    /// After so many bytes nothing more comes for a long time.
    pub fn slowly_after(self, count: usize) -> Answer {
        let mut sent = 0;
        Answer {
            head: self.head,
            body: Box::new(self.body.inspect(move |piece| {
                if sent > count {
                    thread::sleep(Duration::from_secs(20));
                }
                sent += piece.len();
            })),
        }
    }

    /// The connection breaks after so many bytes of the body.
    pub fn cut_after(self, count: usize) -> Answer {
        let mut left = count;
        Answer {
            head: self.head,
            body: Box::new(self.body.map_while(move |piece| {
                let piece = piece[..piece.len().min(left)].to_vec();
                left -= piece.len();
                (!piece.is_empty()).then_some(piece)
            })),
        }
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut lines = reader.by_ref().lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    for line in lines {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length");
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        path,
        headers,
        body,
    })
}

fn send(mut stream: TcpStream, answer: Answer) {
    let head = format!("HTTP/1.1 {}\r\nConnection: close\r\n\r\n", answer.head);
    if stream.write_all(head.as_bytes()).is_err() {
        return;
    }
    for piece in answer.body {
        if stream.write_all(&piece).is_err() {
            return;
        }
    }
}

/// By the program that distributors use.
pub fn sha256(bytes: &[u8]) -> String {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}
