//! Disks at any address, of any format.

use std::fs;
use std::process::Command;

use snapbox::{assert_data_eq, str};

use crate::http::{Answer, Server, sha256};
use crate::support::World;
use crate::{disk, nothing_is_stored, told, walk};

#[test]
fn a_disk_at_any_address_is_taken_with_its_digest() {
    let world = World::new();
    let bytes = disk(&world);
    let digest = format!("sha256:{}", sha256(&bytes));
    let server = Server::new(move |request| match request.path.as_str() {
        "/my.img?key=secret" => Answer::file(request, &bytes),
        _ => Answer::status(404),
    });
    let url = format!("{}/my.img?key=secret", server.address());
    let pull = |digest: &str| {
        world.berth(&[
            "--quiet-progress",
            "image",
            "pull",
            &url,
            "--digest",
            digest,
        ])
    };
    let wrong = format!("sha256:{}", "0".repeat(64));
    assert_data_eq!(
        told(&pull(&wrong)),
        str![[r#"
exit 1
berth: http://127.0.0.1:PORT/my.img is not what it should be: it has sha256:HEX, not sha256:HEX
hint: nothing of it was kept; compare the digest with the distributor's

"#]]
    );
    nothing_is_stored(&world);
    pull(&digest).ok().says("the digest that the user gave");
    let asked = server.asked_for("/my.img?key=secret").len();
    pull(&digest).ok();
    assert_eq!(server.asked_for("/my.img?key=secret").len(), asked);
    // Without a digest it is taken as it comes, and berth tells how to insist on it.
    world
        .berth(&["image", "pull", &url])
        .ok()
        .says(&format!("--digest {digest}"));
    for file in walk(&world.path("images")) {
        let text = fs::read(&file).unwrap();
        assert!(
            !String::from_utf8_lossy(&text).contains("secret"),
            "{}",
            file.display()
        );
    }

    // From elsewhere, nobody would notice a change on the way.
    let mut all = String::new();
    for args in [
        &["image", "pull", "http://example.org/my.img"][..],
        &["image", "pull", "https://me:pass@example.org/my.img"],
        &["image", "pull", "debian-13"],
        &["image", "pull", "debain-13"],
        &["image", "pull", "ubuntu-24.04", "--digest", &digest],
        &[
            "create",
            "web1",
            "-d",
            "qemu",
            "--image",
            "debian-13",
            "--digest",
            &digest,
        ],
        &[
            "create",
            "web1",
            "-d",
            "qemu",
            "--image",
            "debian-13",
            "--digest",
            "md5:00",
        ],
        &[
            "create",
            "web1",
            "-d",
            "qemu",
            "--cloud-init",
            "/etc/hostname",
        ],
        &[
            "create",
            "web1",
            "-d",
            "qemu",
            "--image",
            "ubuntu-24.04",
            "--cloud-init",
            "/etc/passwd",
        ],
        &["create", "web1", "-d", "uml", "--image", "fedora"],
    ] {
        let ran = world.berth(args);
        assert_ne!(ran.code, 0);
        all += &format!(
            "$ berth {}\n{}\n",
            args.join(" ").replace(&digest, "DIGEST"),
            told(&ran)
        );
    }
    assert_data_eq!(
        all,
        str![[r#"
$ berth image pull http://example.org/my.img
exit 2
berth: http://example.org/my.img comes over plain HTTP, and nothing tells what it should be
hint: use its https address, or say what it is with --digest sha256:…

$ berth image pull https://me:pass@example.org/my.img
exit 2
berth: "example.org" is not the name of an image: an address with a password in it is not taken

$ berth image pull debian-13
exit 2
berth: debian-13 is built here: `berth image build debian-13`

$ berth image pull debain-13
exit 3
berth: there is no image debain-13; did you mean debian-13?
hint: `berth image ls` lists them

$ berth image pull ubuntu-24.04 --digest DIGEST
exit 2
berth: --digest goes with one address

$ berth create web1 -d qemu --image debian-13 --digest DIGEST
exit 2
berth: --digest: debian-13 is a name; it goes with an address or a path

$ berth create web1 -d qemu --image debian-13 --digest md5:00
exit 2
error: invalid value 'md5:00' for '--digest <DIGEST>': a digest is sha256: and 64 hex digits, or sha512: and 128

For more information, try '--help'.

$ berth create web1 -d qemu --cloud-init /etc/hostname
exit 2
berth: --cloud-init: debian-13-docker is an image of berth's, which has no cloud-init

$ berth create web1 -d qemu --image ubuntu-24.04 --cloud-init /etc/passwd
exit 2
berth: --cloud-init /etc/passwd: it begins with none of #cloud-config, #!, #include, #cloud-boothook, #part-handler, ## template: jinja

$ berth create web1 -d uml --image fedora
exit 4
berth: machine web1: the uml driver cannot set up images by cloud-init: it boots those that berth built


"#]]
    );
}

/// Runs a program of this computer.
fn tool(program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).output().unwrap();
    let words = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}: {words}");
}

#[test]
fn disks_of_every_format_come_out_as_they_went_in() {
    let world = World::new();
    let path = |name: &str| world.path(name).display().to_string();
    let mut content: Vec<u8> = (0..4_u32 << 20).map(|at| (at >> 12) as u8).collect();
    content[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(path("disk.raw"), &content).unwrap();
    let convert = |options: &str, to: &str| {
        let args = format!("convert -f raw {options} {} {}", path("disk.raw"), path(to));
        tool("qemu-img", &args.split_whitespace().collect::<Vec<_>>());
    };
    convert("-O vmdk -o subformat=streamOptimized", "stream.vmdk");
    convert("-O vmdk", "sparse.vmdk");
    convert("-O vhdx", "disk.vhdx");
    convert("-O qcow2 -c", "disk.qcow2");
    convert("-O vmdk -o subformat=twoGbMaxExtentSparse", "many.vmdk");
    tool("xz", &["-k", &path("disk.raw")]);
    tool("gzip", &["-k", &path("disk.qcow2")]);
    let folder = world.path("");
    let server = Server::new(move |request| {
        Answer::file(request, &fs::read(folder.join(&request.path[1..])).unwrap())
    });
    for name in [
        "disk.raw",
        "stream.vmdk",
        "sparse.vmdk",
        "disk.vhdx",
        "disk.qcow2",
        "disk.raw.xz",
        "disk.qcow2.gz",
    ] {
        let url = format!("{}/{name}", server.address());
        let digest = world.berth(&["image", "pull", &url]).ok().stdout;
        let stored = format!("images/{}/disk.qcow2", digest.trim().replace(':', "-"));
        let args = [
            "convert",
            "-f",
            "qcow2",
            "-O",
            "raw",
            &path(&stored),
            &path("back"),
        ];
        tool("qemu-img", &args);
        // VMDK rounds sizes up.
        let back = fs::read(path("back")).unwrap();
        assert!(back.starts_with(&content), "{name}");
        assert!(
            back[content.len()..].iter().all(|byte| *byte == 0),
            "{name}"
        );
    }
    let url = format!("{}/many.vmdk", server.address());
    let refused = world.berth(&["image", "pull", &url]).code(2);
    refused.says("it refers to another file (a VMDK in several files)");
}
