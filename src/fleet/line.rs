//! A line for one machine's shell.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::kept::Kept;
use crate::machine::{Error, Opened, Result};

/// How long a machine that runs may take to let us in.
const CONNECTING: Duration = Duration::from_secs(30);

/// Runs the line that `line` makes for the login's name, on streams of any size, and tells its exit status. It takes one
/// connection: one that is kept, if connections are.
///
/// # Errors
/// If the machine does not let us in, the connection is lost, or a stream cannot be written.
pub async fn run_line(
    opened: &Opened,
    kept: Option<&Kept>,
    line: impl Fn(&str) -> String,
    mut stdin: impl AsyncRead + Unpin,
    mut stdout: impl AsyncWrite + Unpin,
    mut stderr: impl AsyncWrite + Unpin,
) -> Result<i32> {
    let failed = Error::provision(&opened.record.name);
    if let Some(kept) = kept {
        let target = opened.target().await?;
        let line = line(&target.user);
        let ran = kept.run(&target, &line, &mut stdin, &mut stdout, &mut stderr);
        match ran.await {
            Ok(Some(code)) => return Ok(code),
            Ok(None) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let session = opened.connect(CONNECTING).await?;
    let line = line(session.user());
    let ran = session.exec_streams(&line, stdin, stdout, stderr).await;
    let code = ran.map_err(failed)?;
    session.disconnect().await;
    Ok(code)
}
