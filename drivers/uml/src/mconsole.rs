//! The kernel's management console: a datagram socket that takes one command a packet
//! (the kernel's `arch/um/drivers/mconsole.h`).

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use berth_driver_api::{Error, Machine, Result, files};
use tokio::net::UnixDatagram;

/// The machine's name to the kernel, and so that of the folder that it makes for its socket.
pub(crate) const ID: &str = "vm";

/// The socket to which the kernel says that it listens.
pub(crate) const NOTIFY: &str = "notify";

const MAGIC: u32 = 0xcafe_babe;
const VERSION: u32 = 2;
const LONGEST_COMMAND: usize = 512;

/// A live kernel answers in a millisecond; one that is stopped or starved is not waited for.
pub(crate) const SILENT: Duration = Duration::from_millis(1500);

/// Between tries to reach one that has not opened its console yet.
const AGAIN: Duration = Duration::from_millis(50);

/// Why a command brought no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody listens.
    Closed,
    /// No answer in time.
    Silent,
    /// It was refused, or the socket failed.
    Other(Error),
}

/// The folder of the machine's control sockets.
pub(crate) fn folder(machine: &Machine) -> PathBuf {
    machine.socket("uml")
}

/// The socket that the kernel listens on.
pub(crate) fn socket(machine: &Machine) -> PathBuf {
    folder(machine).join(ID).join("mconsole")
}

/// A socket that exists while it is used. It has a name since a confined kernel may not answer to one without.
struct Client {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Client {
    fn bind(path: PathBuf) -> Result<Client> {
        files::remove(&path)?;
        let socket = UnixDatagram::bind(&path).map_err(Error::io(&path))?;
        Ok(Client { socket, path })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Runs a command on the machine's console and returns the answer.
pub(crate) async fn ask(
    machine: &Machine,
    command: &str,
    deadline: Duration,
) -> Result<String, Failure> {
    let answer = tokio::time::timeout(deadline, exchange(machine, command));
    answer.await.unwrap_or(Err(Failure::Silent))
}

/// Returns when the kernel has answered, or is silent for longer than one that lives and is not starved; after
/// `deadline` at the latest.
pub(crate) async fn opened(machine: &Machine, deadline: Duration) {
    let tries = async {
        while let Err(Failure::Closed) = ask(machine, "version", SILENT).await {
            tokio::time::sleep(AGAIN).await;
        }
    };
    let _ = tokio::time::timeout(deadline, tries).await;
}

async fn exchange(machine: &Machine, command: &str) -> Result<String, Failure> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let own = format!(
        "c{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let client = Client::bind(folder(machine).join(own)).map_err(Failure::Other)?;
    let path = socket(machine);
    match client.socket.send_to(&request(command), &path).await {
        Ok(_) => {}
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(nix::libc::ENOENT | nix::libc::ECONNREFUSED)
            ) =>
        {
            return Err(Failure::Closed);
        }
        Err(error) => return Err(Failure::Other(Error::io(path)(error))),
    }
    let mut words = String::new();
    let mut packet = [0; 4096];
    loop {
        let length = client.socket.recv(&mut packet).await;
        let length = length.map_err(|error| Failure::Other(Error::io(&path)(error)))?;
        let reply = packet.get(..length).and_then(reply);
        let Some(reply) = reply else {
            return Err(Failure::Other(Error::failed(
                "the kernel's console",
                "its answer is none",
            )));
        };
        words.push_str(&reply.words);
        if reply.refused {
            return Err(Failure::Other(Error::failed(
                format!("asking the kernel to {command}"),
                words.trim(),
            )));
        }
        if !reply.more {
            return Ok(words);
        }
    }
}

fn request(command: &str) -> Vec<u8> {
    let mut packet = Vec::with_capacity(12 + LONGEST_COMMAND);
    for number in [MAGIC, VERSION, command.len() as u32] {
        packet.extend_from_slice(&number.to_ne_bytes());
    }
    packet.extend_from_slice(command.as_bytes());
    packet.resize(12 + LONGEST_COMMAND, 0);
    packet
}

struct Reply {
    refused: bool,
    more: bool,
    words: String,
}

fn reply(packet: &[u8]) -> Option<Reply> {
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(packet.get(at..at + 4)?.try_into().ok()?))
    };
    let length = number(8)? as usize;
    let words = packet.get(12..)?;
    let words = words.get(..length).unwrap_or(words);
    Some(Reply {
        refused: number(0)? != 0,
        more: number(4)? != 0,
        words: String::from_utf8_lossy(words)
            .trim_end_matches('\0')
            .to_owned(),
    })
}

/// Where the kernel says that its console listens.
pub(crate) struct Notice(Client);

impl Notice {
    /// Listens; before the kernel is started.
    pub(crate) fn listen(machine: &Machine) -> Result<Notice> {
        Client::bind(folder(machine).join(NOTIFY)).map(Notice)
    }

    /// Returns when the kernel has said something, which it does first when its console listens.
    pub(crate) async fn heard(&self) -> Result<()> {
        let mut packet = [0; 1024];
        let heard = self.0.socket.recv(&mut packet).await;
        heard.map(drop).map_err(Error::io(&self.0.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_packet_of_the_kernels_size() {
        let packet = request("cad");
        assert_eq!(packet.len(), 524);
        assert_eq!(packet[..4], 0xcafe_babe_u32.to_ne_bytes());
        assert_eq!(packet[8..12], 3u32.to_ne_bytes());
        assert_eq!(&packet[12..16], b"cad\0");
    }

    #[test]
    fn an_answer_is_read_up_to_its_length() {
        let mut packet = Vec::new();
        for number in [0u32, 1, 3] {
            packet.extend_from_slice(&number.to_ne_bytes());
        }
        packet.extend_from_slice(b"ok\0rest");
        let reply = reply(&packet).unwrap();
        assert!(!reply.refused && reply.more);
        assert_eq!(reply.words, "ok");
        assert!(super::reply(&packet[..11]).is_none());
    }
}
