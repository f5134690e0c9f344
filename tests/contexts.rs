//! Pointing clients at machines: docker contexts, shells and ssh, read back by the real clients.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use snapbox::{assert_data_eq, str};
use support::engine::{self, Engine};
use support::{Ran, World};

fn machine(world: &World, name: &str) -> Engine {
    world.create(&[name]).ok();
    let engine = engine::install(world, name);
    world.berth(&["start", name]).ok();
    engine
}

fn docker(world: &World, args: &[&str]) -> Ran {
    world.finish(world.program("docker").args(args))
}

fn config(world: &World) -> Value {
    serde_json::from_slice(&fs::read(world.path("docker/config.json")).unwrap()).unwrap()
}

#[test]
fn docker_reads_and_uses_the_context_of_a_machine() {
    let world = World::new();
    let _engine = machine(&world, "web1");
    let socket = format!("unix://{}", world.file("web1", "docker.sock").display());

    let names = docker(
        &world,
        &["context", "ls", "--format", "{{.Name}} {{.Description}}"],
    )
    .ok();
    assert_eq!(names.lines()[1], "web1 berth machine web1");
    let inspected = docker(&world, &["context", "inspect", "web1"]).ok().stdout;
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected[0]["Endpoints"]["docker"]["Host"], socket);

    let version = ["version", "--format", "{{.Server.Version}}"];
    assert_eq!(
        docker(&world, &[&["-c", "web1"], &version[..]].concat())
            .ok()
            .stdout,
        "28.5.2\n"
    );
    world
        .berth(&["use", "web1"])
        .ok()
        .says("docker uses machine web1");
    assert_eq!(docker(&world, &["context", "show"]).ok().stdout, "web1\n");
    assert_eq!(docker(&world, &version).ok().stdout, "28.5.2\n");
    assert_eq!(world.row("web1")["active"], true);
    assert!(world.berth(&["ls"]).ok().stdout.contains("web1   *"));

    // A machine that there is, is told as such: its context is nobody else's.
    world.create(&["web1"]).code(4).says("web1 exists already");

    // What docker rewrites stays berth's.
    docker(
        &world,
        &["context", "update", "web1", "--description", "changed"],
    )
    .ok();
    world.berth(&["use", "-"]).ok();
    assert_eq!(
        docker(&world, &["context", "show"]).ok().stdout,
        "default\n"
    );
    assert_eq!(world.row("web1")["active"], false);
    docker(&world, &["context", "use", "web1"]).ok();
    assert_eq!(world.row("web1")["active"], true);
    world.berth(&["rm", "-y", "web1"]).ok();
    assert_eq!(
        docker(&world, &["context", "show"]).ok().stdout,
        "default\n"
    );
    assert_eq!(
        docker(&world, &["context", "ls", "-q"]).ok().stdout,
        "default\n"
    );
}

#[test]
fn the_rest_of_dockers_settings_survives() {
    let world = World::new();
    let _engine = machine(&world, "web1");
    let before = json!({
        "auths": {"registry.example": {"auth": "c2VjcmV0"}}, "HttpHeaders": {"X": "y"},
        "currentContext": "other", "psFormat": "{{.ID}}", "a key of tomorrow": [1, 2.5, null],
    });
    // As those who keep their dotfiles in a repository have it.
    fs::create_dir(world.path("dotfiles")).unwrap();
    fs::write(world.path("dotfiles/docker.json"), before.to_string()).unwrap();
    symlink(
        world.path("dotfiles/docker.json"),
        world.path("docker/config.json"),
    )
    .unwrap();
    let rest = |value: Value| {
        let mut value = value;
        value.as_object_mut().unwrap().remove("currentContext");
        value
    };
    world.berth(&["use", "web1"]).ok();
    assert_eq!(config(&world)["currentContext"], "web1");
    assert_eq!(rest(config(&world)), rest(before.clone()));
    world.berth(&["use", "-"]).ok();
    assert_eq!(config(&world), rest(before));
    assert!(world.path("docker/config.json").is_symlink());

    // A file that is no JSON is not replaced by one that is.
    fs::write(world.path("dotfiles/docker.json"), "{ oops").unwrap();
    world
        .berth(&["use", "web1"])
        .code(1)
        .says("config.json cannot be read");
    assert_eq!(
        fs::read(world.path("dotfiles/docker.json")).unwrap(),
        b"{ oops"
    );
    assert_eq!(world.state("web1"), "running");
    world
        .berth(&["rm", "-y", "web1"])
        .code(1)
        .says("config.json cannot be read");
    assert_eq!(
        docker(&world, &["context", "inspect", "web1"]).code,
        1,
        "what can be done is done"
    );
    world.berth(&["rm", "-f", "web1"]).ok();
}

