//! Taking an image from a server on this computer, against downloading and checking it one after the other.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::world::{World, median, printed, timed};
use super::{Figure, at_least, plain};

const ROUNDS: usize = 3;
const MEGABYTES: usize = 512;

/// Serves one disk of noise, and has it taken both ways in turn.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    let disk = world.file("disk.qcow2");
    let make = format!(
        "head -c {MEGABYTES}M /dev/urandom >noise && qemu-img convert -f raw -O qcow2 noise disk.qcow2 && rm noise"
    );
    printed(
        Command::new("sh")
            .args(["-ec", &make])
            .current_dir(world.file("")),
    )?;
    let sum = printed(Command::new("sha512sum").arg(&disk))?;
    let sum = sum.split(' ').next().context("a checksum")?;
    let address = serve(&disk)?;
    let digest = format!("sha512:{sum}");

    let (mut ours, mut one_by_one) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut pull = world.berth(&["image", "pull", &address, "--digest", &digest]);
        // Into a store of its own, which has nothing of it yet.
        let store = world.file("store");
        ours.push(timed(pull.env("BERTH_IMAGES", &store))?);
        std::fs::remove_dir_all(&store)?;
        let both = format!("curl -fsS -o got {address} && sha512sum got && sync got && rm got");
        let mut both_in_turn = Command::new("sh");
        both_in_turn
            .args(["-ec", &both])
            .current_dir(world.file(""));
        one_by_one.push(timed(&mut both_in_turn)?);
    }
    let rate = |times: Vec<Duration>| MEGABYTES as f64 / median(times).as_secs_f64();
    let (ours, one_by_one) = (rate(ours), rate(one_by_one));
    Ok(vec![
        plain("berth image pull", ours, "MB/s"),
        plain("curl, then sha512sum", one_by_one, "MB/s"),
        at_least("pull against that", ours / one_by_one, "×", 0.9),
    ])
}

/// Answers every request on a loopback port with the file, for as long as this program runs.
fn serve(file: &Path) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}/disk.qcow2", listener.local_addr()?);
    let file = file.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A client that goes away is its own loss.
            let _ = answer(client, &file);
        }
    });
    Ok(address)
}

fn answer(mut client: TcpStream, file: &Path) -> Result<()> {
    let mut head = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    while head.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut file = std::fs::File::open(file)?;
    let length = file.metadata()?.len();
    write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    std::io::copy(&mut file, &mut client)?;
    Ok(())
}
