//! The main job for an ordinary user: no group but the own one, no capability, and /dev/kvm out of reach.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use crate::vm::{BOOT, Host, Run, assert_nothing_left, build_busybox, eventually, http_get, image};

/// Nobody else's on this computer.
const UID: u32 = 54_321;
const PORT: u16 = 17_841;

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn one_command_as_an_ordinary_user() {
    let host = Host::with("auto");
    belongs_to_the_user(&host);
    let user = |line: &str| as_user(&host, line);
    assert_eq!(user("id -u").text(), UID.to_string());
    user("test ! -r /dev/kvm").ok();
    let up = user(&format!(
        "$BERTH up --yes --image {}",
        image("debian-13-docker")
    ))
    .deadline(BOOT)
    .ok()
    .says("driver uml");
    assert_eq!(up.stdout, "berth\n");
    assert_eq!(user("docker context show").text(), "berth");
    user("docker version").ok();
    // Nothing that runs for the user has more than the user.
    let owner = fs::metadata(format!("/proc/{}", host.vm_pid_of("berth", "uml"))).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), UID);

    build_busybox(&host);
    user("docker --context berth run --detach --name web --publish 17841:80 bbox httpd -f -p 80 -h /www").ok();
    let body = eventually("the published port answers", BOOT, || http_get(PORT));
    assert_eq!(body, "built\n");
    a_container_fetches_from_this_computer(&user);
    user("$BERTH rm --yes berth").ok();
    assert_nothing_left(&host);
}

/// The computer's loopback is 10.0.2.2 for guests.
fn a_container_fetches_from_this_computer(user: &dyn Fn(&str) -> Run) {
    let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let (mut client, _) = server.accept().unwrap();
        let _ = client.read(&mut [0; 1024]);
        client
            .write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nserved")
            .unwrap();
    });
    let fetched = user(&format!(
        "docker run --rm bbox wget -q -O - http://10.0.2.2:{port}/"
    ));
    assert_eq!(fetched.text(), "served");
    served.join().unwrap();
}

fn as_user(host: &Host, line: &str) -> Run {
    let id = UID.to_string();
    host.run("setpriv", "--clear-groups --no-new-privs --inh-caps=-all")
        .args(["--reuid", &id, "--regid", &id, "bash", "-euc", line])
        .env("BERTH", host.scratch().join("bin/berth"))
        .env("BERTH_IMAGES", host.scratch().join("images"))
}

/// Gives the user the host's folder, with the programs and a store of images in it: the cache is out of reach.
fn belongs_to_the_user(host: &Host) {
    let script = format!(
        "mkdir -p bin images/refs images/locks images/tmp; cp {berth} bin/berth; cp {docker}/docker bin/; \
         for ref in {image} uml-kernel; do \
           digest=$(cat $BERTH_IMAGES/refs/$ref); cp $BERTH_IMAGES/refs/$ref images/refs/; \
           cp -a --sparse=always $BERTH_IMAGES/${{digest/:/-}} images/; done; \
         chown -R {UID}:{UID} .",
        berth = env!("CARGO_BIN_EXE_berth"),
        docker = host.docker_folder().display(),
        image = image("debian-13-docker"),
    );
    host.shell(&script).deadline(BOOT).ok();
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    open(host.scratch());
    chown(host.scratch(), Some(UID), Some(UID)).unwrap();
}
