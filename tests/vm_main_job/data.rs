//! What is carried in and out, and what stays.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use crate::vm::Host;

pub fn docker_cp(host: &Host) {
    host.docker("create --name box bbox").ok();
    std::fs::write(host.scratch().join("letter"), "dear container").unwrap();
    host.docker("cp letter box:/data/letter").ok();
    host.docker("cp box:/data/letter answer").ok();
    let answer = std::fs::read_to_string(host.scratch().join("answer")).unwrap();
    assert_eq!(answer, "dear container");
    host.docker("rm box").ok();
}

pub fn save_and_load(host: &Host) {
    host.docker("tag bbox travelling:1").ok();
    let id = host
        .docker("image inspect --format {{.Id}} travelling:1")
        .text();
    host.shell("docker save travelling:1 > travelling.tar").ok();
    host.docker("rmi travelling:1").ok();
    host.docker("image inspect travelling:1").exits(1);
    host.shell("docker load < travelling.tar").ok();
    assert_eq!(
        host.docker("image inspect --format {{.Id}} travelling:1")
            .text(),
        id
    );
    host.shell("docker save travelling:1 | docker load").ok();
    assert_eq!(
        host.docker("run --rm travelling:1 cat /www/index.html")
            .text(),
        "built"
    );
    host.docker("rmi travelling:1").ok();
}

pub fn volume(host: &Host) {
    host.docker("run --name writer --volume kept:/data bbox sh -c")
        .arg("echo it stays > /data/note")
        .ok();
    host.docker("rm writer").ok();
    assert_eq!(
        host.docker("run --rm --volume kept:/data bbox cat /data/note")
            .text(),
        "it stays"
    );
    host.docker("volume rm kept").ok();
}

/// Every byte of it differs from place to place, so that a piece lost, doubled or moved shows.
pub fn one_gib(host: &Host) {
    let mut file =
        BufWriter::with_capacity(1 << 20, File::create(host.scratch().join("big")).unwrap());
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..(1u64 << 30) / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes()).unwrap();
    }
    file.into_inner().unwrap();
    let here = host.shell("sha256sum < big").text();
    let up = host
        .berth("cp big berth:/var/tmp/big")
        .deadline(Duration::from_secs(900))
        .ok();
    println!("    up {:.1?}", up.took);
    let there = host
        .inside("berth", "sha256sum < /var/tmp/big")
        .deadline(Duration::from_secs(900))
        .ok();
    println!("    hashed there {:.1?}", there.took);
    assert_eq!(there.stdout.trim(), here);
    // Back comes a piece: a gibibyte more of encryption under emulation would tell no more.
    host.inside("berth", "head -c 64M /var/tmp/big > /var/tmp/piece")
        .ok();
    let down = host.berth("cp berth:/var/tmp/piece piece").ok();
    println!("    64 MiB down {:.1?}", down.took);
    host.shell("cmp piece <(head -c 64M big); rm big piece")
        .ok();
    host.inside("berth", "rm /var/tmp/big /var/tmp/piece").ok();
}

pub fn folder(host: &Host) {
    let tree = host.scratch().join("tree");
    std::fs::create_dir_all(tree.join("sub dir")).unwrap();
    std::fs::write(tree.join("sub dir/grün 'n\"$x"), "words").unwrap();
    std::fs::write(tree.join("run.sh"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(tree.join("run.sh"), PermissionsExt::from_mode(0o750)).unwrap();
    symlink("run.sh", tree.join("link")).unwrap();
    symlink("/nowhere", tree.join("dangling")).unwrap();
    host.berth("cp tree berth:/srv/tree").ok();
    assert_eq!(
        host.inside("berth", "stat -c %a /srv/tree/run.sh").text(),
        "750"
    );
    assert_eq!(
        host.inside("berth", "readlink /srv/tree/link").text(),
        "run.sh"
    );
    host.berth("cp berth:/srv/tree back").ok();
    host.shell("diff -r --no-dereference tree back").ok();
    // Whole seconds: tar's own format has no more.
    let list = "find . -printf '%P %m %y %l %T@\\n' | sed 's/[.][0-9]*$//' | sort";
    let (sent, returned) = (format!("cd tree; {list}"), format!("cd back; {list}"));
    assert_eq!(host.shell(&sent).text(), host.shell(&returned).text());
}