#[test]
fn somebody_elses_context_is_never_touched() {
    let world = World::new();
    let host = "host=ssh://me@elsewhere";
    docker(&world, &["context", "create", "web1", "--docker", host]).ok();
    let before = world.snapshot();
    world
        .create(&["web1"])
        .code(4)
        .says("a docker context web1 exists and is not berth's");
    world.is_as_it_was(&before, "create web1");
    assert!(!world.data().join("machines/web1").exists());

    // One that appears later is left alone too, by every command.
    let _engine = machine(&world, "web2");
    docker(&world, &["context", "rm", "-f", "web2"]).ok();
    docker(&world, &["context", "create", "web2", "--docker", host]).ok();
    let theirs = || docker(&world, &["context", "inspect", "web2"]).ok().stdout;
    let before = theirs();
    world.berth(&["use", "web2"]).code(4).says("is not berth's");
    world
        .berth(&["start", "web2"])
        .code(4)
        .says("is not berth's");
    let _ = world.berth(&["context", "sync"]);
    assert_eq!(world.row("web2")["active"], false);
    assert_eq!(world.row("web2")["state"], "running");
    world.berth(&["rm", "-y", "web2"]).ok();
    assert_eq!(theirs(), before);
}

#[test]
fn sync_writes_what_is_lost_and_removes_what_is_orphaned() {
    let world = World::new();
    let _one = machine(&world, "web1");
    let _two = machine(&world, "web2");
    docker(&world, &["context", "rm", "-f", "web1"]).ok();
    // A machine whose folder somebody deleted by hand, after a copy of it was put away.
    world.berth(&["stop", "web2"]).ok();
    let folder = world.file("web2", "");
    fs::rename(&folder, world.path("away")).unwrap();
    assert_data_eq!(
        world.berth(&["context", "ls"]).ok().printed(),
        str![[r#"
NAME   CLIENT   CURRENT   HOST                                                MACHINE
web2   docker             unix://WORLD/b/machines/web2/docker.sock   gone

"#]]
    );
    assert_data_eq!(
        world.berth(&["context", "sync"]).ok().printed(),
        str![[r#"
removed web2
wrote web1

"#]]
    );
    assert_eq!(
        docker(&world, &["context", "ls", "-q"]).ok().stdout,
        "default\nweb1\n"
    );
    fs::rename(world.path("away"), &folder).unwrap();
    world.berth(&["context", "sync"]).ok();
    assert_eq!(
        docker(&world, &["context", "ls", "-q"]).ok().stdout,
        "default\nweb1\nweb2\n"
    );
    // Lost once more, and mended by use and by start.
    for args in [["use", "web1"], ["start", "web1"]] {
        docker(&world, &["context", "use", "default"]).ok();
        docker(&world, &["context", "rm", "-f", "web1"]).ok();
        world.berth(&args).ok();
        docker(&world, &["-c", "web1", "version"]).ok();
    }
}

#[test]
fn the_environment_points_any_shell_at_a_machine() {
    let world = World::new();
    let _engine = machine(&world, "web1");
    let socket = format!("unix://{}", world.file("web1", "docker.sock").display());
    for shell in ["sh", "bash", "dash", "busybox"] {
        let syntax = if shell == "bash" { "bash" } else { "sh" };
        let berth = support::BERTH;
        let script = format!(
            "set -eu; eval \"$({berth} env web1 --shell {syntax})\"; echo \"$DOCKER_HOST $BERTH_MACHINE ${{DOCKER_TLS_VERIFY-no}}\"\n\
             docker version --format '{{{{.Server.Version}}}}'\n\
             eval \"$({berth} env -u --shell {syntax})\"; echo \"${{DOCKER_HOST-none}} ${{BERTH_MACHINE-none}}\""
        );
        let mut command = world.program(shell);
        if shell == "busybox" {
            command.arg("sh");
        }
        command.args(["-c", &script]).env("DOCKER_TLS_VERIFY", "1");
        let ran = world.finish(&mut command).ok();
        assert_eq!(
            ran.stdout,
            format!("{socket} web1 no\n28.5.2\nnone none\n"),
            "{shell}"
        );
    }
    let mut all = String::new();
    for shell in ["bash", "zsh", "sh", "fish", "powershell", "tcsh", "nushell"] {
        for args in [["env", "web1"], ["env", "-u"]] {
            let ran = world.berth(&[&args[..], &["--shell", shell]].concat()).ok();
            all += &format!("{} {}:\n{}", shell, args[1], ran.printed());
        }
    }
    assert_data_eq!(
        all,
        str![[r#"
bash web1:
export DOCKER_HOST='unix://WORLD/b/machines/web1/docker.sock'
export BERTH_MACHINE='web1'
# Run this to use it:  eval "$(berth env web1)"
bash -u:
unset DOCKER_HOST
unset BERTH_MACHINE
# Run this to use it:  eval "$(berth env -u)"
zsh web1:
export DOCKER_HOST='unix://WORLD/b/machines/web1/docker.sock'
export BERTH_MACHINE='web1'
# Run this to use it:  eval "$(berth env web1)"
zsh -u:
unset DOCKER_HOST
unset BERTH_MACHINE
# Run this to use it:  eval "$(berth env -u)"
sh web1:
export DOCKER_HOST='unix://WORLD/b/machines/web1/docker.sock'
export BERTH_MACHINE='web1'
# Run this to use it:  eval "$(berth env web1)"
sh -u:
unset DOCKER_HOST
unset BERTH_MACHINE
# Run this to use it:  eval "$(berth env -u)"
fish web1:
set -gx DOCKER_HOST 'unix://WORLD/b/machines/web1/docker.sock';
set -gx BERTH_MACHINE 'web1';
# Run this to use it:  berth env web1 | source
fish -u:
set -e DOCKER_HOST;
set -e BERTH_MACHINE;
# Run this to use it:  berth env -u | source
powershell web1:
$Env:DOCKER_HOST = 'unix://WORLD/b/machines/web1/docker.sock'
$Env:BERTH_MACHINE = 'web1'
# Run this to use it:  berth env web1 | Out-String | Invoke-Expression
powershell -u:
Remove-Item Env:DOCKER_HOST -ErrorAction SilentlyContinue
Remove-Item Env:BERTH_MACHINE -ErrorAction SilentlyContinue
# Run this to use it:  berth env -u | Out-String | Invoke-Expression
tcsh web1:
setenv DOCKER_HOST 'unix://WORLD/b/machines/web1/docker.sock';
setenv BERTH_MACHINE 'web1';
: Run this to use it:  eval `berth env web1`;
tcsh -u:
unsetenv DOCKER_HOST;
unsetenv BERTH_MACHINE;
: Run this to use it:  eval `berth env -u`;
nushell web1:
$env.DOCKER_HOST = "unix://WORLD/b/machines/web1/docker.sock"
$env.BERTH_MACHINE = "web1"
# Run this to use it:  berth env web1 | save -f ~/.berth.nu; source ~/.berth.nu
nushell -u:
hide-env -i DOCKER_HOST
hide-env -i BERTH_MACHINE
# Run this to use it:  berth env -u | save -f ~/.berth.nu; source ~/.berth.nu

"#]]
    );

    // What would win over the context is named.
    let mut command = world.command(&["use", "web1"]);
    world
        .finish(command.env("DOCKER_HOST", "tcp://127.0.0.1:1"))
        .ok()
        .says("warning: DOCKER_HOST is set and wins over the context");
    world.create(&["bare"]).ok();
    world
        .berth(&["env", "bare"])
        .code(4)
        .says("has no container engine");
    world
        .berth(&["use", "bare"])
        .code(4)
        .says("has no container engine");
    world.berth(&["env", "nobody"]).code(3);
}

#[test]
fn ssh_reaches_machines_by_the_include_line() {
    let world = World::new();
    world.create(&["web1", "web2"]).ok();
    assert_data_eq!(
        world.berth(&["ssh-config"]).ok().printed(),
        str![[r#"
# In ~/.ssh/config: Include WORLD/b/machines/*/ssh_config
Host web1.berth
  HostName 127.0.0.1
  Port PORT
  User root
  HostKeyAlias web1.berth
  UserKnownHostsFile WORLD/b/machines/web1/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  IdentityFile WORLD/b/machines/web1/id_ed25519
  IdentitiesOnly yes
  ConnectTimeout 60
Host web2.berth
  HostName 127.0.0.1
  Port PORT
  User root
  HostKeyAlias web2.berth
  UserKnownHostsFile WORLD/b/machines/web2/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  IdentityFile WORLD/b/machines/web2/id_ed25519
  IdentitiesOnly yes
  ConnectTimeout 60

"#]]
    );

    fs::create_dir(world.path("home/.ssh")).unwrap();
    let config = world.path("home/.ssh/config");
    fs::write(&config, "Host other\n  Port 9\n").unwrap();
    for words in ["now includes", "includes berth's machines already"] {
        world.berth(&["ssh-config", "--install"]).ok().says(words);
    }
    let text = fs::read_to_string(&config).unwrap();
    assert_eq!(text.matches("Include ").count(), 1);
    assert!(text.ends_with("Host other\n  Port 9\n"));
    // ssh asks the password database for the home folder, so the file is named.
    let file = config.display().to_string();
    for name in ["web1", "web2"] {
        let host = format!("{name}.berth");
        let ran = world.finish(
            world
                .program("ssh")
                .args(["-F", &file, &host, "echo", "here"]),
        );
        assert_eq!(ran.ok().stdout, "here\n");
    }
    fs::write(world.path("f"), "by scp").unwrap();
    let to = format!("web1.berth:{}", world.path("g").display());
    world
        .finish(world.program("scp").args(["-q", "-F", &file, "f", &to]))
        .ok();
    assert_eq!(fs::read(world.path("g")).unwrap(), b"by scp");

    // A machine that shows another host key is not believed.
    let key = world.file("web1", "vm/host_key");
    fs::remove_file(&key).unwrap();
    let mut keygen = world.program("ssh-keygen");
    keygen
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key);
    world.finish(&mut keygen).ok();
    world.berth(&["kill", "web1"]).ok();
    world
        .berth(&["start", "--timeout", "5", "web1"])
        .code(1)
        .says("host key");
    world
        .berth(&["ssh", "web1", "--", "true"])
        .code(255)
        .says("Host key verification failed");
}

#[test]
fn podman_is_pointed_at_machines_with_its_engine_and_at_no_others() {
    let world = World::new();
    world.create(&["pod1"]).ok();
    let _engine = engine::install(&world, "pod1");
    let record = world.file("pod1", "machine.toml");
    let text = fs::read_to_string(&record).unwrap();
    let text = text.replace("kind = \"docker\"", "kind = \"podman\"");
    fs::write(&record, text).unwrap();
    let file = world.path("home/.config/containers/podman-connections.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    // What podman itself wrote for a machine of its own.
    let theirs = json!({"Connection": {"Default": "m1", "Connections": {
        "m1": {"URI": "ssh://core@127.0.0.1:45371/run/podman.sock", "Identity": "/k", "IsMachine": true}}},
        "Farm": {}});
    fs::write(&file, theirs.to_string()).unwrap();
    let read = || serde_json::from_slice::<Value>(&fs::read(&file).unwrap()).unwrap();

    world.berth(&["start", "pod1"]).ok();
    let _docker = machine(&world, "web1");
    let uri = format!("unix://{}", world.file("pod1", "docker.sock").display());
    let mut expected = theirs.clone();
    expected["Connection"]["Connections"]["pod1"] = json!({"URI": uri});
    assert_eq!(read(), expected);
    world.berth(&["use", "pod1"]).ok();
    assert_eq!(read()["Connection"]["Default"], "pod1");
    let listed = world.berth(&["context", "ls", "--json"]).ok().stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let podman: Vec<&Value> = listed
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["client"] == "podman")
        .collect();
    assert_eq!(podman.len(), 1);
    assert_eq!(podman[0]["host"], uri);

    // Lost and found again.
    fs::write(&file, theirs.to_string()).unwrap();
    world.berth(&["context", "sync"]).ok();
    assert_eq!(read(), expected);
    world.berth(&["rm", "-y", "pod1"]).ok();
    assert_eq!(read(), theirs);
    world.berth(&["rm", "-y", "web1"]).ok();
    assert_eq!(read(), theirs);
}
