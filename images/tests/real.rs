//! The real programs behind a store: `cargo test -p berth-images --test real -- --ignored`.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::process::Command;

use berth_driver_api::{DiskFormat, Silent};
use berth_images::{Catalog, Reference, Store};

#[tokio::test]
#[ignore = "downloads 40 MB from Debian's mirror"]
async fn the_kernel_is_built_and_runs_where_it_is_copied_to() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let catalog = Catalog::load(None).unwrap();
    let name: Reference = "uml-kernel".parse().unwrap();
    let image = store.ensure(&catalog, &name, &Silent).await.unwrap();
    store.verify(&image.digest).unwrap();
    let info = image.kernel.as_ref().unwrap();
    assert!(
        info.has.iter().any(|name| name == "seccomp-mode"),
        "{info:?}"
    );
    for file in [
        "ld.so",
        "libc.so.6",
        "modules.img",
        "initrd",
        "config",
        "limits",
        "cmdline",
    ] {
        assert!(image.folder().join(file).is_file(), "{file}");
    }

    let elsewhere = tempfile::tempdir().unwrap();
    for file in fs::read_dir(image.folder()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), elsewhere.path().join(file.file_name())).unwrap();
    }
    store.remove(&name, &|_| Vec::new()).unwrap();
    let linux = Command::new(elsewhere.path().join("linux"))
        .current_dir(elsewhere.path())
        .arg("--version")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&linux.stdout).trim(), info.version);
    let left = fs::read_dir(home.path().join("tmp")).unwrap();
    assert!(!left.map(Result::unwrap).any(|entry| entry.path().is_dir()));
}

#[tokio::test]
#[ignore = "needs qemu-img"]
async fn a_raw_disk_comes_out_as_it_went_in() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let given = home.path().join("given.raw");
    let mut file = fs::File::create(&given).unwrap();
    file.set_len(64 << 20).unwrap();
    for (at, bytes) in [(510, &[0x55, 0xaa][..]), (40 << 20, b"in the middle")] {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    }
    let image = store.import(&given, None, None, &Silent).await.unwrap();
    let raw = store
        .disk_as(&image, DiskFormat::Raw, &Silent)
        .await
        .unwrap();
    assert!(fs::read(&given).unwrap() == fs::read(&raw).unwrap());
    let known = store
        .get(&Reference::Digest(image.digest.clone()))
        .unwrap()
        .unwrap();
    assert!(known.size_on_disk < 4 << 20, "{}", known.size_on_disk);
}
