//! An image goes to a registry from one computer and comes to another.

use std::fs;

use serde_json::Value;

use crate::artifact::Parts;
use crate::http::{Answer, Server};
use crate::registry::Registry;
use crate::support::World;

#[test]
fn an_image_that_is_pushed_here_is_the_same_one_where_it_is_pulled() {
    let here = World::new();
    let registry = Registry::open(&here);
    let parts = Parts::of(&here);
    parts.store(&here, "web");
    let place = format!("{}/acme/web", registry.address());
    let push = |world: &World, image: &str, tag: &str| {
        world
            .berth(&["image", "push", image, &format!("{place}:{tag}")])
            .ok()
            .stdout
    };
    let pushed = push(&here, "web", "1");
    assert!(
        pushed.starts_with(&format!("oci://{place}@sha256:")),
        "{pushed}"
    );
    let sent = registry.asked("PUT", "/blobs/uploads/");
    assert_eq!(sent, 4);

    // What is there is not sent again, under another tag neither, and the manifest is the same.
    assert_eq!(push(&here, "web", "1"), pushed);
    assert_eq!(push(&here, &parts.digest(), "2"), pushed);
    assert_eq!(registry.asked("PUT", "/blobs/uploads/"), sent);

    let there = World::new();
    let name = format!("oci://{place}:1");
    let pulled = there.berth(&["image", "pull", &name]).ok().stdout;
    assert_eq!(pulled.trim(), parts.digest());
    let folder = there.path("images").join(parts.digest().replace(':', "-"));
    for (file, bytes) in &parts.files {
        assert!(fs::read(folder.join(file)).unwrap() == *bytes, "{file}");
    }
    let inspected = there
        .berth(&["image", "inspect", "--verify", &name])
        .ok()
        .stdout;
    let image = &serde_json::from_str::<Value>(&inspected).unwrap()[0];
    assert_eq!(image["pulled"]["from"], name);
    assert!(
        pushed
            .trim()
            .ends_with(image["pulled"]["manifest"].as_str().unwrap())
    );
    assert_eq!(image["engine"]["version"], "26.1.5");
    assert_eq!(image["created"], "2026-11-22T06:10:29.048204456Z");
    let listed = there.berth(&["image", "ls", "-q"]).ok().stdout;
    assert!(listed.lines().any(|line| line == name), "{listed}");

    // What berth goes by when it looks for an image of a recipe is what was built here.
    let description = fs::read_to_string(folder.join("image.toml")).unwrap();
    assert!(!description.contains("recipe_hash"), "{description}");

    // By digest, it is known already; pushed on, it is still the same.
    let fetched = registry.asked("GET", "/blobs/");
    assert_eq!(
        there.berth(&["image", "pull", pushed.trim()]).ok().stdout,
        pulled
    );
    assert_eq!(registry.asked("GET", "/blobs/"), fetched + 1);
    assert_eq!(push(&there, &name, "3"), pushed);
}

#[test]
fn a_distributors_image_is_still_one_where_it_is_pulled() {
    let (here, there) = (World::new(), World::new());
    let registry = Registry::open(&here);
    let disk = fs::read(here.path("tiny.qcow2")).unwrap();
    let server = Server::new(move |request| Answer::file(request, &disk));
    let url = format!("{}/cloud.img", server.address());
    let stored = here.berth(&["image", "pull", &url]).ok().stdout;
    let place = format!("{}/cloud:1", registry.address());
    here.berth(&["image", "push", stored.trim(), &place]).ok();

    let name = format!("oci://{place}");
    assert_eq!(there.berth(&["image", "pull", &name]).ok().stdout, stored);
    let inspected = there.berth(&["image", "inspect", &name]).ok().stdout;
    let image = &serde_json::from_str::<Value>(&inspected).unwrap()[0];
    assert_eq!(image["pulled"]["origin"], url);
    assert_eq!(image["user"], "root");
    // Whoever asks for that address gets what is there, not what a registry says was there.
    assert_eq!(image["source"], Value::Null);
    let refused = there.berth(&[
        "create", "web1", "-d", "sshd", "--engine", "none", "--image", &name,
    ]);
    refused.code(4).says("cannot set up images by cloud-init");
}

#[test]
fn a_machine_is_made_of_an_image_in_a_registry() {
    let world = World::new();
    let registry = Registry::open(&world);
    let parts = Parts::of(&world);
    parts.store(&world, "web");
    let place = format!("{}/web:1", registry.address());
    world.berth(&["image", "push", "web", &place]).ok();
    world.berth(&["image", "rm", "web"]).ok();

    let name = format!("oci://{place}");
    let create = |machine: &str| {
        world.berth(&[
            "create", machine, "-d", "sshd", "--engine", "none", "--memory", "64M", "--image",
            &name,
        ])
    };
    create("web1").ok();
    // The second one asks the registry nothing.
    let asked = registry.asked("GET", "/v2/");
    create("web2").ok();
    assert_eq!(registry.asked("GET", "/v2/"), asked);
    world
        .berth(&["image", "rm", &name])
        .code(4)
        .says("in use by web1, web2");
    world.berth(&["rm", "-y", "web1", "web2"]).ok();
    world.berth(&["image", "rm", &name]).ok();
    assert!(
        fs::read_dir(world.path("images/refs"))
            .unwrap()
            .next()
            .is_none()
    );
}
