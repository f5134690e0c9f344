//! The way of a command to the process that keeps connections.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use berth_provision::Error as ProvisionError;
use berth_provision::ssh::{Key, Target};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use super::frame::{Ask, Frame, PIECE, PROTOCOL, Unreachable, parse};
use super::{KEEP, socket};
use crate::background;
use crate::store::{self, Home, create_private_folder};

/// How long it may take to hear that it is to end.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// Why connections are not kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process could not be started.
    #[error("connections cannot be kept: the process for it {0}")]
    Start(#[from] background::Error),
    /// It does not end.
    #[error("the process that keeps connections does not answer: {0}")]
    End(String),
    /// A file of its own cannot be written.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The process that keeps connections.
pub struct Kept {
    socket: PathBuf,
    keep: Option<Duration>,
}

impl Kept {
    /// The process that runs, if one does.
    pub fn running(home: &Home) -> Option<Self> {
        let socket = socket(home);
        socket.exists().then_some(Kept { socket, keep: None })
    }

    /// The process that runs or else a new one, and keeps each connection so long after its last use.
    ///
    /// # Errors
    /// If none can be started.
    pub async fn started(home: &Home, keep: Duration) -> Result<Self, Error> {
        let kept = Kept {
            socket: socket(home),
            keep: Some(keep),
        };
        if kept.connect().await.is_err() {
            start(home).await?;
        }
        Ok(kept)
    }

    /// Runs a line in a machine on a connection that is kept. `None` if that cannot be done this way: then nothing was
    /// done, no input was read, and the caller connects itself.
    ///
    /// # Errors
    /// [`ProvisionError::Unreachable`]; [`ProvisionError::Lost`]; [`ProvisionError::Io`] if `stdout` or `stderr` fails.
    pub async fn run(
        &self,
        target: &Target,
        line: &str,
        mut stdin: impl AsyncRead + Unpin,
        mut stdout: impl AsyncWrite + Unpin,
        mut stderr: impl AsyncWrite + Unpin,
    ) -> Result<Option<i32>, ProvisionError> {
        let Ok(mut stream) = self.asked(target, line).await else {
            return Ok(None);
        };
        match Frame::read(&mut stream).await {
            Ok(Frame::Begun) => {}
            Ok(Frame::Unreachable(why)) => {
                return match parse(&why) {
                    Ok(Unreachable { host, after, last }) => {
                        Err(ProvisionError::Unreachable { host, after, last })
                    }
                    Err(_) => Ok(None),
                };
            }
            _ => return Ok(None),
        }
        let lost = |detail: String| ProvisionError::Lost {
            host: target.host.clone(),
            detail,
        };
        let ended = |_: io::Error| lost("the process that kept the connection ended".into());
        let mut piece = vec![0; PIECE];
        let mut wanted = true;
        loop {
            if wanted {
                // What cannot be read has ended.
                let count = stdin.read(&mut piece).await.unwrap_or(0);
                let read = piece.get(..count).unwrap_or_default().to_vec();
                // A command that has ended takes none; how it ended is read.
                let _ = Frame::Input(read).write(&mut stream).await;
                wanted = false;
            }
            let written = match Frame::read(&mut stream).await.map_err(ended)? {
                Frame::Out(piece) => write_now(&mut stdout, &piece).await,
                Frame::Err(piece) => write_now(&mut stderr, &piece).await,
                Frame::More => {
                    wanted = true;
                    Ok(())
                }
                Frame::Status(code) => return Ok(Some(code)),
                Frame::Lost(why) => return Err(lost(why)),
                _ => return Err(lost("the process that keeps it speaks otherwise".into())),
            };
            written.map_err(|source| ProvisionError::Io {
                path: "(the command's output)".into(),
                source,
            })?;
        }
    }

    async fn asked(&self, target: &Target, line: &str) -> io::Result<UnixStream> {
        let ask = Ask {
            protocol: PROTOCOL,
            keep: self.keep,
            agent: match target.key {
                Key::Agent => std::env::var("SSH_AUTH_SOCK").ok(),
                Key::File(_) | Key::Sealed { .. } => None,
            },
            target: target.clone(),
            line: line.to_owned(),
        };
        let ask = Frame::Run(serde_json::to_vec(&ask)?);
        let mut stream = self.connect().await?;
        ask.write(&mut stream).await?;
        Ok(stream)
    }

    /// A connection to the process, which must be this user's: what is asked of it may be secret.
    async fn connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.socket).await?;
        match stream.peer_cred()?.uid() == nix::unistd::geteuid().as_raw() {
            true => Ok(stream),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

async fn write_now(sink: &mut (impl AsyncWrite + Unpin), piece: &[u8]) -> io::Result<()> {
    sink.write_all(piece).await?;
    sink.flush().await
}

/// Ends what is kept, once nothing runs on it. False if nothing was.
///
/// # Errors
/// [`Error::End`].
pub async fn end(home: &Home) -> Result<bool, Error> {
    let Some(kept) = Kept::running(home) else {
        return Ok(false);
    };
    let Ok(mut stream) = kept.connect().await else {
        return Ok(false);
    };
    let told = async {
        Frame::End.write(&mut stream).await?;
        Frame::read(&mut stream).await
    };
    match tokio::time::timeout(END_DEADLINE, told).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(error)) => Err(Error::End(error.to_string())),
        Err(_) => Err(Error::End("no answer".into())),
    }
}

