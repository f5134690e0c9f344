//! Output as it comes, line by line, each behind its machine's name.

use std::io::{self, Write};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::text::Shown;
use crate::fleet::Stop;

/// A line that is longer, in bytes, is broken.
const LONGEST: usize = 64 << 10;

/// Blocks that wait to be printed. When there are more, machines wait.
const WAITING: usize = 32;

/// Whole lines of one stream of one machine.
struct Block {
    prefix: String,
    bytes: Vec<u8>,
    is_error: bool,
}

/// Where lines go.
#[derive(Clone)]
pub struct Lines {
    blocks: mpsc::Sender<Block>,
}

/// Prints blocks on a thread of its own, for a reader that is slow must not stop the program from hearing Ctrl-C;
/// when nobody reads any more, the run is stopped.
pub fn printer(shown: (Shown, Shown), stop: Stop) -> (Lines, JoinHandle<io::Result<()>>) {
    let (blocks, mut waiting) = mpsc::channel::<Block>(WAITING);
    let printing = tokio::task::spawn_blocking(move || {
        while let Some(block) = waiting.blocking_recv() {
            let bytes = block.bytes.as_slice();
            let printed = match block.is_error {
                true => shown.1.copy(bytes, std::io::stderr().lock(), &block.prefix),
                false => {
                    let mut out = std::io::stdout().lock();
                    let copied = shown.0.copy(bytes, &mut out, &block.prefix);
                    copied.and_then(|()| out.flush())
                }
            };
            if printed.is_err() {
                stop.starting.cancel();
                stop.running.cancel();
                return printed;
            }
        }
        Ok(())
    });
    (Lines { blocks }, printing)
}

impl Lines {
    /// Prints what comes from a machine until it ends.
    pub async fn pump(&self, name: &str, is_error: bool, mut from: impl AsyncRead + Unpin) {
        let mut held = Vec::with_capacity(4 << 10);
        loop {
            let ended = !matches!(from.read_buf(&mut held).await, Ok(1..));
            let whole = match held.iter().rposition(|byte| *byte == b'\n') {
                _ if ended || held.len() >= LONGEST => held.len(),
                Some(newline) => newline + 1,
                None => 0,
            };
            if whole > 0 {
                let rest = held.split_off(whole);
                let block = Block {
                    prefix: format!("{name}: "),
                    bytes: std::mem::replace(&mut held, rest),
                    is_error,
                };
                if self.blocks.send(block).await.is_err() {
                    return;
                }
            }
            if ended {
                return;
            }
        }
    }
}
