//! A call to QEMU or to the guest: why it brought no answer, and how long it may take.

use std::io::{self, ErrorKind};
use std::time::Duration;

/// Why a call over a socket brought no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The other side is gone.
    #[error("the connection ended")]
    Closed,
    /// It is there and says nothing.
    #[error("{command} was not answered within {} s", after.as_secs_f32())]
    Timeout {
        command: &'static str,
        after: Duration,
    },
    /// It answered with an error.
    #[error("{command} was refused: {reason}")]
    Refused {
        command: &'static str,
        reason: String,
    },
    /// It answered with something that is no answer.
    #[error("an answer could not be read: {0}")]
    Malformed(String),
    /// The socket failed.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionRefused
            | ErrorKind::NotFound => CallError::Closed,
            _ => CallError::Io(error),
        }
    }
}

/// Ends `call` with [`CallError::Timeout`] after `after`.
pub(crate) async fn within<T>(
    after: Duration,
    command: &'static str,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    tokio::time::timeout(after, call)
        .await
        .unwrap_or(Err(CallError::Timeout { command, after }))
}
