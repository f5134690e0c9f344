//! The docker CLI over TLS.

use serde_json::Value;

use crate::support::{self, World};
use crate::{files, machine, port};

#[test]
fn docker_speaks_tls_by_the_environment_and_by_its_context() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    for (shell, program) in [("bash", "bash"), ("sh", "dash")] {
        let script = format!(
            "set -eu; eval \"$({} env m1 --tls --shell {shell})\"; echo \"$DOCKER_HOST $DOCKER_TLS_VERIFY $DOCKER_CERT_PATH\"\n\
             docker version --format '{{{{.Server.Version}}}}'\n\
             eval \"$({} env -u --shell {shell})\"; echo \"${{DOCKER_TLS_VERIFY-none}} ${{DOCKER_CERT_PATH-none}}\"",
            support::BERTH,
            support::BERTH
        );
        let ran = world
            .finish(world.program(program).args(["-c", &script]))
            .ok();
        let first = format!(
            "tcp://127.0.0.1:{} 1 {}",
            port(&world, "m1"),
            files(&world, "m1").display()
        );
        assert_eq!(ran.lines(), [first.as_str(), "28.5.2", "none none"]);
    }

    // Docker's own context goes over TLS if that is asked for, and follows a renewal.
    world.berth(&["certs", "enable", "m1", "--context"]).ok();
    let version = ["-c", "m1", "version", "--format", "{{.Server.Version}}"];
    let docker = || world.finish(world.program("docker").args(version));
    assert_eq!(docker().ok().stdout, "28.5.2\n");
    let context = || {
        let ran = world
            .finish(world.program("docker").args(["context", "inspect", "m1"]))
            .ok();
        serde_json::from_str::<Value>(&ran.stdout).unwrap()[0].clone()
    };
    let found = context();
    assert_eq!(
        found["Endpoints"]["docker"]["Host"],
        format!("tcp://127.0.0.1:{}", port(&world, "m1"))
    );
    assert_eq!(found["Endpoints"]["docker"]["SkipTLSVerify"], false);
    assert_eq!(found["TLSMaterial"]["docker"].as_array().unwrap().len(), 3);
    world.berth(&["certs", "renew", "--ca", "--revoke"]).ok();
    assert_eq!(docker().ok().stdout, "28.5.2\n");

    world.berth(&["certs", "disable", "m1"]).ok();
    assert_eq!(docker().ok().stdout, "28.5.2\n");
    let host = context()["Endpoints"]["docker"]["Host"].clone();
    assert!(host.as_str().unwrap().starts_with("unix://"), "{host}");
    assert_eq!(context()["TLSMaterial"], serde_json::json!({}));
}
