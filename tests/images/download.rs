//! Downloads that break off, come twice, change or never end.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::http::{Answer, Server};
use crate::support::World;
use crate::{disk, plain_entry, sums};

#[test]
fn a_download_goes_on_where_it_broke_off() {
    let world = World::new();
    let bytes = disk(&world);
    let (list, count) = (sums(&bytes), AtomicUsize::new(0));
    let server = Server::new(move |request| match request.path.as_str() {
        // The line breaks twice.
        "/disk.img" if count.fetch_add(1, Ordering::SeqCst) < 2 => {
            Answer::file(request, &bytes).cut_after(70_000)
        }
        "/disk.img" => Answer::file(request, &bytes),
        _ => Answer::text(&list),
    });
    plain_entry(&world, "some", &server);
    world.berth(&["image", "pull", "some"]).ok();
    let asked = server.asked_for("/disk.img");
    let from: Vec<_> = asked
        .iter()
        .map(|r| r.headers.get("range").cloned())
        .collect();
    assert_eq!(
        from,
        [
            None,
            Some("bytes=70000-".into()),
            Some("bytes=140000-".into())
        ]
    );
    assert!(asked[1].headers.contains_key("if-range"));
}

#[test]
fn a_berth_that_was_killed_leaves_its_half_to_the_next_one() {
    let world = World::new();
    // Long enough that some of it reaches the disk at once.
    let mut bytes: Vec<u8> = (0..8_u32 << 20)
        .map(|at| (at.wrapping_mul(at) >> 9) as u8)
        .collect();
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let (list, count) = (sums(&bytes), AtomicUsize::new(0));
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" if count.fetch_add(1, Ordering::SeqCst) == 0 => {
            Answer::file(request, &bytes).slowly_after(5 << 20)
        }
        "/disk.img" => Answer::file(request, &bytes),
        _ => Answer::text(&list),
    });
    plain_entry(&world, "some", &server);
    let mut first = world.background(&["image", "pull", "some"]);
    crate::support::eventually("something has come", || {
        let parts = fs::read_dir(world.path("images/tmp"));
        parts.into_iter().flatten().flatten().any(|entry| {
            let name = entry.file_name().into_string().unwrap();
            !name.contains('.')
                && name.starts_with("part-")
                && entry.metadata().is_ok_and(|m| m.len() > 0)
        })
    });
    first.kill().unwrap();
    first.wait().unwrap();
    let told = world.berth(&["image", "prune", "--dry-run"]).ok();
    assert!(
        told.stdout.contains("a download that broke off"),
        "{told:?}"
    );
    world.berth(&["image", "pull", "some"]).ok();
    let asked = server.asked_for("/disk.img");
    assert!(asked[1].headers["range"].starts_with("bytes="), "{asked:?}");
    assert!(
        world
            .berth(&["image", "prune", "--dry-run"])
            .ok()
            .stdout
            .is_empty()
    );
}

#[test]
fn a_server_that_sends_more_than_the_rest_is_left() {
    let world = World::new();
    let bytes = disk(&world);
    let (list, count, total) = (sums(&bytes), AtomicUsize::new(0), bytes.len());
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" if count.fetch_add(1, Ordering::SeqCst) == 0 => {
            Answer::file(request, &bytes).cut_after(70_000)
        }
        "/disk.img" => Answer::endless_rest(70_000, total),
        _ => Answer::text(&list),
    });
    plain_entry(&world, "some", &server);
    let ran = world.berth(&["image", "pull", "some"]).code(1);
    ran.says("it sends more than");
}

#[test]
fn a_download_that_was_whole_already_is_only_checked() {
    let world = World::new();
    let bytes = disk(&world);
    let (list, count) = (sums(&bytes), AtomicUsize::new(0));
    let part = world.path("images/tmp");
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" if count.fetch_add(1, Ordering::SeqCst) == 0 => {
            Answer::file(request, &bytes).cut_after(70_000)
        }
        "/disk.img" => {
            // As if berth had been killed after the last byte.
            let parts = fs::read_dir(&part)
                .unwrap()
                .map(|entry| entry.unwrap().path());
            let mut parts = parts.filter(|path| path.display().to_string().contains("part-"));
            let half = parts.find(|path| path.extension().is_none()).unwrap();
            fs::write(half, &bytes).unwrap();
            match request.headers["range"].as_str() {
                "bytes=70000-" => Answer::status(503),
                _ => Answer::file(request, &bytes),
            }
        }
        _ => Answer::text(&list),
    });
    plain_entry(&world, "some", &server);
    world.berth(&["image", "pull", "some"]).ok();
    assert_eq!(server.asked_for("/disk.img").len(), 3);
}

#[test]
fn a_file_that_changed_meanwhile_is_downloaded_anew() {
    let world = World::new();
    let new = disk(&world);
    let old = [new.clone(), vec![1; 9000]].concat();
    let (list, count) = (sums(&new), AtomicUsize::new(0));
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" if count.fetch_add(1, Ordering::SeqCst) == 0 => {
            Answer::file(request, &old).cut_after(70_000)
        }
        "/disk.img" => Answer::file(request, &new),
        _ => Answer::text(&list),
    });
    plain_entry(&world, "some", &server);
    world.berth(&["image", "pull", "some"]).ok();
    assert_eq!(server.asked_for("/disk.img").len(), 2);
}

#[test]
fn of_two_pulls_at_once_one_downloads() {
    let world = World::new();
    let bytes = disk(&world);
    let list = sums(&bytes);
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" => Answer::file(request, &bytes).after(Duration::from_secs(1)),
        _ => Answer::text(&list),
    });
    plain_entry(&world, "some", &server);
    let both = [(); 2].map(|()| world.background(&["image", "pull", "some"]));
    let [one, two] = both.map(|child| world.wait(child).ok());
    assert_eq!(one.stdout, two.stdout);
    assert_eq!(server.asked_for("/disk.img").len(), 1);
    let waited = "Waiting for another berth that downloads the same image";
    assert!(
        one.stderr.contains(waited) != two.stderr.contains(waited),
        "{one:?} {two:?}"
    );
}

#[test]
fn memory_stays_flat_however_large_the_disk_is() {
    let world = World::new();
    let mut bytes = vec![0; 256 << 20];
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let (list, bytes) = (sums(&bytes), Arc::new(bytes));
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" => Answer::file(request, &bytes),
        _ => Answer::text(&list),
    });
    plain_entry(&world, "large", &server);
    let mut child = world.background(&["image", "pull", "large"]);
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|kib| kib.split_whitespace().next()?.parse().ok());
        most = most.max(peak.unwrap_or(0_u64));
        std::thread::sleep(Duration::from_millis(5));
    }
    world.wait(child).ok();
    println!("{most} KiB at most");
    assert!((1..64 << 10).contains(&most), "{most} KiB");
}
