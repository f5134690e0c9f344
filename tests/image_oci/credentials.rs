//! Who asks: what `docker login` keeps is enough, and goes to the registry alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use snapbox::{assert_data_eq, str};

use crate::artifact::Parts;
use crate::http::{Answer, Request, Server};
use crate::registry::Registry;
use crate::support::World;
use crate::told;

/// `me:s3cret` in base64.
const AUTH: &str = "bWU6czNjcmV0";

fn docker_knows(world: &World, config: &str) {
    fs::write(world.path("docker/config.json"), config).unwrap();
}

#[test]
fn docker_login_is_enough() {
    let world = World::new();
    let registry = Registry::closed(&world);
    let at = registry.address();
    let parts = Parts::of(&world);
    parts.store(&world, "web");
    let place = format!("{at}/acme/web:1");
    let push = || world.berth(&["--quiet-progress", "image", "push", "web", &place]);
    assert_data_eq!(
        told(&push()),
        str![[r#"
exit 1
berth: oci://127.0.0.1:PORT/acme/web:1: the registry 127.0.0.1:PORT wants to know who asks, and neither docker nor podman keeps a login for it
hint: `docker login 127.0.0.1:PORT` or podman's, and try again

"#]]
    );
    docker_knows(
        &world,
        &format!(r#"{{"auths": {{"{at}": {{"auth": "bWU6d3Jvbmc="}}}}}}"#),
    );
    assert_data_eq!(
        told(&push()),
        str![[r#"
exit 1
berth: oci://127.0.0.1:PORT/acme/web:1: the registry 127.0.0.1:PORT does not take the login that docker or podman keeps for it
hint: `docker login 127.0.0.1:PORT` or podman's, and try again

"#]]
    );
    docker_knows(
        &world,
        &format!(r#"{{"auths": {{"{at}": {{"auth": "{AUTH}"}}}}}}"#),
    );
    let talkative = world.berth(&["-v", "image", "push", "web", &place]).ok();
    for secret in ["s3cret", AUTH] {
        assert!(!talkative.stderr.contains(secret), "{talkative:?}");
    }

    // A helper has it, asked as docker asks: by its standard input.
    let helper = world.path("bin/docker-credential-test");
    let script = format!(
        "#!/bin/sh\n[ \"$#$1\" = 1get ] && [ \"$(cat)\" = '{at}' ] && echo '{{\"Username\":\"me\",\"Secret\":\"s3cret\"}}'\n"
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    for config in [
        format!(r#"{{"credHelpers": {{"{at}": "test"}}, "credsStore": "none"}}"#),
        r#"{"credsStore": "test"}"#.to_owned(),
    ] {
        docker_knows(&world, &config);
        let there = world.path("images");
        fs::remove_dir_all(&there).unwrap();
        world
            .berth(&["image", "pull", &format!("oci://{place}")])
            .ok();
    }
    // As podman keeps it, for a part of the registry.
    fs::remove_file(world.path("docker/config.json")).unwrap();
    let podman = world.path("auth.json");
    let part = format!(r#"{{"auths": {{"{at}/acme": {{"auth": "{AUTH}"}}}}}}"#);
    fs::write(&podman, part).unwrap();
    let mut pull = world.command(&["image", "pull", &format!("oci://{place}")]);
    fs::remove_dir_all(world.path("images")).unwrap();
    let pulled = pull.env("REGISTRY_AUTH_FILE", &podman).output().unwrap();
    assert!(pulled.status.success(), "{pulled:?}");

    docker_knows(&world, r#"{"credsStore": "none"}"#);
    assert_data_eq!(
        told(&world.berth(&[
            "--quiet-progress",
            "image",
            "pull",
            &format!("oci://{place}")
        ])),
        str![[r#"
exit 1
berth: oci://127.0.0.1:PORT/acme/web:1: the login kept for 127.0.0.1:PORT: docker-credential-none is not installed
hint: `docker login 127.0.0.1:PORT` writes them anew

"#]]
    );
}

/// A server that has seen no password and no token.
fn saw_nothing(server: &Server, path: &str) {
    let asked = server.asked_for(path);
    assert!(!asked.is_empty());
    for request in asked {
        assert!(
            !request.headers.contains_key("authorization"),
            "{request:?}"
        );
    }
}

#[test]
fn a_token_goes_to_the_registry_and_not_to_where_it_sends_on() {
    let world = World::new();
    let artifact = Arc::new(Parts::of(&world).artifact());
    let (own, stored) = (artifact.clone(), artifact.clone());
    // Blobs lie with somebody else, as they do with most registries.
    let elsewhere = Server::new(move |request| own.answer(request));
    let tokens = Server::new(|request| match request.headers.get("authorization") {
        Some(who) if *who == format!("Basic {AUTH}") => Answer::text(r#"{"token": "t0ken"}"#),
        _ => Answer::status(401),
    });
    let (blobs, realm) = (elsewhere.address().to_owned(), tokens.address().to_owned());
    let server = Server::new(move |request: &Request| {
        if request.headers.get("authorization").map(String::as_str) != Some("Bearer t0ken") {
            let wanted =
                format!("WWW-Authenticate: Bearer realm=\"{realm}/token\",service=\"test\"");
            return Answer::status(401).with(&wanted);
        }
        match request.path.contains("/blobs/") {
            true => Answer::redirect(&format!("{blobs}{}", request.path)),
            false => stored.answer(request),
        }
    });
    let at = server.address().replace("http://", "");
    docker_knows(
        &world,
        &format!(r#"{{"auths": {{"{at}": {{"auth": "{AUTH}"}}}}}}"#),
    );
    world
        .berth(&["image", "pull", &format!("oci://{at}/acme/web:1")])
        .ok();
    saw_nothing(
        &elsewhere,
        &format!("/v2/acme/web/blobs/{}", artifact.layer(0)),
    );
    // It is asked for what it is needed for, and nothing more.
    let asked = tokens.asked_for("/token?scope=repository%3Aacme%2Fweb%3Apull&service=test");
    assert_eq!(asked.len(), 1);
}

#[test]
fn an_upload_that_is_wanted_elsewhere_goes_there_without_the_password() {
    let world = World::new();
    let parts = Parts::of(&world);
    parts.store(&world, "web");
    let elsewhere = Server::new(|_| Answer::status(201));
    let place = elsewhere.address().to_owned();
    let server = Server::new(move |request| {
        if request.headers.get("authorization").map(String::as_str)
            != Some(&format!("Basic {AUTH}"))
        {
            return Answer::status(401).with("WWW-Authenticate: Basic realm=\"test\"");
        }
        match request.method.as_str() {
            "HEAD" => Answer::status(404),
            "POST" => Answer::status(202).with(&format!("Location: {place}/upload?state=1")),
            _ => Answer::status(201),
        }
    });
    let at = server.address().replace("http://", "");
    docker_knows(
        &world,
        &format!(r#"{{"auths": {{"{at}": {{"auth": "{AUTH}"}}}}}}"#),
    );
    world
        .berth(&["image", "push", "web", &format!("{at}/web:1")])
        .ok();
    let manifest = server.asked_for("/v2/web/manifests/1").pop().unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest.body).unwrap();
    let config = manifest["config"]["digest"]
        .as_str()
        .unwrap()
        .replace(':', "%3A");
    saw_nothing(&elsewhere, &format!("/upload?state=1&digest={config}"));
}
