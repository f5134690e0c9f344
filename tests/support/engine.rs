//! A small engine: enough of Docker's API on a unix socket to test what lies between a client and it.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use super::World;

/// Dropping it closes its socket; connections that are open end by themselves.
pub struct Engine {
    path: PathBuf,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// What `/containers/json` answers.
    containers: Mutex<String>,
    /// How often they changed; `/events` tells of each.
    changes: Mutex<u64>,
    changed: Condvar,
    /// What other paths answer; without words nothing ever.
    answers: Mutex<HashMap<String, String>>,
}

impl Engine {
    pub fn start(path: &Path) -> Engine {
        let _ = fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let state = Arc::new(State {
            containers: Mutex::new("[]".into()),
            ..State::default()
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Engine {
            path: path.to_owned(),
            state,
        }
    }

    /// What a path without its query answers from now on, before anything else. Without words it never answers.
    pub fn answers(&self, path: &str, body: &str) {
        let mut answers = self.state.answers.lock().unwrap();
        answers.insert(path.to_owned(), body.to_owned());
    }

    /// Says that a container `name` publishes `port` on the guest's `ip`, or that none runs.
    pub fn publish(&self, container: Option<(&str, &str, u16)>) {
        match container {
            Some((name, ip, port)) => self.publish_as("tcp", name, ip, port),
            None => self.containers("[]".into()),
        }
    }

    /// The same with a protocol.
    pub fn publish_as(&self, protocol: &str, name: &str, ip: &str, port: u16) {
        self.containers(format!(
            r#"[{{"Id":"c1","Names":["/{name}"],"Ports":[{{"IP":"{ip}","PrivatePort":80,"PublicPort":{port},"Type":"{protocol}"}}]}}]"#
        ));
    }

    fn containers(&self, json: String) {
        *self.state.containers.lock().unwrap() = json;
        *self.state.changes.lock().unwrap() += 1;
        self.state.changed.notify_all();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Gives a machine an engine, as provisioning would have recorded it: berth publishes it at the next start.
pub fn install(world: &World, machine: &str) -> Engine {
    let socket = world.path(format!("{machine}-engine.sock"));
    let path = world.file(machine, "machine.toml");
    let record = fs::read_to_string(&path).unwrap();
    let (head, tables) = record.split_once("\n[").unwrap();
    let installed = format!(
        "[installed]\nkind = \"docker\"\nversion = \"28.5.2\"\nsocket = \"{}\"\nos = \"Debian\"\n",
        socket.display()
    );
    fs::write(&path, format!("{head}\n\n{installed}\n[{tables}")).unwrap();
    Engine::start(&socket)
}

/// What the engine answers to a ping on the machine's socket on this computer.
pub fn ping(world: &World, machine: &str) -> String {
    get(&world.file(machine, "docker.sock"), "/_ping")
}

/// The body of an answer on a unix socket.
pub fn get(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: d\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    body(&mut BufReader::new(stream))
}

/// The body of one answer.
pub fn body(reader: &mut impl BufRead) -> String {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return String::new();
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

fn serve(stream: UnixStream, state: &State) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut request = String::new();
        reader.read_line(&mut request).ok().filter(|n| *n > 0)?;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok().filter(|n| *n > 0)?;
            if header.trim().is_empty() {
                break;
            }
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next()?, words.next()?);
        // `/v1.50/version?x` is `/version`.
        let path = path.split('?').next()?;
        let path = match path.strip_prefix("/v1.") {
            Some(rest) => &rest[rest.find('/')?..],
            None => path,
        };
        let told = state.answers.lock().unwrap().get(path).cloned();
        if let Some(body) = told {
            if body.is_empty() {
                // Until the client gives up.
                return std::io::copy(&mut reader, &mut std::io::sink())
                    .map(drop)
                    .ok();
            }
            answer(&mut stream, method, "application/json", &body)?;
            continue;
        }
        match path {
            "/_ping" => answer(&mut stream, method, "text/plain", "OK")?,
            "/version" => answer(&mut stream, method, "application/json", VERSION)?,
            "/containers/json" => {
                let containers = state.containers.lock().unwrap().clone();
                answer(&mut stream, method, "application/json", &containers)?;
            }
            "/events" => return events(&mut stream, state),
            "/upgrade" => return hijacked(stream, reader),
            "/drain" => return drain(stream, reader),
            _ => answer(&mut stream, method, "text/plain", "?")?,
        }
    }
}

const VERSION: &str = r#"{"Version":"28.5.2","ApiVersion":"1.50","MinAPIVersion":"1.24","Os":"linux","Arch":"amd64","GitCommit":"0","GoVersion":"go1","KernelVersion":"6","BuildTime":"2025-01-01T00:00:00Z","Components":[]}"#;

fn answer(stream: &mut UnixStream, method: &str, kind: &str, body: &str) -> Option<()> {
    let length = body.len();
    let body = if method == "HEAD" { "" } else { body };
    let text = format!(
        "HTTP/1.1 200 OK\r\nApi-Version: 1.50\r\nOstype: linux\r\nContent-Type: {kind}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).ok()
}

fn events(stream: &mut UnixStream, state: &State) -> Option<()> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).ok()?;
    let mut seen = *state.changes.lock().unwrap();
    loop {
        let mut changes = state.changes.lock().unwrap();
        while *changes == seen {
            changes = state.changed.wait(changes).unwrap();
        }
        seen = *changes;
        drop(changes);
        let event = "{\"Type\":\"container\",\"Action\":\"start\"}\n";
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        stream.write_all(chunk.as_bytes()).ok()?;
    }
}

/// What `docker attach` and `exec` do: after the upgrade, bytes both ways, here upper-cased as they come.
fn hijacked(mut stream: UnixStream, mut reader: BufReader<UnixStream>) -> Option<()> {
    let head = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    stream.write_all(head.as_bytes()).ok()?;
    let mut buffer = [0u8; 4096];
    loop {
        let count = reader.read(&mut buffer).ok()?;
        if count == 0 {
            stream.write_all(b"<end of input>").ok()?;
            return stream.shutdown(Shutdown::Write).ok();
        }
        stream
            .write_all(&buffer[..count].to_ascii_uppercase())
            .ok()?;
    }
}

/// Answers only after the client has ended its side: how many bytes came, and their sum.
fn drain(mut stream: UnixStream, mut reader: BufReader<UnixStream>) -> Option<()> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).ok()?;
    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    let text = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{} {sum}",
        bytes.len()
    );
    stream.write_all(text.as_bytes()).ok()?;
    stream.shutdown(Shutdown::Write).ok()
}
