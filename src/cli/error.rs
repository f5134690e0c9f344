//! What commands themselves find wrong.

/// Ctrl-C or SIGTERM came.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// The command line is well-formed but asks for something that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Something is not there: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotFound(pub String);

/// What is missing on this computer and how to get it.
#[derive(Debug, thiserror::Error)]
#[error("this computer is not ready: {0}")]
pub struct NotReady(pub String);
