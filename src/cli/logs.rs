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
    if print_rest(&mut file)? && args.follow {
        follow(&path, &mut file).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what the file has beyond its position; `false` once nobody reads.
fn print_rest(file: &mut File) -> Result<bool> {
    let mut buffer = [0u8; 16 << 10];
    let mut out = std::io::stdout().lock();
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(true);
        }
        match out
            .write_all(&printable(&buffer[..count]))
            .and_then(|()| out.flush())
        {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
            other => other?,
        }
    }
}

/// A guest writes its console: its escape sequences must not drive the user's terminal.
fn printable(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .copied()
        .filter(|byte| matches!(byte, b'\n' | b'\t' | 0x20..=0x7e | 0x80..=0xff))
        .collect()
}

async fn follow(path: &Path, file: &mut File) -> Result<()> {
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
        if !print_rest(file)? {
            return Ok(());
        }
        let Some(event) = events.next().await else {
            return Ok(());
        };
        let gone = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED;
        if event?.mask.intersects(gone) || !path.exists() {
            print_rest(file)?;
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(printable(b"ok\x1b[2J\x07\r\n"), b"ok[2J\n");
        assert_eq!(printable("grün\n".as_bytes()), "grün\n".as_bytes());
    }
}
