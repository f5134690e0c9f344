use super::*;
use crate::family;
use crate::os::Os;

const DEB: &[u8] = b"!<arch>\ndebian-binary   ";

fn debian() -> &'static dyn Family {
    family::of(&Os::parse(b"ID=debian"), "m1").unwrap()
}

fn check(bundle: &Bundle, kind: Kind, version: &Version) -> Result<()> {
    bundle.check("m1", debian(), "x86_64", kind, version)
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Written past tar's own checks: what comes from elsewhere had none.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

fn words(result: Result<impl std::fmt::Debug>) -> String {
    result.unwrap_err().to_string()
}

#[tokio::test]
async fn a_folder_and_its_archives_are_the_same_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let files: &[(&str, &[u8])] = &[
        ("docker.io_26.1.5+dfsg1-9_amd64.deb", DEB),
        ("containerd_1.7_amd64.deb", DEB),
        ("README", b"hello"),
    ];
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    for (name, content) in files {
        fs::write(inner.join(name), content).unwrap();
    }
    let plain = folder.path().join("b.tar");
    fs::write(&plain, archive(files)).unwrap();
    let gz = folder.path().join("b.tar.gz");
    fs::write(&gz, gzipped(&archive(files))).unwrap();
    let mut paths = vec![inner, plain.clone(), gz];
    for (program, name) in [("xz", "b.tar.xz"), ("zstd", "b.tar.zst")] {
        match std::process::Command::new(program)
            .args(["-qkc"])
            .arg(&plain)
            .output()
        {
            Ok(output) => {
                fs::write(folder.path().join(name), output.stdout).unwrap();
                paths.push(folder.path().join(name));
            }
            Err(_) => eprintln!("SKIPPED: {program} is not installed"),
        }
    }
    for path in paths {
        let bundle = Bundle::open(&path).await.unwrap();
        check(&bundle, Kind::Docker, &Version::Any).unwrap();
        check(&bundle, Kind::Docker, &"26.1".parse().unwrap()).unwrap();
        let error = words(check(&bundle, Kind::Docker, &"27".parse().unwrap()));
        assert!(error.contains("it is offered 26.1.5+dfsg1-9"), "{error}");
        assert_eq!(bundle.files(debian()).len(), 2);
    }
}

#[tokio::test]
async fn what_is_not_for_the_machine_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    let open = || Bundle::open(folder.path());
    assert!(words(open().await).contains("neither packages nor"));
    write("docker.io_26.1.5_arm64.deb", DEB);
    let error = words(check(&open().await.unwrap(), Kind::Docker, &Version::Any));
    assert!(
        error.contains("docker.io_26.1.5_arm64.deb is not for x86_64"),
        "{error}"
    );
    fs::remove_file(folder.path().join("docker.io_26.1.5_arm64.deb")).unwrap();
    write("docker-ce-28-1.x86_64.rpm", b"\xed\xab\xee\xdb");
    let error = words(check(&open().await.unwrap(), Kind::Docker, &Version::Any));
    assert!(error.contains("it has no .deb packages"), "{error}");
    write("containerd_1.7_amd64.deb", DEB);
    let error = words(check(&open().await.unwrap(), Kind::Docker, &Version::Any));
    assert!(error.contains("no package of docker itself"), "{error}");
    write("docker.io_26.1.5_amd64.deb", b"<html>404</html>");
    assert!(words(open().await).contains("is not a package, whatever its name"));
}

#[tokio::test]
async fn hostile_archives_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tar");
    let refused = async |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        words(Bundle::open(&path).await)
    };
    let twice = archive(&[("a/x_1_all.deb", DEB), ("b/x_1_all.deb", DEB)]);
    assert!(refused(&twice).await.contains("it has x_1_all.deb twice"));
    let whole = gzipped(&archive(&[(
        "docker.io_1_all.deb",
        &[DEB, &[7; 9999]].concat(),
    )]));
    assert!(
        refused(&whole[..whole.len() / 2])
            .await
            .contains("no archive")
    );
    assert!(refused(b"").await.contains("neither packages nor"));
    let many: Vec<(&str, &[u8])> = (0..=FILES_LIMIT).map(|_| ("x", &b""[..])).collect();
    assert!(!refused(&archive(&many)).await.is_empty());

    // A way out of the folder leads into it.
    let out = archive(&[("../../../../../../tmp/berth-out_1_all.deb", DEB)]);
    fs::write(&path, out).unwrap();
    let bundle = Bundle::open(&path).await.unwrap();
    assert!(bundle.folder.join("berth-out_1_all.deb").exists());
    assert!(!Path::new("/tmp/berth-out_1_all.deb").exists());
}

