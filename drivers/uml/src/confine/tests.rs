use std::process::Stdio;

use super::*;

#[test]
fn every_landlock_says_what_it_leaves_open() {
    assert!(left_open(0).unwrap().contains("no Landlock"));
    assert!(left_open(3).is_some() && left_open(5).is_some());
    assert_eq!(left_open(7), None);
}

/// `cat FILE` under a confinement that opens the system's programs and `folder`.
async fn cat(file: &Path, folder: &Path) -> bool {
    let access = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute;
    let openings: Vec<Opening> = ["/usr", "/lib", "/lib64", "/etc/ld.so.cache"]
        .iter()
        .map(Path::new)
        .chain([folder])
        .filter_map(|path| fs::canonicalize(path).ok())
        .map(|path| Opening { path, access })
        .collect();
    let mut confinement = Confinement {
        ruleset: ruleset(&openings).unwrap(),
        filter: syscalls::filter().unwrap(),
        files: libc::rlimit {
            rlim_cur: 64,
            rlim_max: 64,
        },
    };
    let mut command = Command::new("/bin/cat");
    command
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    confinement
        .begin(&mut command, &folder.join("pid"))
        .unwrap();
    confinement.end(&mut command);
    command.status().await.unwrap().success()
}

#[tokio::test]
async fn what_is_not_opened_stays_closed() {
    if landlock_version() == 0 {
        println!("skipped: no Landlock here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (mine, other) = (
        folder.path().join("mine"),
        tempfile::NamedTempFile::new().unwrap(),
    );
    fs::write(&mine, "mine").unwrap();
    assert!(cat(&mine, folder.path()).await);
    assert!(!cat(other.path(), folder.path()).await);
}

#[tokio::test]
async fn the_lock_lives_as_long_as_the_program() {
    use berth_driver_api::running::holder;
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let mut confinement = Confinement {
        ruleset: None,
        filter: syscalls::filter().unwrap(),
        files: libc::rlimit {
            rlim_cur: 128,
            rlim_max: 128,
        },
    };
    let mut command = Command::new("/bin/cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    confinement.begin(&mut command, &pid_file).unwrap();
    confinement.end(&mut command);
    let mut child = command.spawn().unwrap();
    assert_eq!(holder(&pid_file).unwrap(), child.id().map(|id| id as i32));
    drop(child.stdin.take());
    child.wait().await.unwrap();
    assert_eq!(holder(&pid_file).unwrap(), None);
}
