//! What berth says of wishes that make no sense, and of registries that are not there.

use snapbox::{assert_data_eq, str};

use crate::artifact::Parts;
use crate::http::{Answer, Server};
use crate::support::World;
use crate::told;

#[test]
fn wishes_that_make_no_sense_are_refused_with_what_to_do() {
    let world = World::new();
    Parts::of(&world).store(&world, "web");
    let digest = format!("sha256:{}", "0".repeat(64));
    let mut all = String::new();
    for line in [
        "image push",
        "image push web",
        "image push web ghcr.io/Acme/web",
        "image push web ghcr.io/acme/web:a/b",
        "image push web https://ghcr.io/acme/web",
        "image push web ghcr.io/acme/web@DIGEST",
        "image push web me:s3cret@ghcr.io/acme/web",
        "image push wbe ghcr.io/acme/web",
        "image push web 127.0.0.1:9/acme/web",
        "image pull oci://",
        "image pull oci://ghcr.io/acme/web@sha256:00",
        "image pull oci://127.0.0.1:9/acme/web",
        "image pull --digest DIGEST oci://ghcr.io/acme/web",
        "image pull --plain-http ubuntu-24.04",
        "image rm oci://ghcr.io/acme/web",
        "create web1 -d sshd --image oci://ghcr.io/acme/web --digest DIGEST",
        "create web1 -d sshd --image oci://127.0.0.1:9/acme/web --engine none",
    ] {
        let line = line.replace("DIGEST", &digest);
        let mut args = vec!["--quiet-progress"];
        args.extend(line.split(' '));
        let ran = world.berth(&args);
        all += &format!(
            "$ berth {}\n{}\n",
            line.replace(&digest, "DIGEST"),
            told(&ran)
        );
    }
    assert_data_eq!(
        all,
        str![[r#"
$ berth image push
exit 2
error: the following required arguments were not provided:
  <REF>
  <REGISTRY/REPOSITORY[:TAG]>

Usage: berth image push <REF> <REGISTRY/REPOSITORY[:TAG]>

For more information, try '--help'.

$ berth image push web
exit 2
error: the following required arguments were not provided:
  <REGISTRY/REPOSITORY[:TAG]>

Usage: berth image push <REF> <REGISTRY/REPOSITORY[:TAG]>

For more information, try '--help'.

$ berth image push web ghcr.io/Acme/web
exit 2
berth: "ghcr.io/Acme/web" is not the name of an image: an image in a registry is REGISTRY/REPOSITORY, in lower case, and :TAG or @sha256:DIGEST

$ berth image push web ghcr.io/acme/web:a/b
exit 2
berth: "ghcr.io/acme/web:a/b" is not the name of an image: an image in a registry is REGISTRY/REPOSITORY, in lower case, and :TAG or @sha256:DIGEST

$ berth image push web https://ghcr.io/acme/web
exit 2
berth: "https://ghcr.io/acme/web" is not the name of an image: an image in a registry is REGISTRY/REPOSITORY, in lower case, and :TAG or @sha256:DIGEST

$ berth image push web ghcr.io/acme/web@DIGEST
exit 2
berth: "oci://ghcr.io/acme/web@sha256:0000000000000000000000000000000000000000000000000000000000000000" is not the name of an image: an image is pushed under a tag, and has its digest by what it is

$ berth image push web me:s3cret@ghcr.io/acme/web
exit 2
berth: "ghcr.io/acme/web" is not the name of an image: a name and a password go to `docker login`

$ berth image push wbe ghcr.io/acme/web
exit 3
berth: there is no image wbe
hint: `berth image ls` lists them

$ berth image push web 127.0.0.1:9/acme/web
exit 1
berth: oci://127.0.0.1:9/acme/web:latest: the registry cannot be reached: Connection refused (os error 111)
hint: check the network and the registry; what has come is kept, and the same command goes on from there

$ berth image pull oci://
exit 2
berth: "oci://" is not the name of an image: an image in a registry is REGISTRY/REPOSITORY, in lower case, and :TAG or @sha256:DIGEST

$ berth image pull oci://ghcr.io/acme/web@sha256:00
exit 2
berth: "ghcr.io/acme/web@sha256:00" is not the name of an image: an image in a registry is REGISTRY/REPOSITORY, in lower case, and :TAG or @sha256:DIGEST

$ berth image pull oci://127.0.0.1:9/acme/web
exit 1
berth: oci://127.0.0.1:9/acme/web:latest: the registry cannot be reached: Connection refused (os error 111)
hint: check the network and the registry; what has come is kept, and the same command goes on from there

$ berth image pull --digest DIGEST oci://ghcr.io/acme/web
exit 2
berth: an image in a registry has its digest in its name: oci://REGISTRY/REPOSITORY@sha256:…

$ berth image pull --plain-http ubuntu-24.04
exit 2
berth: --plain-http goes with images in registries

$ berth image rm oci://ghcr.io/acme/web
exit 3
berth: there is no image oci://ghcr.io/acme/web:latest
hint: `berth image ls` lists them

$ berth create web1 -d sshd --image oci://ghcr.io/acme/web --digest DIGEST
exit 2
berth: --digest: oci://ghcr.io/acme/web has its digest in its name: oci://REGISTRY/REPOSITORY@sha256:…

$ berth create web1 -d sshd --image oci://127.0.0.1:9/acme/web --engine none
exit 1
berth: oci://127.0.0.1:9/acme/web:latest: the registry cannot be reached: Connection refused (os error 111)
hint: check the network and the registry; what has come is kept, and the same command goes on from there


"#]]
    );
}

#[test]
fn a_registry_that_takes_nothing_as_large_is_told_apart() {
    let world = World::new();
    Parts::of(&world).store(&world, "web");
    let server = Server::new(|request| match request.method.as_str() {
        "HEAD" => Answer::status(404),
        "POST" => Answer::status(202).with("Location: /upload"),
        _ => Answer::status(413),
    });
    let at = server.address().replace("http://", "");
    let ran = world.berth(&[
        "--quiet-progress",
        "image",
        "push",
        "web",
        &format!("{at}/web:1"),
    ]);
    assert_data_eq!(
        told(&ran),
        str![[r#"
exit 1
berth: oci://127.0.0.1:PORT/web:1: the registry takes nothing of 721 bytes
hint: raise the limit of the registry or of the proxy before it, or use another registry

"#]]
    );
}

#[test]
fn an_image_that_no_berth_would_pull_is_not_pushed() {
    let world = World::new();
    let parts = Parts {
        cmdline: "root=/dev/vda1 rw",
        ..Parts::of(&world)
    };
    parts.store(&world, "web");
    let ran = world.berth(&[
        "--quiet-progress",
        "image",
        "push",
        "web",
        "127.0.0.1:9/web",
    ]);
    assert_data_eq!(
        told(&ran),
        str![[r#"
exit 2
berth: oci://127.0.0.1:9/web:latest: it is not pushed, for berth would not take it back: its kernel is to be told "root=/dev/vda1"
hint: change that in its recipe, and build it anew

"#]]
    );
}

#[test]
fn an_image_that_was_spoilt_in_the_store_is_not_pushed() {
    let world = World::new();
    let parts = Parts::of(&world);
    parts.store(&world, "web");
    let folder = world.path("images").join(parts.digest().replace(':', "-"));
    std::fs::write(folder.join("initrd"), vec![1; 3 << 20]).unwrap();
    let registry = crate::registry::Registry::open(&world);
    let place = format!("{}/web:1", registry.address());
    world
        .berth(&["image", "push", "web", &place])
        .code(1)
        .says("initrd has the digest");
    world
        .berth(&["image", "pull", &format!("oci://{place}")])
        .code(3)
        .says("has no such image");
}