async fn start(home: &Home) -> Result<(), Error> {
    create_private_folder(&home.kept())?;
    let started = background::start(&[KEEP], &home.kept().join("log")).await;
    Ok(started?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    fn target() -> Target {
        Target {
            host: "h1".into(),
            port: 22,
            user: "root".into(),
            key: Key::File("/nowhere/key".into()),
            known_hosts: "/nowhere/known_hosts".into(),
            host_key_alias: None,
            jump: Vec::new(),
        }
    }

    /// What comes of a command if the process says this and hangs up.
    async fn answered(frames: &[Frame]) -> Result<Option<i32>, ProvisionError> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let says = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(matches!(
                Frame::read(&mut stream).await.unwrap(),
                Frame::Run(_)
            ));
            for frame in frames {
                frame.write(&mut stream).await.unwrap();
            }
        };
        let kept = Kept { socket, keep: None };
        let target = target();
        let (stdout, stderr) = (tokio::io::sink(), tokio::io::sink());
        let running = kept.run(&target, "true", tokio::io::empty(), stdout, stderr);
        tokio::join!(running, says).0
    }

    #[tokio::test]
    async fn before_it_is_begun_the_caller_goes_its_own_way_and_after_that_it_is_lost() {
        assert!(matches!(answered(&[]).await, Ok(None)));
        assert!(matches!(answered(&[Frame::Yourself]).await, Ok(None)));
        assert!(matches!(answered(&[Frame::Status(0)]).await, Ok(None)));
        let begun = [Frame::Begun, Frame::Out(b"x".to_vec())];
        let lost = answered(&begun).await.unwrap_err();
        assert!(matches!(lost, ProvisionError::Lost { .. }), "{lost}");
        let ended = [Frame::Begun, Frame::Status(3)];
        assert_eq!(answered(&ended).await.unwrap(), Some(3));
    }

    #[tokio::test]
    async fn a_machine_that_is_not_reached_is_told_of_as_such() {
        let why = Unreachable {
            host: "h1".into(),
            after: Duration::from_secs(30),
            last: "no answer".into(),
        };
        let told = Frame::Unreachable(serde_json::to_vec(&why).unwrap());
        let error = answered(&[told]).await.unwrap_err();
        let own = ProvisionError::Unreachable {
            host: why.host,
            after: why.after,
            last: why.last,
        };
        assert_eq!(error.to_string(), own.to_string());
    }
}
