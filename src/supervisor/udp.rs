//! Containers' published UDP ports. SSH carries streams only, so a small program in the machine unpacks the datagrams of
//! one stream and sends them on from sockets of its own, one for each client here.

use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use berth_provision::ssh::{Session, quote};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// The program, with two words in it that are replaced by numbers.
const PROGRAM: &str = include_str!("udp.pl");

/// A client's socket in the machine closes when both were silent for this long, as a home's router would forget them
/// (RFC 4787, section 4.3: two minutes at least).
const IDLE: Duration = Duration::from_secs(180);

/// So many clients are known at once; the one that was silent longest makes room.
const MOST: usize = 500;

/// From the program's start to its first word.
const GREETING: Duration = Duration::from_secs(30);

/// So many datagrams wait for the stream; what comes then is lost, as datagrams are.
const WAITING: usize = 256;

/// The largest datagram (bytes).
const LARGEST: usize = u16::MAX as usize;

/// The program in the machine and the stream to it, which end when this is dropped.
pub struct Relay {
    outgoing: mpsc::Sender<Vec<u8>>,
    flows: Arc<Mutex<Flows>>,
    task: AbortHandle,
}

impl Relay {
    /// Starts the program, and says why if that is not possible.
    pub async fn open(session: &Session) -> Result<Self, String> {
        let program = quote(&program());
        let command = format!("exec perl -e {program}");
        let opened = session.open_command(&command).await;
        Self::over(opened.map_err(|error| error.to_string())?).await
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, String> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let greeting = tokio::time::timeout(GREETING, read_frame(&mut reader)).await;
        match greeting {
            Ok(Ok((0, _))) => {}
            Ok(_) => return Err("the machine needs perl for UDP".into()),
            Err(_) => return Err("the machine does not take datagrams".into()),
        }
        let flows = Arc::new(Mutex::new(Flows::default()));
        let (outgoing, mut waiting) = mpsc::channel::<Vec<u8>>(WAITING);
        let known = flows.clone();
        let task = tokio::spawn(async move {
            let going = async {
                while let Some(frame) = waiting.recv().await {
                    writer.write_all(&frame).await?;
                    writer.flush().await?;
                }
                Ok::<_, std::io::Error>(())
            };
            let coming = async {
                loop {
                    let (id, datagram) = read_frame(&mut reader).await?;
                    let answered = lock(&known).answered(id);
                    if let Some((socket, client)) = answered {
                        let _ = socket.try_send_to(&datagram, client);
                    }
                }
            };
            let ended = tokio::select! {
                ended = going => ended,
                ended = coming => ended,
            };
            tracing::debug!(?ended, "datagrams are no longer forwarded");
        });
        Ok(Relay {
            outgoing,
            flows,
            task: task.abort_handle(),
        })
    }

    /// Carries what comes to `socket` to an address in the machine, and what is answered back, until the stream ends.
    pub async fn serve(&self, socket: UdpSocket, there: SocketAddrV4) {
        let Ok(here) = socket.local_addr() else {
            return;
        };
        let socket = Arc::new(socket);
        let mut datagram = vec![0; LARGEST];
        loop {
            let received = tokio::select! {
                received = socket.recv_from(&mut datagram) => received,
                () = self.outgoing.closed() => return,
            };
            // An error is about an earlier answer that its client no longer wanted.
            let Ok((length, client)) = received else {
                continue;
            };
            let id = lock(&self.flows).of(&socket, (here, client));
            let _ = self
                .outgoing
                .try_send(frame(id, there, &datagram[..length]));
        }
    }

