//! `berth logs`

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use inotify::{EventMask, Inotify, WatchMask};

use super::client::logs::Wish;
use super::client::{self, Asking};
use super::error::NotFound;
use super::report::printable;
use crate::machine::Berth;

/// Print a machine's console, its supervisor's log, or what containers of many machines write
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth logs web1\n  berth logs -f web1\n  berth logs --supervisor web1\n  berth logs -f --container 'api*' -l role=web"
)]
pub struct Args {
    #[command(flatten)]
    asking: Asking,

    /// What containers of this name, or of a pattern such as 'web*', write, each line behind its machine's name
    #[arg(long, value_name = "CONTAINER", conflicts_with = "supervisor")]
    container: Option<String>,

    /// The last so many lines of each container only
    #[arg(long, value_name = "LINES", requires = "container")]
    tail: Option<u32>,

    /// Go on printing what is added
    #[arg(short, long)]
    follow: bool,

    /// The log of the machine's supervisor instead
    #[arg(long)]
    supervisor: bool,
}

/// Prints it.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    if let Some(container) = &args.container {
        let wish = Wish {
            container,
            follow: args.follow,
            tail: args.tail,
        };
        return client::logs::run(berth, &args.asking, &wish).await;
    }
    let name = args.asking.one_machine()?;
    let opened = berth.open(&name).await?;
    let path = match args.supervisor {
        true => Some(opened.folder.supervisor_log()),
        false => opened.driver.console(&opened.machine),
    };
    let Some(path) = path.filter(|path| path.exists()) else {
        return Err(NotFound(format!("machine {name} has no such log yet")).into());
    };
    let mut file = File::open(&path).with_context(|| path.display().to_string())?;
    let mut plain = Plain::default();
    if print_rest(&mut file, &mut plain)? && args.follow {
        follow(&path, &mut file, &mut plain).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what the file has beyond its position; `false` once nobody reads.
fn print_rest(file: &mut File, plain: &mut Plain) -> Result<bool> {
    let mut buffer = [0u8; 16 << 10];
    let mut out = std::io::stdout().lock();
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(true);
        }
        match out
            .write_all(plain.text(&buffer[..count]).as_bytes())
            .and_then(|()| out.flush())
        {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
            other => other?,
        }
    }
}

/// What a guest writes to its console, without what would drive the user's terminal. A character may come in pieces.
#[derive(Default)]
struct Plain(Vec<u8>);

impl Plain {
    fn text(&mut self, bytes: &[u8]) -> String {
        self.0.extend(bytes);
        let begun = std::mem::take(&mut self.0);
        let mut text = String::new();
        let mut chunks = begun.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(&printable(chunk.valid()));
            let rest = chunk.invalid();
            let unfinished =
                std::str::from_utf8(rest).is_err_and(|rest| rest.error_len().is_none());
            if chunks.peek().is_none() && unfinished {
                self.0 = rest.to_vec();
            } else if !rest.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text
    }
}

async fn follow(path: &Path, file: &mut File, plain: &mut Plain) -> Result<()> {
    let watch = Inotify::init()?;
    // A removed file still has this open: its last link shows as a change of attributes.
    watch.watches().add(
        path,
        WatchMask::MODIFY | WatchMask::MOVE_SELF | WatchMask::DELETE_SELF | WatchMask::ATTRIB,
    )?;
    let mut events = watch.into_event_stream([0u8; 4096])?;
    loop {
        // A file that was cut is read from its start again.
        if file.metadata()?.len() < file.stream_position()? {
            file.seek(SeekFrom::Start(0))?;
        }
        if !print_rest(file, plain)? {
            return Ok(());
        }
        let Some(event) = events.next().await else {
            return Ok(());
        };
        let gone = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED;
        if event?.mask.intersects(gone) || !path.exists() {
            print_rest(file, plain)?;
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_escape_sequences_do_not_reach_the_terminal() {
        let mut plain = Plain::default();
        assert_eq!(plain.text(b"ok\x1b[2J\x07\r\n"), "ok[2J\n");
        // The same as one character, which some terminals take as well.
        assert_eq!(plain.text("\u{9b}2J".as_bytes()), "2J");
        assert_eq!(plain.text(b"gr\xc3"), "gr");
        assert_eq!(plain.text(b"\xbcn \xff!\n"), "ün \u{fffd}!\n");
    }
}
