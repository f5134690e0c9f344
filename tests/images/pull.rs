//! Images of the catalog are pulled from whichever source has them.

use serde_json::Value;
use snapbox::{assert_data_eq, str};

use crate::http::{Answer, Server, sha256};
use crate::support::World;
use crate::{disk, entry, listed, plain_entry, sums, told};

#[test]
fn a_cloud_image_is_pulled_once_and_listed() {
    let world = World::new();
    let bytes = disk(&world);
    let list = sums(&bytes);
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" => Answer::file(request, &bytes),
        "/SUMS" => Answer::text(&list),
        _ => Answer::status(404),
    });
    plain_entry(&world, "some", &server);
    assert_eq!(listed(&world, "some")["stored"], false);
    let first = world.berth(&["image", "pull", "some"]).ok();
    assert!(first.stdout.starts_with("sha256:"));
    let again = world
        .berth(&["image", "pull", "some"])
        .ok()
        .says("SUMS over http");
    assert_eq!(first.stdout, again.stdout);
    assert_eq!(server.asked_for("/disk.img").len(), 1);
    let row = listed(&world, "some");
    assert_eq!(row["stored"], true);
    assert_eq!(row["disk"], 8 << 20);
    assert_eq!(row["used"], Value::Null);
    world.berth(&["image", "inspect", "--verify", "some"]).ok();

    // A driver that cannot hand over a seed says so before anything is made.
    let refused = world.berth(&[
        "create", "web1", "-d", "sshd", "--engine", "none", "--image", "some",
    ]);
    assert_data_eq!(
        told(&refused.code(4)),
        str![[r#"
exit 4
berth: machine web1: the sshd driver cannot set up images by cloud-init: it boots those that berth built

"#]]
    );
    assert_eq!(world.row("web1"), Value::Null);
}

#[test]
fn sources_are_tried_in_order() {
    let world = World::new();
    let bytes = disk(&world);
    let list = sums(&bytes);
    let server = Server::new(move |request| match request.path.as_str() {
        "/two/disk.img" => Answer::file(request, &bytes),
        "/two/SUMS" | "/one/SUMS" => Answer::text(&list),
        _ => Answer::status(404),
    });
    let at = server.address();
    let rest = format!(
        "checksums = \"SUMS\"\n[urls]\nx86_64 = [\"http://127.0.0.1:9/disk.img\", \"{at}/one/disk.img\", \"{at}/two/disk.img\"]\n"
    );
    entry(&world, "some", &rest);
    world.berth(&["image", "pull", "some"]).ok();
    let image = world.berth(&["image", "inspect", "some"]).ok().stdout;
    assert!(image.contains("/two/disk.img"), "{image}");
}

#[test]
fn the_newest_version_is_found_by_a_pattern() {
    let world = World::new();
    let bytes = disk(&world);
    let hex = sha256(&bytes);
    let list = format!("{hex}  os-2026.1-x86_64.qcow2\n{hex}  os-2026.1-x86_64.ova\n");
    let server = Server::new(move |request| match request.path.as_str() {
        "/latest/SUMS" => Answer::redirect("/2026.1/SUMS"),
        "/2026.1/SUMS" => Answer::text(&list),
        "/2026.1/os-2026.1-x86_64.qcow2" => Answer::file(request, &bytes),
        _ => Answer::status(404),
    });
    let url = format!("{}/latest/os-*-x86_64.qcow2", server.address());
    let rest = format!("checksums = \"SUMS\"\n[urls]\nx86_64 = [\"{url}\"]\n");
    entry(&world, "some", &rest);
    world.berth(&["image", "pull", "some"]).ok();
    let image = world.berth(&["image", "inspect", "some"]).ok().stdout;
    assert!(image.contains("/2026.1/os-2026.1-x86_64.qcow2"), "{image}");
}
