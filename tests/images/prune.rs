//! Images that nothing needs any more.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::http::{Answer, Server, sha256};
use crate::support::World;
use crate::{disk, listed, plain_entry, sums};

#[test]
fn what_a_later_pull_replaced_can_be_pruned() {
    let world = World::new();
    let first = disk(&world);
    let mut second = first.clone();
    // After the header: unused space in a qcow2.
    second.extend([0; 65536]);
    let (turn, old) = (Arc::new(AtomicUsize::new(0)), sha256(&first));
    let now = turn.clone();
    let server = Server::new(move |request| {
        let bytes = if now.load(Ordering::SeqCst) == 0 {
            &first
        } else {
            &second
        };
        match request.path.as_str() {
            "/disk.img" => Answer::file(request, bytes),
            _ => Answer::text(&sums(bytes)),
        }
    });
    plain_entry(&world, "some", &server);
    let one = world.berth(&["image", "pull", "some"]).ok().stdout;
    turn.store(1, Ordering::SeqCst);
    let two = world.berth(&["image", "pull", "some"]).ok().stdout;
    assert_ne!(one, two);
    // Just made, it may be on its way into a machine.
    assert!(
        world
            .berth(&["image", "prune", "--yes"])
            .ok()
            .stdout
            .is_empty()
    );
    let folder = world.path("images").join(one.trim().replace(':', "-"));
    let description = fs::read_to_string(folder.join("image.toml")).unwrap();
    assert!(description.contains(&old));
    let year = description.find("created = \"20").unwrap() + "created = \"".len();
    let mut aged = description.clone();
    aged.replace_range(year..year + 4, "2020");
    fs::write(folder.join("image.toml"), aged).unwrap();
    world.berth(&["image", "prune"]).code(2).says("--yes");
    let would = world.berth(&["image", "prune", "--dry-run"]).ok().stdout;
    assert!(would.contains(&one[..19]) && folder.exists(), "{would}");
    assert_eq!(world.berth(&["image", "prune", "--yes"]).ok().stdout, would);
    assert!(!folder.exists());
    assert_eq!(listed(&world, "some")["digest"], two.trim());
}

#[test]
fn a_machine_of_a_file_notes_its_use_and_keeps_its_image() {
    let world = World::new();
    let digest = format!("sha256:{}", sha256(&disk(&world)));
    let args = world.create_args(&["web1", "--digest", &digest]);
    world
        .berth(&args.iter().map(String::as_str).collect::<Vec<_>>())
        .ok();
    let rows = world.berth(&["image", "ls", "--json"]).ok().stdout;
    let rows: Value = serde_json::from_str(&rows).unwrap();
    let stored = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["stored"] == true)
        .unwrap();
    assert!(stored["used"].as_str().unwrap().starts_with("20"));
    assert!(
        world
            .berth(&["image", "prune", "--dry-run"])
            .ok()
            .stdout
            .is_empty()
    );
    let wrong = format!("sha256:{}", "0".repeat(64));
    let args = world.create_args(&["web2", "--digest", &wrong]);
    world
        .berth(&args.iter().map(String::as_str).collect::<Vec<_>>())
        .code(1)
        .says("is not what it should be");
}
