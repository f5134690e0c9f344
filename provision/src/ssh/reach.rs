//! The way to a server, straight or over other hosts, and the first word that comes from there.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::failed::Failed;
use super::{Hop, jump};

/// Whatever carries bytes both ways.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A way to a server.
pub(super) struct Way {
    pub(super) wire: Box<dyn Wire>,
    pub(super) greeting: Greeting,
    /// The program that carries it, if it goes over other hosts.
    pub(super) carrier: Option<Child>,
}

/// Opens a way to a server, which then has to greet within `greeting` from now on.
pub(super) async fn reach(
    host: &str,
    port: u16,
    jump: &[Hop],
    greeting: Duration,
) -> Result<Way, Failed> {
    if !jump.is_empty() {
        let (passage, carrier) = jump::pass(jump, host, port).await?;
        return Ok(Way {
            wire: Box::new(passage),
            greeting: Greeting(None),
            carrier: Some(carrier),
        });
    }
    let until = Instant::now() + greeting;
    let stream = match timeout_at(until, open_tcp(host, port)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(Failed::Passing(error.to_string())),
        Err(_) => return Err(silent()),
    };
    let (heard, hears) = oneshot::channel();
    Ok(Way {
        wire: Box::new(Listening {
            stream,
            heard: Some(heard),
        }),
        greeting: Greeting(Some((hears, until))),
        carrier: None,
    })
}

/// The server's first word, which is waited for until then; over other hosts it has come already.
pub(super) struct Greeting(Option<(oneshot::Receiver<()>, Instant)>);

impl Greeting {
    /// What `spoken` comes to on the way, or that nobody greets there. Both sides greet without waiting for the other one
    /// (RFC 4253, section 4.2), and `spoken` has to: passt before 2023_06_03 lets nothing of a guest through before
    /// something has come for it.
    pub(super) async fn before<T>(
        self,
        spoken: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, Failed> {
        let Some((mut hears, until)) = self.0 else {
            return spoken.await;
        };
        let mut spoken = pin!(spoken);
        let greeted = tokio::select! {
            biased;
            heard = timeout_at(until, &mut hears) => heard.is_ok(),
            outcome = &mut spoken => return outcome.map_err(|failed| match failed {
                Failed::Passing(_) if hears.try_recv().is_err() => {
                    Failed::Passing("the connection was closed before the greeting".into())
                }
                failed => failed,
            }),
        };
        match greeted {
            true => spoken.await,
            false => Err(silent()),
        }
    }
}

fn silent() -> Failed {
    Failed::Passing("no SSH server greets there yet".into())
}

/// A TCP connection without delays.
async fn open_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection that tells when the first bytes have come.
struct Listening {
    stream: TcpStream,
    heard: Option<oneshot::Sender<()>>,
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before
            && let Some(heard) = self.heard.take()
        {
            // Nobody waits for it any more once all is said.
            let _ = heard.send(());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Listening {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
