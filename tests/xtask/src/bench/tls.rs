//! What the TLS endpoint adds to a request, against the unix socket of the same machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::world::{World, median, printed};
use super::{Figure, at_most, plain};

const REQUESTS: usize = 200;

/// What costs the engine next to nothing.
const REQUEST: &[u8] = b"GET /_ping HTTP/1.1\r\nHost: engine\r\n\r\n";

/// How long connections are opened one after the other (seconds).
const OPENING: u32 = 5;

/// Makes one machine and asks its engine both ways, on connections that are kept and on new ones.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    world.run(&["create", "tls", "--tls", "--memory", "1G"])?;
    let url = world.run(&["url", "--tls", "tls"])?;
    let address = url.trim().trim_start_matches("tcp://").to_owned();
    let files = world.machine("tls").join("tls");

    let socket = UnixStream::connect(world.machine("tls").join("docker.sock"))?;
    let plainly = requests(socket.try_clone()?, BufReader::new(socket))?;
    let mut client = openssl("s_client -quiet -connect", &address, &files)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let encrypted = through(&mut client);
    let _ = client.kill();
    client.wait()?;
    let encrypted = encrypted?;
    let opened = handshake(&address, &files)?;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok(vec![
        plain(
            "GET /_ping, unix socket (median of 200)",
            milliseconds(plainly),
            "ms",
        ),
        plain(
            "GET /_ping, TLS (median of 200)",
            milliseconds(encrypted),
            "ms",
        ),
        at_most(
            "added by TLS and openssl's pipes",
            milliseconds(encrypted) - milliseconds(plainly),
            "ms",
            1.0,
        ),
        at_most("a new connection's handshake", opened, "ms", 10.0),
    ])
}

fn through(client: &mut Child) -> Result<Duration> {
    let stdin = client.stdin.take().context("openssl's input")?;
    let stdout = client.stdout.take().context("openssl's output")?;
    requests(stdin, BufReader::new(stdout))
}

/// The median of requests on one connection.
fn requests(mut to: impl Write, mut from: impl BufRead) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        to.write_all(REQUEST)?;
        to.flush()?;
        answer(&mut from)?;
        times.push(begun.elapsed());
    }
    Ok(median(times))
}

fn answer(from: &mut impl BufRead) -> Result<()> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            bail!("the connection ended");
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = Some(value.trim().parse::<u64>()?);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let length = length.context("an answer of unknown length")?;
    let read = std::io::copy(&mut from.take(length), &mut std::io::sink())?;
    if read != length {
        bail!("the answer was cut short");
    }
    Ok(())
}

/// Milliseconds for a connection that shows its certificate, by openssl's own count.
fn handshake(address: &str, files: &Path) -> Result<f64> {
    let command = format!("s_time -new -time {OPENING} -connect");
    let text = printed(&mut openssl(&command, address, files))?;
    // `1234 connections in 6 real seconds, 0 bytes read per connection`
    let line = text.lines().find(|line| line.contains("real seconds"));
    let mut words = line.context("openssl's count")?.split(' ');
    let connections: f64 = words.next().context("a count")?.parse()?;
    let seconds: f64 = words.nth(2).context("seconds")?.parse()?;
    Ok(seconds * 1000.0 / connections)
}

fn openssl(command: &str, address: &str, files: &Path) -> Command {
    let mut openssl = Command::new("openssl");
    openssl
        .args(command.split(' '))
        .arg(address)
        .arg("-CAfile")
        .arg(files.join("ca.pem"))
        .arg("-cert")
        .arg(files.join("cert.pem"))
        .arg("-key")
        .arg(files.join("key.pem"))
        .stderr(Stdio::null());
    openssl
}
