//! Folders of the host for a machine: each has a virtiofsd, which needs no root and ends with its QEMU.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use berth_driver_api::process::{self, Newborn};
use berth_driver_api::{Error, Machine, Progress, Result, Share, files};
use command_fds::CommandFdExt;
use nix::unistd::{Gid, Uid};
use tokio::process::Command;

use crate::network::mapping;

/// What the servers said, in the machine's folder.
pub(crate) const LOG: &str = "shares.log";

/// Where a server finds its socket.
const LISTENER: i32 = 10;

/// What it says once it serves.
const SERVES: &str = "Waiting for vhost-user socket connection";

/// How long it may take to say so.
const DEADLINE: Duration = Duration::from_secs(10);

/// How it keeps itself to its folder, the best first. Where users may not make namespaces it has only what it is coded
/// to do.
const SANDBOXES: &[&str] = &["namespace", "none"];

/// The server of one folder.
pub(crate) struct Server {
    /// What the guest knows the folder by.
    pub(crate) tag: String,
    /// QEMU's end of its connection. As long as nobody has it, the server ends when berth does.
    pub(crate) socket: Option<UnixStream>,
    pub(crate) process: Newborn,
}

/// Where Linux distributions put the program, which is no command for people.
pub(crate) fn program() -> Option<PathBuf> {
    process::find("virtiofsd").or_else(|| {
        ["/usr/libexec/virtiofsd", "/usr/lib/virtiofsd"]
            .map(PathBuf::from)
            .into_iter()
            .find(|file| file.is_file())
    })
}

/// Starts a server for each of the machine's folders that can have one, and says of the others why not.
///
/// # Errors
/// If a socket or the log cannot be made.
pub(crate) async fn serve(machine: &Machine, progress: &dyn Progress) -> Result<Vec<Server>> {
    if machine.shares.is_empty() {
        return Ok(Vec::new());
    }
    let Some(program) = program() else {
        progress.note("virtiofsd is not installed: folders come over SSH, which is slower");
        return Ok(Vec::new());
    };
    let log = machine.file(LOG);
    files::remove(&log)?;
    let mut servers = Vec::new();
    for share in &machine.shares {
        match start(machine, &program, share, &log).await? {
            Ok(server) => servers.push(server),
            Err(words) => progress.note(&format!(
                "{} cannot be had by virtiofs: {words}",
                share.folder.display()
            )),
        }
    }
    Ok(servers)
}

/// Whether a sandbox works is seen by trying it: users' namespaces are forbidden in many ways.
async fn start(
    machine: &Machine,
    program: &Path,
    share: &Share,
    log: &Path,
) -> Result<Result<Server, String>> {
    let mut words = String::new();
    for sandbox in SANDBOXES {
        // Root's server would not be confined by anything but itself.
        if *sandbox == "none" && Uid::effective().is_root() {
            break;
        }
        match start_in(machine, program, share, log, sandbox).await? {
            Ok(server) => return Ok(Ok(server)),
            Err(said) => {
                tracing::debug!(machine = machine.name, sandbox, said, "virtiofsd");
                words = said;
            }
        }
    }
    Ok(Err(words))
}

async fn start_in(
    machine: &Machine,
    program: &Path,
    share: &Share,
    log: &Path,
    sandbox: &str,
) -> Result<Result<Server, String>> {
    let path = machine.socket("share");
    files::remove(&path)?;
    let listener = UnixListener::bind(&path).map_err(Error::io(&path))?;
    let socket = UnixStream::connect(&path).map_err(Error::io(&path))?;
    files::remove(&path)?;

    let before = std::fs::metadata(log).map_or(0, |found| found.len());
    let open = || {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        options.open(log).map_err(Error::io(log))
    };
    let (user, group) = (Uid::effective(), Gid::effective());
    let mut command = Command::new(program);
    command
        .arg("--shared-dir")
        .arg(&share.folder)
        .args(["--fd", &LISTENER.to_string()])
        .args(["--sandbox", sandbox])
        // What others change here is seen at once where they say so, and within a second elsewhere.
        .args(["--cache", "auto"])
        // In the guest all is root's; here all is whose machine it is.
        .arg(format!(
            "--translate-uid=squash-guest:0:{user}:{}",
            u32::MAX
        ))
        .arg(format!("--translate-uid=squash-host:0:0:{}", u32::MAX))
        .arg(format!(
            "--translate-gid=squash-guest:0:{group}:{}",
            u32::MAX
        ))
        .arg(format!("--translate-gid=squash-host:0:0:{}", u32::MAX))
        .stdin(Stdio::null())
        .stdout(Stdio::from(open()?))
        .stderr(Stdio::from(open()?));
    if share.read_only {
        command.arg("--readonly");
    }
    command
        .as_std_mut()
        .fd_mappings(vec![mapping(listener, LISTENER)])
        .map_err(|error| Error::failed("handing a socket to virtiofsd", error))?;
    let mut process = Newborn::new(process::spawn_detached(command)?);

    let said = || {
        let all = std::fs::read(log).unwrap_or_default();
        let new = usize::try_from(before).unwrap_or_default();
        all.get(new..).unwrap_or_default().to_vec()
    };
    let serves = async {
        let mut pause = Duration::from_millis(2);
        // It tells by a line in its log only.
        while !String::from_utf8_lossy(&said()).contains(SERVES) {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    };
    let serves = tokio::select! {
        () = serves => true,
        () = process.ended() => false,
        () = tokio::time::sleep(DEADLINE) => false,
    };
    if !serves {
        return Ok(Err(process::last_lines(&said(), 2)));
    }
    Ok(Ok(Server {
        tag: share.tag.clone(),
        socket: Some(socket),
        process,
    }))
}
