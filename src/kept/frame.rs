//! What is said on the socket: frames of a kind (one byte), a length (four, big-endian) and so many bytes.
//!
//! The client speaks first, with what it wants. A command that is to be run is answered by [`Frame::Begun`] before the
//! machine hears of it: as long as that has not come, nothing was done, and the client may go its own way. After that,
//! and after each [`Frame::More`], it may send one piece of the command's input. The connection's end is the command's.

use std::io::{self, ErrorKind};
use std::time::Duration;

use berth_provision::ssh::Target;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Both ends must speak the same.
pub const PROTOCOL: u32 = 1;

/// The most that a piece of a stream has, in bytes.
pub const PIECE: usize = 32 << 10;

/// The most that a frame has, in bytes: a command's line is one argument of a program (execve(2): 128 KiB), with room
/// for what JSON makes of it.
const LONGEST: usize = 1 << 20;

/// Bytes of a frame before its content.
pub const HEAD: usize = 5;

/// What a client wants.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ask {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// How long connections are to be kept from now on, if that is to change.
    pub keep: Option<Duration>,
    /// The SSH agent that the client would ask.
    pub agent: Option<String>,
    /// Where to.
    pub target: Target,
    /// The line for the login shell.
    pub line: String,
}

/// Why a machine was not reached, where trying again would take as long once more.
#[derive(Debug, Serialize, Deserialize)]
pub struct Unreachable {
    /// Where it was looked for.
    pub host: String,
    /// How long.
    pub after: Duration,
    /// What the last attempt met.
    pub last: String,
}

/// One thing that is said.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// From the client: an [`Ask`].
    Run(Vec<u8>),
    /// From the client: end once nothing runs any more.
    End,
    /// From the client: a piece of standard input; an empty one is its end.
    Input(Vec<u8>),
    /// The command is given to the machine now; a first piece of its input may come.
    Begun,
    /// Another piece of its input may come.
    More,
    /// What the command writes.
    Out(Vec<u8>),
    /// What it complains of.
    Err(Vec<u8>),
    /// Its exit status: the last frame.
    Status(i32),
    /// An [`Unreachable`]: nothing was done.
    Unreachable(Vec<u8>),
    /// It was begun, and how it ended is not known, for this reason.
    Lost(String),
    /// Nothing was done; the client is to connect itself, and will hear why it cannot.
    Yourself,
}

impl Frame {
    /// The kind of [`Frame::Out`].
    pub const OUT: u8 = 5;
    /// The kind of [`Frame::Err`].
    pub const ERR: u8 = 6;

    /// Reads the next one.
    ///
    /// # Errors
    /// `UnexpectedEof` at the end; `InvalidData` for what is none.
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
        let kind = from.read_u8().await?;
        let length = usize::try_from(from.read_u32().await?).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut content = vec![0; length];
        from.read_exact(&mut content).await?;
        Ok(match kind {
            0 => Frame::Run(content),
            1 => Frame::End,
            2 => Frame::Input(content),
            3 => Frame::Begun,
            4 => Frame::More,
            Frame::OUT => Frame::Out(content),
            Frame::ERR => Frame::Err(content),
            7 => {
                let bytes = <[u8; 4]>::try_from(content.as_slice());
                Frame::Status(i32::from_be_bytes(
                    bytes.map_err(|_| ErrorKind::InvalidData)?,
                ))
            }
            8 => Frame::Unreachable(content),
            9 => Frame::Lost(String::from_utf8_lossy(&content).into_owned()),
            10 => Frame::Yourself,
            _ => return Err(ErrorKind::InvalidData.into()),
        })
    }

    /// Its bytes.
    ///
    /// # Errors
    /// `InvalidInput` if it is longer than the other end reads.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let status;
        let (kind, content): (u8, &[u8]) = match self {
            Frame::Run(ask) => (0, ask),
            Frame::End => (1, &[]),
            Frame::Input(piece) => (2, piece),
            Frame::Begun => (3, &[]),
            Frame::More => (4, &[]),
            Frame::Out(piece) => (Frame::OUT, piece),
            Frame::Err(piece) => (Frame::ERR, piece),
            Frame::Status(code) => {
                status = code.to_be_bytes();
                (7, &status)
            }
            Frame::Unreachable(why) => (8, why),
            Frame::Lost(why) => (9, why.as_bytes()),
            Frame::Yourself => (10, &[]),
        };
        if content.len() > LONGEST {
            return Err(ErrorKind::InvalidInput.into());
        }
        let mut bytes = Vec::with_capacity(HEAD + content.len());
        bytes.extend(head(kind, content.len()));
        bytes.extend(content);
        Ok(bytes)
    }

    /// Writes it.
    ///
    /// # Errors
    /// As [`Frame::bytes`], or if the other end is gone.
    pub async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        to.write_all(&self.bytes()?).await
    }
}

/// What stands before so many bytes of a kind.
pub fn head(kind: u8, length: usize) -> [u8; HEAD] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [kind, a, b, c, d]
}

/// Reads what a frame carries.
///
/// # Errors
/// `InvalidData`.
pub fn parse<T: DeserializeOwned>(content: &[u8]) -> io::Result<T> {
    serde_json::from_slice(content).map_err(|_| ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read() {
        let frames = [
            Frame::Run(b"{}".to_vec()),
            Frame::End,
            Frame::Input(vec![7; PIECE]),
            Frame::Begun,
            Frame::More,
            Frame::Out(Vec::new()),
            Frame::Err(vec![0xff]),
            Frame::Status(-1),
            Frame::Unreachable(b"x".to_vec()),
            Frame::Lost("gone".into()),
            Frame::Yourself,
        ];
        for frame in frames {
            let bytes = frame.bytes().unwrap();
            assert_eq!(Frame::read(&mut bytes.as_slice()).await.unwrap(), frame);
            for short in 0..bytes.len() {
                let cut = Frame::read(&mut &bytes[..short]).await;
                assert_eq!(cut.unwrap_err().kind(), ErrorKind::UnexpectedEof);
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_frame_is_refused() {
        for bytes in [
            [11, 0, 0, 0, 0].as_slice(),
            &[0, 255, 255, 255, 255],
            &[7, 0, 0, 0, 1, 9],
        ] {
            let read = Frame::read(&mut &bytes[..]).await;
            assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }
}
