//! `berth cp`

mod many;
mod way;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use berth_provision::ssh::quote;
use tokio::process::Command;

use super::error::Usage;
use super::fleet_args::FleetArgs;
use super::progress::Screen;
use super::ssh::reachable;
use crate::fleet::{Filters, is_pattern};
use crate::kept::Kept;
use crate::machine::{Berth, Opened, check_name};
use way::{Way, both_good, ended, tar};

/// Copy files and folders to or from machines, with modes, times and symbolic links
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A DST that is a folder takes SRC into it; any other DST is what SRC is called there. From many \
                        machines, what NAME has becomes DST/NAME/…, and DST is made if it is missing.\n\
                        The names of machines that were copied to or from are printed; the exit code is 5 if one \
                        failed.\n\n\
                        Examples:\n  berth cp ./site web1:/srv/site\n  berth cp web1:/etc/docker/daemon.json .\n  \
                        berth cp ./motd 'web*:/etc/motd'\n  berth cp -l role=web ./motd :/etc/motd\n  \
                        berth cp --all :/etc/docker/daemon.json ./collected"
)]
pub struct Args {
    /// A path, or NAME:PATH; NAME may be a pattern such as 'web*', or nothing where machines are selected
    #[arg(value_name = "SRC")]
    source: String,

    /// A path, or NAME:PATH
    #[arg(value_name = "DST")]
    destination: String,

    #[command(flatten)]
    filters: Filters,

    #[command(flatten)]
    fleet: FleetArgs,
}

/// The last file of an archive that is sent.
const END: &str = ".berth-cp-end";

/// A side of the copy.
enum Side<'a> {
    Here(&'a Path),
    There(&'a str, &'a str),
}

/// Copies with tar at both ends: one stream, and everything that a file system knows of a file.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    match (side(&args.source), side(&args.destination)) {
        (Side::Here(source), Side::There(name, path)) => {
            if args.names_one(name) {
                let copying = async {
                    upload(&reachable(berth, name).await?, Way::System, source, path).await
                };
                return args.alone(name, copying).await;
            }
            look(source)?;
            let kept = Kept::running(&berth.home);
            let way = Way::Own(kept.as_ref());
            many::run(berth, args, screen, name, async |name: String| {
                upload(&reachable(berth, &name).await?, way, source, path).await
            })
            .await
        }
        (Side::There(name, path), Side::Here(destination)) => {
            if args.names_one(name) {
                let copying = async {
                    let opened = reachable(berth, name).await?;
                    download(&opened, Way::System, path, destination).await
                };
                return args.alone(name, copying).await;
            }
            base(path)?;
            let kept = Kept::running(&berth.home);
            let way = Way::Own(kept.as_ref());
            many::run(berth, args, screen, name, async |name: String| {
                let opened = reachable(berth, &name).await?;
                let folder = destination.join(&name);
                std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
                download(&opened, way, path, &folder).await
            })
            .await
        }
        _ => bail!(Usage(
            "one of SRC and DST is NAME:PATH, the other is a path here".into()
        )),
    }
}

impl Args {
    /// Whether one machine is meant, and by its name.
    fn names_one(&self, name: &str) -> bool {
        self.filters.is_empty() && check_name(name).is_ok()
    }