    /// Returns when the stream has ended.
    pub async fn ended(&self) {
        self.outgoing.closed().await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn program() -> String {
    PROGRAM
        .replace("(IDLE, MOST)", &format!("({}, {MOST})", IDLE.as_secs()))
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
}

fn frame(id: u32, there: SocketAddrV4, datagram: &[u8]) -> Vec<u8> {
    let length = datagram.len().min(LARGEST);
    let mut frame = Vec::with_capacity(12 + length);
    frame.extend(id.to_be_bytes());
    frame.extend(there.ip().octets());
    frame.extend(there.port().to_be_bytes());
    frame.extend((length as u16).to_be_bytes());
    frame.extend(&datagram[..length]);
    frame
}

async fn read_frame(reader: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(u32, Vec<u8>)> {
    let id = reader.read_u32().await?;
    let mut datagram = vec![0; usize::from(reader.read_u16().await?)];
    reader.read_exact(&mut datagram).await?;
    Ok((id, datagram))
}

/// Who sent datagrams lately, by the number under which the machine knows them.
#[derive(Default)]
struct Flows {
    flows: HashMap<u32, Flow>,
    ids: HashMap<Ends, u32>,
    newest: u32,
}

/// A socket's address here, and its client's.
type Ends = (SocketAddr, SocketAddr);

struct Flow {
    /// Gone when the port is no longer published.
    socket: Weak<UdpSocket>,
    ends: Ends,
    used: Instant,
}

fn lock(flows: &Mutex<Flows>) -> MutexGuard<'_, Flows> {
    flows.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flows {
    /// The number of a client of `socket`.
    fn of(&mut self, socket: &Arc<UdpSocket>, ends: Ends) -> u32 {
        if let Some(id) = self.ids.get(&ends)
            && let Some(flow) = self.flows.get_mut(id)
            && flow.socket.as_ptr() == Arc::as_ptr(socket)
        {
            flow.used = Instant::now();
            return *id;
        }
        self.make_room();
        // The first frame of the machine's is number 0.
        self.newest = self.newest.wrapping_add(1).max(1);
        let flow = Flow {
            socket: Arc::downgrade(socket),
            ends,
            used: Instant::now(),
        };
        self.flows.insert(self.newest, flow);
        self.ids.insert(ends, self.newest);
        self.newest
    }

    /// The socket by which an answer goes, and where it goes.
    fn answered(&mut self, id: u32) -> Option<(Arc<UdpSocket>, SocketAddr)> {
        let flow = self.flows.get_mut(&id)?;
        flow.used = Instant::now();
        Some((flow.socket.upgrade()?, flow.ends.1))
    }

    fn make_room(&mut self) {
        if self.flows.len() < MOST {
            return;
        }
        let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.used);
        let Some(oldest) = oldest.map(|(id, _)| *id) else {
            return;
        };
        if let Some(flow) = self.flows.remove(&oldest)
            && self.ids.get(&flow.ends) == Some(&oldest)
        {
            self.ids.remove(&flow.ends);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::process::{Child, Command};

    use super::*;

    /// The program as the machine runs it, here.
    async fn relay() -> (Relay, Child) {
        let mut child = Command::new("perl")
            .args(["-e", &program()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let relay = Relay::over(tokio::io::join(stdout, stdin)).await.unwrap();
        (relay, child)
    }

    /// Answers every datagram with itself and the port that it came from.
    async fn echo() -> SocketAddrV4 {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else {
            unreachable!("bound to IPv4");
        };
        tokio::spawn(async move {
            let mut datagram = vec![0; LARGEST];
            loop {
                let (length, from) = socket.recv_from(&mut datagram).await.unwrap();
                let mut answer = datagram[..length].to_vec();
                answer.extend(from.port().to_be_bytes());
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        address
    }

    async fn client(server: SocketAddr) -> UdpSocket {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(server).await.unwrap();
        client
    }

    /// Says something, and hears it with the number of the socket that it came by.
    async fn asks(client: &UdpSocket, words: &[u8]) -> u16 {
        client.send(words).await.unwrap();
        let mut answer = vec![0; LARGEST];
        let heard = tokio::time::timeout(Duration::from_secs(30), client.recv(&mut answer));
        let length = heard.await.unwrap().unwrap();
        let (said, port) = answer[..length].split_at(length - 2);
        assert_eq!(said, words);
        u16::from_be_bytes([port[0], port[1]])
    }

    #[tokio::test]
    async fn every_client_has_its_own_answers() {
        let (relay, mut program) = relay().await;
        let relay = Arc::new(relay);
        let server = echo().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let here = socket.local_addr().unwrap();
        let served = relay.clone();
        let serving = tokio::spawn(async move { served.serve(socket, server).await });
        let (one, two) = (client(here).await, client(here).await);
        let first = asks(&one, b"hello").await;
        let second = asks(&two, b"you too").await;
        assert_ne!(first, second);
        assert_eq!(asks(&one, b"").await, first);
        assert_eq!(asks(&two, &vec![7; 60_000]).await, second);

        // The port closes with its service, whoever used it, and the program with its stream.
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
        // What answered clients ends a moment later.
        let free = async {
            while UdpSocket::bind(here).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), free)
            .await
            .unwrap();
        drop(relay);
        program.wait().await.unwrap();
    }

    #[tokio::test]
    async fn of_very_many_clients_the_silent_ones_make_room() {
        let (relay, _program) = relay().await;
        let server = echo().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let here = socket.local_addr().unwrap();
        let clients = async {
            for _ in 0..MOST + 100 {
                asks(&client(here).await, b"hello").await;
            }
        };
        tokio::select! {
            () = relay.serve(socket, server) => panic!("the stream ended"),
            () = clients => {}
        }
        let flows = lock(&relay.flows);
        assert_eq!((flows.flows.len(), flows.ids.len()), (MOST, MOST));
    }

    #[tokio::test]
    async fn a_machine_without_perl_says_so() {
        let refused = Relay::over(tokio::io::join(tokio::io::empty(), tokio::io::sink())).await;
        assert_eq!(refused.err().unwrap(), "the machine needs perl for UDP");
    }

    #[tokio::test]
    async fn the_end_of_the_program_ends_the_service() {
        let (relay, mut program) = relay().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        program.kill().await.unwrap();
        let there = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 9);
        let served = relay.serve(socket, there);
        tokio::time::timeout(Duration::from_secs(30), served)
            .await
            .unwrap();
    }
}
