//! Registries that break off, lie, never end, or have something else.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use snapbox::{assert_data_eq, str};

use crate::artifact::{Artifact, Parts, zstd};
use crate::http::{Answer, Request, Server};
use crate::support::{World, eventually};
use crate::told;

fn name_at(server: &Server, image: &str) -> String {
    server.address().replace("http", "oci") + "/" + image
}

/// Nothing but locks is left of what was refused.
fn nothing_is_stored(world: &World) {
    let left: Vec<String> = world
        .stored()
        .into_iter()
        // What came as it should is worth keeping for another try.
        .filter(|name| !name.starts_with("part-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_pull_goes_on_where_the_line_broke() {
    let world = World::new();
    let parts = Parts::of(&world);
    let artifact = parts.artifact();
    let kernel = format!("/v2/web/blobs/{}", artifact.layer(2));
    let (count, path) = (AtomicUsize::new(0), kernel.clone());
    let server = Server::new(move |request| {
        let answer = artifact.answer(request);
        match request.path == path && count.fetch_add(1, Ordering::SeqCst) < 2 {
            true => answer.cut_after(300_000),
            false => answer,
        }
    });
    let pulled = world
        .berth(&["image", "pull", &name_at(&server, "web:1")])
        .ok();
    assert_eq!(pulled.stdout.trim(), parts.digest());
    let asked = server.asked_for(&kernel);
    let from: Vec<_> = asked
        .iter()
        .map(|request| request.headers.get("range").cloned())
        .collect();
    assert_eq!(
        from,
        [
            None,
            Some("bytes=300000-".into()),
            Some("bytes=600000-".into())
        ]
    );
}

#[test]
fn an_interrupted_pull_leaves_only_what_the_next_one_goes_on_from() {
    let world = World::new();
    let artifact = Parts::of(&world).artifact();
    let kernel = format!("/v2/web/blobs/{}", artifact.layer(2));
    let (count, path) = (AtomicUsize::new(0), kernel.clone());
    let part = format!("part-{}", &artifact.layer(2)["sha256:".len()..]);
    let server = Server::new(move |request| {
        let answer = artifact.answer(request);
        match request.path == path && count.fetch_add(1, Ordering::SeqCst) == 0 {
            true => answer.slowly_after(900_000),
            false => answer,
        }
    });
    let name = name_at(&server, "web:1");
    let first = world.background(&["image", "pull", &name]);
    eventually("something has come", || {
        let part = fs::metadata(world.path("images/tmp").join(&part));
        part.is_ok_and(|part| part.len() > 0)
    });
    let id = first.id().to_string();
    world.finish(world.program("kill").args(["-INT", &id])).ok();
    world.wait(first).code(130);
    // Other files may have come whole.
    nothing_is_stored(&world);
    assert!(world.path("images/tmp").join(&part).exists());
    world.berth(&["image", "pull", &name]).ok();
    let asked = server.asked_for(&kernel);
    assert!(asked[1].headers["range"].starts_with("bytes="), "{asked:?}");
}

#[test]
fn a_part_that_was_spoilt_meanwhile_comes_anew() {
    let world = World::new();
    let artifact = Parts::of(&world).artifact();
    let kernel = format!("/v2/web/blobs/{}", artifact.layer(2));
    let (count, path, tmp) = (
        AtomicUsize::new(0),
        kernel.clone(),
        world.path("images/tmp"),
    );
    let part = format!("part-{}", &artifact.layer(2)["sha256:".len()..]);
    let server = Server::new(move |request| {
        let answer = artifact.answer(request);
        if request.path != path {
            return answer;
        }
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => answer.cut_after(300_000),
            1 => {
                fs::write(tmp.join(&part), vec![7; 300_000]).unwrap();
                answer
            }
            _ => answer,
        }
    });
    world
        .berth(&["image", "pull", &name_at(&server, "web:1")])
        .ok();
    assert_eq!(server.asked_for(&kernel).len(), 3);
}

/// One change to what a good registry has.
fn changed(parts: &Parts, case: &str) -> Artifact {
    let with = |change: fn(&mut Parts)| {
        let mut parts = parts.clone();
        change(&mut parts);
        parts.artifact()
    };
    let mut artifact = parts.artifact();
    match case {
        "other-arch" => return with(|parts| parts.arch = "aarch64"),
        "kernel-words" => return with(|parts| parts.cmdline = "rw ubd3=/etc/shadow"),
        "other-file" => {
            return with(|parts| {
                parts.files.insert("../../../evil", vec![1]);
            });
        }
        "backed" => {
            return with(|parts| {
                let disk = parts.files.get_mut("disk.qcow2").unwrap();
                disk[8..16].copy_from_slice(&1024_u64.to_be_bytes());
            });
        }
        "no-disk" => {
            return with(|parts| *parts.files.get_mut("disk.qcow2").unwrap() = vec![7; 4096]);
        }
        "other-size" => return with(|parts| parts.virtual_size = 1 << 30),
        "later" => artifact.config["version"] = 2.into(),
        "no-config" => artifact.config = json!(["hello"]),
        "other-digest" => artifact.config["digest"] = format!("sha256:{}", "0".repeat(64)).into(),
        "bomb" => artifact.config["sizes"]["initrd"] = (1 << 20).into(),
        "other-layer" => {
            let layer = artifact.add("x", &zstd(&[0; 3 << 10]));
            artifact.manifest["layers"][1] = layer;
        }
        "no-zstd" => {
            let layer = artifact.add("x", b"not packed at all");
            artifact.manifest["layers"][1] = layer;
        }
        "fat-layer" => artifact.manifest["layers"][1]["size"] = (1_u64 << 40).into(),
        "few-layers" => drop(artifact.manifest["layers"].as_array_mut().unwrap().pop()),
        "short-layer" => {
            let size = artifact.manifest["layers"][2]["size"].as_u64().unwrap();
            artifact.manifest["layers"][2]["size"] = (size - 1).into();
        }
        _ => {}
    }
    artifact.seal();
    match case {
        "container" => {
            artifact.manifest["artifactType"] = Value::Null;
            artifact.manifest["config"]["mediaType"] =
                "application/vnd.oci.image.config.v1+json".into();
        }
        "index" => artifact.manifest = json!({"schemaVersion": 2, "manifests": []}),
        "chart" => artifact.manifest["artifactType"] = "application/vnd.cncf.helm.chart".into(),
        _ => {}
    }
    artifact
}

/// What a bad registry answers.
fn badly(artifact: &Artifact, case: &str, request: &Request) -> Answer {
    let manifest = request.path.contains("/manifests/");
    match (case, manifest) {
        ("gone", _) => Answer::status(404),
        ("forbidden", _) => Answer::status(403),
        ("broken", _) => Answer::status(500),
        ("locked", _) => Answer::status(401),
        ("token-in-the-clear", _) => Answer::status(401)
            .with("WWW-Authenticate: Bearer realm=\"http://tokens.example.org/\""),
        ("html", true) => Answer::text("<html>hello</html>"),
        ("flood", true) => Answer::endless(),
        ("downgrade", true) => Answer::redirect("http://example.org/manifest"),
        ("endless", false) if request.path.contains(&artifact.layer(2)) => Answer::endless(),
        ("flipped-config", false) => Answer::text("{}"),
        ("flipped", false) if request.path.contains(&artifact.layer(2)) => {
            let mut bytes = artifact.blobs[&artifact.layer(2)].clone();
            bytes[5000] ^= 1;
            Answer::file(request, &bytes)
        }
        _ => artifact.answer(request),
    }
}

#[test]
fn what_is_not_as_it_should_be_is_refused_and_nothing_of_it_is_stored() {
    let world = World::new();
    let parts = Parts::of(&world);
    let mut all = String::new();
    for case in [
        "gone",
        "forbidden",
        "broken",
        "locked",
        "token-in-the-clear",
        "html",
        "flood",
        "downgrade",
        "container",
        "index",
        "chart",
        "later",
        "no-config",
        "flipped-config",
        "other-digest",
        "other-arch",
        "other-file",
        "kernel-words",
        "few-layers",
        "fat-layer",
        "short-layer",
        "flipped",
        "endless",
        "bomb",
        "no-zstd",
        "other-layer",
        "backed",
        "no-disk",
        "other-size",
    ] {
        let artifact = changed(&parts, case);
        let server = Server::new(move |request| badly(&artifact, case, request));
        let name = name_at(&server, &format!("{case}:1"));
        let ran = world.berth(&["--quiet-progress", "image", "pull", &name]);
        all += &format!("$ berth image pull {case}\n{}\n", told(&ran));
        nothing_is_stored(&world);
    }
    assert_data_eq!(
        all,
        str![[r#"
$ berth image pull gone
exit 3
berth: oci://127.0.0.1:PORT/gone:1: the registry has no such image
hint: check the repository and the tag; registries also say this of private ones to who is not let in: `docker login`

$ berth image pull forbidden
exit 1
berth: oci://127.0.0.1:PORT/forbidden:1: the registry refuses: 403 Forbidden
hint: whoever `docker login` let in may not do this there: use another repository or another login

$ berth image pull broken
exit 1
berth: oci://127.0.0.1:PORT/broken:1: the registry answers 500 Internal Server Error
hint: check the network and the registry; what has come is kept, and the same command goes on from there

$ berth image pull locked
exit 1
berth: oci://127.0.0.1:PORT/locked:1: the registry 127.0.0.1:PORT wants to know who asks, and neither docker nor podman keeps a login for it
hint: `docker login 127.0.0.1:PORT` or podman's, and try again

$ berth image pull token-in-the-clear
exit 1
berth: oci://127.0.0.1:PORT/token-in-the-clear:1: the registry sends for a token to an address of plain HTTP, where passwords can be read on the way

$ berth image pull html
exit 1
berth: oci://127.0.0.1:PORT/html:1: the registry sends something else than a manifest

$ berth image pull flood
exit 1
berth: oci://127.0.0.1:PORT/flood:1: the registry sends more than the 4194304 bytes that there are

$ berth image pull downgrade
exit 1
berth: oci://127.0.0.1:PORT/downgrade:1: the registry sends elsewhere: it redirects to plain HTTP

$ berth image pull container
exit 2
berth: oci://127.0.0.1:PORT/container:1: it is a container image, for `docker run` in a machine, not an image that berth pushed
hint: `berth image push` brings images of machines to a registry

$ berth image pull index
exit 2
berth: oci://127.0.0.1:PORT/index:1: it is a list of images for several kinds of computers, not an image that berth pushed
hint: `berth image push` brings images of machines to a registry

$ berth image pull chart
exit 2
berth: oci://127.0.0.1:PORT/chart:1: it is an artifact of the type application/vnd.cncf.helm.chart, not an image that berth pushed
hint: `berth image push` brings images of machines to a registry

$ berth image pull later
exit 1
berth: oci://127.0.0.1:PORT/later:1: it was pushed by a later berth, in a form that this one does not know
hint: upgrade this berth

$ berth image pull no-config
exit 1
berth: oci://127.0.0.1:PORT/no-config:1: its config is broken: it has no version
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull flipped-config
exit 1
berth: oci://127.0.0.1:PORT/flipped-config:1: the registry sends another config: it has sha256:HEX, not sha256:HEX
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull other-digest
exit 1
berth: oci://127.0.0.1:PORT/other-digest:1: its config is broken: it does not have the digest that it names
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull other-arch
exit 2
berth: oci://127.0.0.1:PORT/other-arch:1: it is an image for aarch64, and this computer is x86_64
hint: push one from a computer like this one, under a tag of its own

$ berth image pull other-file
exit 1
berth: oci://127.0.0.1:PORT/other-file:1: its config is broken: it has a file "../../../evil"
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull kernel-words
exit 1
berth: oci://127.0.0.1:PORT/kernel-words:1: its config is broken: its kernel is to be told "ubd3=/etc/shadow"
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull few-layers
exit 1
berth: oci://127.0.0.1:PORT/few-layers:1: it has 2 layers for 3 files
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull fat-layer
exit 1
berth: oci://127.0.0.1:PORT/fat-layer:1: its initrd is said to be larger packed than unpacked
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull short-layer
exit 1
berth: oci://127.0.0.1:PORT/short-layer:1: the registry sends more than the 1048609 bytes that the file has
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull flipped
exit 1
berth: oci://127.0.0.1:PORT/flipped:1: the registry sends another file: it has sha256:HEX, not sha256:HEX
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull endless
exit 1
berth: oci://127.0.0.1:PORT/endless:1: the registry sends more than the 1048610 bytes that the file has
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull bomb
exit 1
berth: oci://127.0.0.1:PORT/bomb:1: its initrd: it unpacks to more than any disk of its size does
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull no-zstd
exit 1
berth: oci://127.0.0.1:PORT/no-zstd:1: its initrd: it cannot be unpacked: BadMagicNumber(544501614)
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull other-layer
exit 1
berth: oci://127.0.0.1:PORT/other-layer:1: its initrd is not the one that its config names
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull backed
exit 1
berth: oci://127.0.0.1:PORT/backed:1: its disk is refused: it refers to another file (a backing file)
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull no-disk
exit 1
berth: oci://127.0.0.1:PORT/no-disk:1: its disk is refused: it has neither a disk image's header nor a partition table
hint: nothing of it was kept; it has to be pushed anew

$ berth image pull other-size
exit 1
berth: oci://127.0.0.1:PORT/other-size:1: its disk is refused: its size is another one than its config says
hint: nothing of it was kept; it has to be pushed anew


"#]]
    );
    assert!(!world.path("evil").exists());
}

#[test]
fn a_name_by_digest_means_that_manifest_and_no_other() {
    let world = World::new();
    let artifact = Parts::of(&world).artifact();
    let (digest, other) = (
        artifact.manifest_digest(),
        format!("sha256:{}", "0".repeat(64)),
    );
    let server = Server::new(move |request| artifact.answer(request));
    let pull =
        |digest: &str| world.berth(&["image", "pull", &name_at(&server, &format!("web@{digest}"))]);
    pull(&other)
        .code(1)
        .says("the registry sends another manifest");
    nothing_is_stored(&world);
    pull(&digest).ok();
}

#[test]
fn of_two_pulls_at_once_one_downloads() {
    let world = World::new();
    let artifact = Parts::of(&world).artifact();
    let kernel = format!("/v2/web/blobs/{}", artifact.layer(2));
    let server = Server::new(move |request| {
        artifact
            .answer(request)
            .after(std::time::Duration::from_millis(700))
    });
    let name = name_at(&server, "web:1");
    let both = [(); 2].map(|()| world.background(&["image", "pull", &name]));
    let [one, two] = both.map(|child| world.wait(child).ok());
    assert_eq!(one.stdout, two.stdout);
    assert_eq!(server.asked_for(&kernel).len(), 1);
}