    /// One machine's copy, within the time that it has.
    async fn alone(
        &self,
        name: &str,
        copying: impl Future<Output = Result<()>>,
    ) -> Result<ExitCode> {
        match self.fleet.alone() {
            None => copying.await?,
            Some(time) => match tokio::time::timeout(time, copying).await {
                Ok(copied) => copied?,
                Err(_) => {
                    let seconds = time.as_secs_f64();
                    bail!("machine {name}: not copied within {seconds} s")
                }
            },
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn side(text: &str) -> Side<'_> {
    match text.split_once(':') {
        Some((name, path)) if check_name(name).is_ok() || means_many(name) => {
            Side::There(name, path)
        }
        _ => Side::Here(Path::new(text)),
    }
}

/// Whether what stands before a colon is a pattern for machines' names, or nothing.
fn means_many(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-*?".contains(c);
    name.is_empty() || is_pattern(name) && name.chars().all(fits)
}

async fn upload(opened: &Opened, way: Way<'_>, source: &Path, destination: &str) -> Result<()> {
    let source = std::path::absolute(source)?;
    look(&source)?;
    let (folder, base) = split(&source)?;
    let destination = match destination {
        "" => ".",
        path => path,
    };
    let (d, b) = (quote(destination), quote(&base));
    // Unpacked beside its place and moved there, so that a copy that breaks off leaves no half of it under that name.
    // An archive may be cut off between two files and look whole: its last file tells that it is. The shell that clears
    // up must outlive the connection.
    let script = format!(
        "set -eu; trap '' HUP PIPE; d={d}; b={b}\n\
         if [ -d \"$d\" ]; then d=${{d%/}}/$b; fi\n\
         case \"$d\" in */) echo \"$d is not a folder\" >&2; exit 1;; esac\n\
         t=$(mktemp -d -- \"$(dirname -- \"$d\")/.berth-cp.XXXXXX\"); trap 'rm -rf -- \"$t\"' EXIT\n\
         mkdir \"$t/new\"; tar -xpf - -C \"$t/new\"\n\
         if ! [ -e \"$t/new/{END}\" ]; then echo 'the copy was cut off' >&2; exit 1; fi\n\
         if [ -d \"$d\" ] && ! [ -L \"$d\" ] && [ -d \"$t/new/$b\" ]; then cp -a -T -- \"$t/new/$b\" \"$d\"\n\
         else mv -T -- \"$t/new/$b\" \"$d\"; fi"
    );
    let end = tempfile::tempdir()?;
    std::fs::File::create(end.path().join(END))?;
    let mut pack = tar()?
        .args(["-cf", "-", "-C"])
        .arg(&folder)
        .arg(Path::new(".").join(&base))
        .arg("-C")
        .arg(end.path())
        .arg(END)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stream = pack.stdout.take().context("tar has no output")?;
    let unpacked = way.send(opened, &script, stream);
    let (unpacked, packed) = tokio::try_join!(unpacked, ended(pack))?;
    both_good(&opened.record.name, &packed, &unpacked)
}

/// Whether there is something to be sent.
fn look(source: &Path) -> Result<()> {
    std::fs::symlink_metadata(source).with_context(|| source.display().to_string())?;
    Ok(())
}

/// A path without slashes at its end, and the name that it ends in.
fn base(source: &str) -> Result<(&str, &str)> {
    let trimmed = source.trim_end_matches('/');
    let base = trimmed.rsplit('/').next().unwrap_or(trimmed);
    if base.is_empty() || base == "." || base == ".." {
        bail!(Usage(format!("{source:?} does not end in a file's name")));
    }
    Ok((trimmed, base))
}

async fn download(opened: &Opened, way: Way<'_>, source: &str, destination: &Path) -> Result<()> {
    let (trimmed, base) = base(source)?;
    let destination = std::path::absolute(destination)?;
    let target = match destination.is_dir() {
        true => destination.join(base),
        false => destination,
    };
    let (folder, _) = split(&target)?;
    let (s, b) = (quote(trimmed), quote(base));
    let script = format!("exec tar -cf - -C \"$(dirname -- {s})\" -- {b}");
    // The archive is the guest's word: it is unpacked into an empty folder of its own, and only the one thing asked
    // for is taken out of it.
    let draft = tempfile::Builder::new()
        .prefix(".berth-cp.")
        .tempdir_in(&folder)
        .with_context(|| folder.display().to_string())?;
    let mut unpack = tar()?
        .args(["-xpf", "-", "--no-same-owner", "-C"])
        .arg(draft.path())
        .stdin(Stdio::piped())
        .spawn()?;
    let stream = unpack.stdin.take().context("tar has no input")?;
    let packed = way.fetch(opened, &script, stream);
    let (packed, unpacked) = tokio::try_join!(packed, ended(unpack))?;
    both_good(&opened.record.name, &packed, &unpacked)?;
    let arrived = draft.path().join(base);
    if target.is_dir() && !target.is_symlink() {
        return merge(&arrived, &target).await;
    }
    std::fs::rename(&arrived, &target).with_context(|| target.display().to_string())
}

/// A folder that is there already takes the new files in, as `cp -r` does.
async fn merge(from: &Path, into: &Path) -> Result<()> {
    let status = Command::new("cp")
        .args(["-a", "-T", "--"])
        .args([from, into])
        .kill_on_drop(true)
        .status()
        .await?;
    match status.success() {
        true => Ok(()),
        false => bail!("cp failed: {status}"),
    }
}

fn split(path: &Path) -> Result<(PathBuf, String)> {
    let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
    match path.file_name().and_then(|name| name.to_str()) {
        Some(base) => Ok((folder, base.to_owned())),
        None => bail!(Usage(format!(
            "{} does not end in a file's name",
            path.display()
        ))),
    }
}
