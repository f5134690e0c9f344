//! Commands in the machine.

use std::sync::Arc;

use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::bytes::Bytes;

use super::stream::{Held, close_later};
use super::{Session, Stream};
use crate::{Error, Result};

/// What is kept of each of a command's streams; one that writes more is ended.
pub(crate) const OUTPUT_LIMIT: usize = 8 * 1024 * 1024;

/// Pieces in which standard input is sent.
const PIECE: usize = 32 * 1024;

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit status; 128+n if signal n ended it.
    pub status: i32,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// True if the exit status is 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }
}

/// What a running command lets us hear.
enum Heard {
    Stdout(Bytes),
    Stderr(Bytes),
    Status(i32),
}

impl Session {
    /// Runs a command of the login shell, without input, to its end.
    ///
    /// # Errors
    /// [`Error::TooMuchOutput`] beyond 8 MiB on one stream; [`Error::Lost`]. A failing command is no error.
    pub async fn exec(&self, command: &str) -> Result<Output> {
        self.exec_input(command, &[]).await
    }

    /// Runs a command with `input` as its standard input. A command that does not read all of it is no error.
    ///
    /// # Errors
    /// As [`Session::exec`].
    pub async fn exec_input(&self, command: &str, input: &[u8]) -> Result<Output> {
        let mut output = Output {
            status: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        let mut running = self.start(command).await?;
        let reading = async {
            let mut status = None;
            while let Some(heard) = running.reader.next().await {
                let (kept, piece) = match heard {
                    Heard::Stdout(piece) => (&mut output.stdout, piece),
                    Heard::Stderr(piece) => (&mut output.stderr, piece),
                    Heard::Status(heard) => {
                        status = Some(heard);
                        continue;
                    }
                };
                if kept.len() + piece.len() > OUTPUT_LIMIT {
                    return Err(Error::TooMuchOutput {
                        host: self.host().to_owned(),
                        what: first_line(command),
                        limit: OUTPUT_LIMIT,
                    });
                }
                kept.extend_from_slice(&piece);
            }
            self.known(status)
        };
        let status = beside(reading, running.writer.write_all(input)).await?;
        Ok(Output { status, ..output })
    }

    /// Runs a command on streams of any size and returns its exit status. Reading `stdin` ends with the command;
    /// a stream that cannot be written any more ends the command.
    ///
    /// # Errors
    /// [`Error::Lost`]; [`Error::Io`] if `stdout` or `stderr` fails.
    pub async fn exec_streams(
        &self,
        command: &str,
        mut stdin: impl AsyncRead + Unpin,
        mut stdout: impl AsyncWrite + Unpin,
        mut stderr: impl AsyncWrite + Unpin,
    ) -> Result<i32> {
        let mut running = self.start(command).await?;
        let reading = async {
            let mut status = None;
            while let Some(heard) = running.reader.next().await {
                let written = match heard {
                    Heard::Stdout(piece) => write_now(&mut stdout, &piece).await,
                    Heard::Stderr(piece) => write_now(&mut stderr, &piece).await,
                    Heard::Status(heard) => {
                        status = Some(heard);
                        Ok(())
                    }
                };
                written.map_err(Error::io("(the command's output)"))?;
            }
            self.known(status)
        };
        beside(reading, running.writer.write_from(&mut stdin)).await
    }

    /// Runs a command whose standard input and output are a stream; its standard error is lost. The command loses its
    /// pipes when the stream is dropped.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Lost`].
    pub async fn open_command(
        &self,
        command: &str,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>> {
        let (channel, permit) = self.open_session().await?;
        let asked = channel.exec(false, command).await;
        asked.map_err(|error| self.lost(&error.to_string()))?;
        Ok(Held::new(Stream::new(channel), permit))
    }

    /// Runs a command that must succeed, and returns its standard output. `what` says in words what it does.
    pub(crate) async fn run(&self, what: &str, command: &str) -> Result<Vec<u8>> {
        let output = self.exec(command).await?;
        match output.success() {
            true => Ok(output.stdout),
            false => Err(Error::command(self.host(), what, &output)),
        }
    }

    /// The exit status, if one came.
    fn known(&self, status: Option<i32>) -> Result<i32> {
        status.ok_or_else(|| self.lost("the command ended without an exit status"))
    }

    async fn start(&self, command: &str) -> Result<Running> {
        let (channel, permit) = self.open_session().await?;
        let (reader, writer) = channel.split();
        let running = Running {
            reader: Reader(reader),
            writer: Writer(Arc::new(writer)),
            _permit: permit,
        };
        // No reply is asked for: the exit status comes in any case, and waiting for one is a round trip.
        let asked = running.writer.0.exec(false, command).await;
        asked.map_err(|error| self.lost(&error.to_string()))?;
        Ok(running)
    }
}

async fn write_now(sink: &mut (impl AsyncWrite + Unpin), piece: &[u8]) -> std::io::Result<()> {
    sink.write_all(piece).await?;
    sink.flush().await
}

/// A command's first line, short enough for a message.
fn first_line(command: &str) -> String {
    let line = command.lines().next().unwrap_or_default();
    line.chars().take(80).collect()
}

struct Running {
    reader: Reader,
    writer: Writer,
    _permit: OwnedSemaphorePermit,
}

struct Reader(ChannelReadHalf);

impl Reader {
    /// `None` when the channel is closed.
    async fn next(&mut self) -> Option<Heard> {
        loop {
            return match self.0.wait().await? {
                ChannelMsg::Data { data } => Some(Heard::Stdout(data)),
                ChannelMsg::ExtendedData { data, ext: 1 } => Some(Heard::Stderr(data)),
                ChannelMsg::ExitStatus { exit_status } => Some(Heard::Status(exit_status as i32)),
                ChannelMsg::ExitSignal { signal_name, .. } => {
                    Some(Heard::Status(128 + signal_number(&signal_name)))
                }
                ChannelMsg::Close => None,
                _ => continue,
            };
        }
    }
}

/// Does all of `reading`, and of `writing` what is wanted until then.
async fn beside<T>(reading: impl Future<Output = T>, writing: impl Future<Output = ()>) -> T {
    tokio::pin!(reading);
    tokio::select! {
        biased;
        outcome = &mut reading => return outcome,
        () = writing => {}
    }
    reading.await
}

/// Closes the channel when it goes away, so that a command whose future was dropped loses its pipes.
struct Writer(Arc<ChannelWriteHalf<Msg>>);

impl Writer {
    async fn write_all(&self, input: &[u8]) {
        for piece in input.chunks(PIECE) {
            // An error means that the command reads no more, and its status will tell why.
            if self.0.data_bytes(piece.to_vec()).await.is_err() {
                return;
            }
        }
        let _ = self.0.eof().await;
    }

    async fn write_from(&self, source: &mut (impl AsyncRead + Unpin)) {
        let mut piece = vec![0; PIECE];
        while let Ok(count @ 1..) = source.read(&mut piece).await {
            let read = piece.get(..count).unwrap_or_default().to_vec();
            if self.0.data_bytes(read).await.is_err() {
                return;
            }
        }
        let _ = self.0.eof().await;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        close_later(&self.0);
    }
}

fn signal_number(signal: &Sig) -> i32 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(name) => match name.as_str() {
            "TRAP" => 5,
            "BUS" => 7,
            "USR2" => 12,
            "XCPU" => 24,
            "XFSZ" => 25,
            "SYS" => 31,
            _ => 127,
        },
    }
}