#[tokio::test]
async fn a_manifest_is_held_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("docker.io_26.1.5_amd64.deb");
    fs::write(&file, DEB).unwrap();
    let write = |family: &str, version: u32| {
        let manifest = Manifest {
            bundle: version,
            engine: Kind::Docker,
            family: family.into(),
            distro: "debian 13".into(),
            arch: "x86_64".into(),
            packages: vec![Listed {
                file: "docker.io_26.1.5_amd64.deb".into(),
                package: "docker.io".into(),
                version: "26.1.5".into(),
                size: DEB.len() as u64,
                sha256: sha256(&file).unwrap(),
            }],
        };
        let text = serde_json::to_vec(&manifest).unwrap();
        fs::write(folder.path().join(manifest::FILE), text).unwrap();
    };
    let open = || Bundle::open(folder.path());
    write("debian", 1);
    let bundle = open().await.unwrap();
    check(&bundle, Kind::Docker, &Version::Any).unwrap();
    assert_eq!(bundle.distro(), Some("debian 13"));
    write("fedora", 1);
    let error = words(check(&open().await.unwrap(), Kind::Docker, &Version::Any));
    assert!(error.contains("and m1 is of the family debian"), "{error}");
    write("debian", 2);
    assert!(words(open().await).contains("a later berth"));
    write("debian", 1);
    fs::write(&file, [DEB, b"!"].concat()).unwrap();
    assert!(words(open().await).contains("is not the file that was bundled"));
    fs::remove_file(&file).unwrap();
    assert!(words(open().await).contains("is missing"));
    fs::write(folder.path().join("evil_1_all.deb"), DEB).unwrap();
    assert!(words(open().await).contains("evil_1_all.deb is not in its manifest"));
    fs::write(folder.path().join(manifest::FILE), "{").unwrap();
    assert!(words(open().await).contains("is damaged"));
}

#[tokio::test]
async fn a_static_release_is_whole_and_for_one_architecture() {
    let folder = tempfile::tempdir().unwrap();
    let elf = |machine: u8| {
        let mut head = b"\x7fELF\x02\x01\x01".to_vec();
        head.resize(18, 0);
        head.extend([machine, 0, 1, 0]);
        head
    };
    let names = [
        "containerd",
        "containerd-shim-runc-v2",
        "docker-proxy",
        "dockerd",
        "runc",
    ];
    let made = async |file: &str, machines: &[u8]| {
        let programs: Vec<_> = machines.iter().map(|machine| elf(*machine)).collect();
        let paths: Vec<_> = names.iter().map(|name| format!("docker/{name}")).collect();
        let files: Vec<(&str, &[u8])> = paths
            .iter()
            .zip(&programs)
            .map(|(path, program)| (path.as_str(), program.as_slice()))
            .collect();
        let path = folder.path().join(file);
        fs::write(&path, gzipped(&archive(&files))).unwrap();
        Bundle::open(&path).await
    };
    let bundle = made("docker-26.1.5.tgz", &[62; 5]).await.unwrap();
    check(&bundle, Kind::Docker, &"26.1.5".parse().unwrap()).unwrap();
    assert!(words(check(&bundle, Kind::Podman, &Version::Any)).contains("a release of docker"));
    let other = made("docker-26.1.5.tgz", &[183; 5]).await.unwrap();
    assert!(words(check(&other, Kind::Docker, &Version::Any)).contains("it is for aarch64"));
    assert!(words(made("docker-26.1.5.tgz", &[62; 4]).await).contains("lacks runc"));
    let mixed = made("docker-26.1.5.tgz", &[62, 62, 62, 62, 183]).await;
    assert!(words(mixed).contains("for different architectures"));
    assert!(
        words(made("docker.tgz", &[62; 5]).await).contains("does not tell the release's version")
    );
}
