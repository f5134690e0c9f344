//! The way to a server, straight or over other hosts, up to its first word.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::timeout;

use super::failed::Failed;
use super::{Hop, jump};

/// Whatever carries bytes both ways.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A stream on which the server has begun to speak, and the program that carries it if it goes over other hosts.
pub(super) async fn reach(
    host: &str,
    port: u16,
    jump: &[Hop],
    greeting: Duration,
) -> Result<(Box<dyn Wire>, Option<Child>), Failed> {
    if jump.is_empty() {
        return Ok((Box::new(greeted(host, port, greeting).await?), None));
    }
    let (passage, carrier) = jump::pass(jump, host, port).await?;
    Ok((Box::new(passage), Some(carrier)))
}

/// A TCP connection without delays.
async fn open_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A TCP connection on which the server has begun to speak.
async fn greeted(host: &str, port: u16, within: Duration) -> Result<TcpStream, Failed> {
    let greeted = timeout(within, async {
        let stream = open_tcp(host, port).await?;
        match stream.peek(&mut [0]).await? {
            0 => Err(io::Error::from(ErrorKind::UnexpectedEof)),
            _ => Ok(stream),
        }
    });
    match greeted.await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Failed::Passing(match error.kind() {
            ErrorKind::UnexpectedEof => "the connection was closed before the greeting".into(),
            _ => error.to_string(),
        })),
        Err(_) => Err(Failed::Passing("no SSH server greets there yet".into())),
    }
}
