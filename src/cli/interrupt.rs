//! Ctrl-C for commands that end in an orderly way.

use tokio::signal::unix::{SignalKind, signal};

use super::words::INTERRUPTED;
use crate::fleet::Stop;

/// From now on the first Ctrl-C begins no more work, the second ends what runs, and the third ends the program.
/// SIGTERM is two at once.
///
/// # Errors
/// If signals cannot be heard.
pub fn listen(stop: Stop) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => stop.starting.cancel(),
            }
            if stop.running.is_cancelled() {
                std::process::exit(INTERRUPTED.into());
            }
            if stop.starting.is_cancelled() {
                stop.running.cancel();
            } else {
                stop.starting.cancel();
                eprintln!("berth: what runs is finished first; Ctrl-C again ends it now");
            }
        }
    });
    Ok(())
}
