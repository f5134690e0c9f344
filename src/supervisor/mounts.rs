//! The machine's mounts: made when the connection stands, made again when it came back, ended when the record no longer
//! has them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_provision::share::{Share, Way};
use berth_provision::ssh::Session;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::link::Link;
use super::status::{Board, MountRow};
use crate::machine::{Berth, Mount, Opened};
use crate::sftp::{self, Export};
use crate::store::Watch;

/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How long a guest may take to let a folder go.
const UNMOUNTING: Duration = Duration::from_secs(60);

/// How often the record is looked at if it cannot be watched.
const LOOK: Duration = Duration::from_secs(60);

/// What the words on the board are.
const VIRTIOFS: &str = "virtiofs";
const SSHFS: &str = "sshfs";

/// One mount's keeper, as it is told what is wanted.
struct Keeper {
    mount: Mount,
    /// False when the mount is to end; sent again when it is worth trying at once.
    wanted: watch::Sender<bool>,
}

/// Keeps the mounts as the record has them, for as long as it is polled.
pub async fn follow(berth: &Berth, opened: &Opened, link: Link, board: Arc<Board>) {
    let mut changes = Watch::new().ok();
    if let Some(watch) = &mut changes
        && let Err(error) = watch.folder(opened.folder.path())
    {
        tracing::warn!(%error, "the record is not watched");
    }
    let virtiofs = opened.driver.info().capabilities.shares;
    let mut keepers: BTreeMap<String, Keeper> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        if let Ok(record) = berth.record(&opened.record.name) {
            keepers.retain(|_, keeper| {
                let stays = record.mounts.contains(&keeper.mount);
                keeper.wanted.send_replace(stays);
                stays
            });
            for mount in &record.mounts {
                if keepers.contains_key(&mount.guest) {
                    continue;
                }
                more_descriptors();
                let (wanted, told) = watch::channel(true);
                let keeping = keep(mount.clone(), virtiofs, link.clone(), board.clone(), told);
                tasks.spawn(keeping);
                let mount = mount.clone();
                keepers.insert(mount.guest.clone(), Keeper { mount, wanted });
            }
        }
        while tasks.try_join_next().is_some() {}
        let _ = tokio::time::timeout(LOOK, record_changes(&mut changes)).await;
    }
}

/// A guest may have many files open, and each takes a descriptor here.
fn more_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "few files can be open at once");
    }
}

async fn record_changes(changes: &mut Option<Watch>) {
    let Some(watch) = changes else {
        return std::future::pending().await;
    };
    loop {
        let name = watch.next().await;
        if name.is_empty() || name == "machine.toml" {
            return;
        }
    }
}

/// Keeps one mount until it is no longer wanted.
async fn keep(
    mount: Mount,
    virtiofs: bool,
    mut link: Link,
    board: Arc<Board>,
    mut wanted: watch::Receiver<bool>,
) {
    let row = |transport: Option<&str>, error: Option<String>| {
        board.mount(MountRow {
            guest: mount.guest.clone(),
            transport: transport.map(str::to_owned),
            error,
        });
    };
    let share = Share {
        tag: mount.tag(),
        guest: mount.guest.clone(),
        read_only: mount.read_only,
    };
    let mut pause = FIRST_PAUSE;
    while *wanted.borrow_and_update() {
        row(None, None);
        let session = tokio::select! {
            session = link.session() => match session {
                Some(session) => session,
                None => return,
            },
            _ = wanted.changed() => continue,
        };
        let mut lost = link.clone();
        let ended = {
            let hold = hold(&share, &mount, virtiofs, &session, |way| {
                row(Some(way), None)
            });
            let mut hold = std::pin::pin!(hold);
            loop {
                tokio::select! {
                    ended = &mut hold => break Some(ended),
                    () = lost.lost() => break None,
                    told = wanted.changed() => {
                        if told.is_ok() && *wanted.borrow_and_update() {
                            continue;
                        }
                        // It is served until it is unmounted: what the guest has not written yet is not lost.
                        let ending = tokio::time::timeout(UNMOUNTING, share.end(&session));
                        let ended = tokio::select! {
                            ended = ending => ended.map_or_else(|_| Some("it does not end".into()), |ended| {
                                ended.err().map(|error| error.to_string())
                            }),
                            () = lost.lost() => None,
                            _ = &mut hold => None,
                        };
                        match ended {
                            Some(error) => row(None, Some(error)),
                            None => board.no_mount(&mount.guest),
                        }
                        return;
                    }
                }
            }
        };
        let Some(trouble) = ended else {
            row(None, None);
            pause = FIRST_PAUSE;
            continue;
        };
        tracing::warn!(guest = mount.guest, trouble, "not mounted");
        row(None, Some(trouble));
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            _ = wanted.changed() => pause = FIRST_PAUSE,
        }
    }
    board.no_mount(&mount.guest);
}

/// Mounts, says how by `mounted`, and returns what was wrong when the mount is no longer there. A mount by the
/// hypervisor needs nobody and stays.
async fn hold(
    share: &Share,
    mount: &Mount,
    virtiofs: bool,
    session: &Session,
    mounted: impl Fn(&str),
) -> String {
    if !mount.host.is_dir() {
        return format!("{} is not there any more", mount.host.display());
    }
    let owner = match share.begin(session, virtiofs).await {
        Ok(Way::Virtiofs) => {
            mounted(VIRTIOFS);
            return std::future::pending().await;
        }
        Ok(Way::Sshfs(owner)) => owner,
        Err(error) => return error.to_string(),
    };
    let stream = match share.start_sshfs(session).await {
        Ok(stream) => stream,
        Err(error) => return error.to_string(),
    };
    let export = Export {
        folder: mount.host.clone(),
        read_only: mount.read_only,
        owner,
    };
    let mut serving = std::pin::pin!(sftp::serve(stream, &export));
    let appears = share.mounted(session);
    let served = tokio::select! {
        served = &mut serving => served,
        appeared = appears => {
            if let Err(error) = appeared {
                return error.to_string();
            }
            mounted(SSHFS);
            serving.await
        }
    };
    let words = share.sshfs_words(session).await;
    match (served, words.is_empty()) {
        (Err(error), true) => error.to_string(),
        (Ok(()), true) => "sshfs ended".into(),
        (_, false) => format!("sshfs ended: {words}"),
    }
}
