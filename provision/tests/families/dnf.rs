//! The scripts of dnf's families: the same for dnf 4, which is Debian 12's, and dnf 5.

use std::fs;
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use berth_provision::Kind;
use berth_provision::family::{Family, Repository, Source, Verdict, is_version};

use crate::mirror::{Mirror, ROCKY, repository};
use crate::sandbox::Sandbox;
use crate::{dnf5, family_of, os, rpm, seen, serve};

const VERSIONS: [&str; 3] = ["3:28.0.0-1.test", "3:27.0.3-1.test", "3:27.0.1-1.test"];

/// Fedora and RHEL do not install the plugin that copies what it installs into a repository; Debian enables it.
const NO_PLUGIN: &str = "[main]\nname = local\nenabled = no\n";

/// Installs what holds versions with dnf 4. On the computer itself it could not be beside zypper.
const VERSIONLOCK: &str = "export DEBIAN_FRONTEND=noninteractive; \
     i='apt-get -qq -y --no-install-recommends -o Dpkg::Options::=--force-confold install dnf-plugins-core'; \
     $i || { apt-get -qq update && $i; }";

fn with_dnf_4() -> Option<Sandbox> {
    let programs = ["dnf", "rpmbuild", "rpmsign", "createrepo_c", "gpg"];
    let sandbox = Sandbox::with(&programs)?;
    sandbox.write("/etc/dnf/plugins/local.conf", NO_PLUGIN);
    Some(sandbox)
}

fn with_dnf_5() -> Sandbox {
    let sandbox = Sandbox::over(&dnf5::folder()).unwrap();
    sandbox.write("/etc/dnf/libdnf5-plugins/local.conf", NO_PLUGIN);
    let version = sandbox.ok("dnf --version");
    assert!(version.starts_with("dnf5 version 5."), "{version}");
    sandbox
}

#[test]
fn dnf_4_installs_from_upstream_holds_and_goes_back() {
    if let Some(sandbox) = with_dnf_4() {
        sandbox.ok(VERSIONLOCK);
        installs_from_upstream_holds_and_goes_back(&sandbox);
    }
}

#[test]
#[ignore = "fetches a system with dnf 5; cargo xtask test runs it"]
fn dnf_5_installs_from_upstream_holds_and_goes_back() {
    installs_from_upstream_holds_and_goes_back(&with_dnf_5());
}

#[test]
fn dnf_4_refuses_a_package_that_another_key_signed() {
    if let Some(sandbox) = with_dnf_4() {
        refuses_a_package_that_another_key_signed(&sandbox);
    }
}

#[test]
#[ignore = "fetches a system with dnf 5; cargo xtask test runs it"]
fn dnf_5_refuses_a_package_that_another_key_signed() {
    refuses_a_package_that_another_key_signed(&with_dnf_5());
}

fn offered(
    sandbox: &Sandbox,
    family: &dyn Family,
    elsewhere: Option<(&Repository, &str)>,
) -> Vec<String> {
    let script = family.offers_script(Kind::Docker, Source::Upstream, elsewhere);
    family.offered(sandbox.ok(&script).as_bytes())
}

fn installs_from_upstream_holds_and_goes_back(sandbox: &Sandbox) {
    let os = os(ROCKY);
    let family = family_of(&os);
    let mirror = Mirror::with("centos/9");
    mirror.upstream(&["27.0.1", "27.0.3", "28.0.0"]);
    let key = mirror.folder.path().join("linux/centos/gpg");
    let fingerprint = rpm::sign(&mirror.stable, &key);
    rpm::index(&mirror.stable);
    let (port, closed) = serve::serve(mirror.folder.path().to_owned());
    mirror.distribution(port, sandbox);
    let repository = repository(family, &os, port, &fingerprint);
    let key = sandbox.ok(&family.fetch_script(&repository.key_url));
    assert!(key.contains("BEGIN PGP PUBLIC KEY BLOCK"), "{key}");

    // Without a trace, before the machine knows the repository.
    let elsewhere = Some((&repository, key.as_str()));
    assert_eq!(offered(sandbox, family, elsewhere), VERSIONS);
    let left = format!("ls {} || rpm -q gpg-pubkey", repository.list_path);
    assert!(sandbox.run(&left).is_err());
    assert_eq!(sandbox.left("/tmp"), [""; 0]);

    sandbox.write(repository.key_path, &key);
    sandbox.write(repository.list_path, &repository.list);
    let offered = offered(sandbox, family, None);
    assert_eq!(offered, VERSIONS);
    let pinned = offered
        .iter()
        .find(|version| is_version(version, "27.0"))
        .unwrap();
    let install = |version| family.install_script(Kind::Docker, Source::Upstream, version);
    sandbox.ok(&install(Some(pinned)));
    assert_eq!(seen(sandbox, family), "ii docker-ce 3:27.0.3-1.test");
    assert!(sandbox.run("rpm -q runc").is_err(), "it made no room");

    keeps(sandbox, family);
    holds(sandbox, family, elsewhere);
    sandbox.ok(&install(Some("3:27.0.1-1.test")));
    assert_eq!(seen(sandbox, family), "ii docker-ce 3:27.0.1-1.test");
    sandbox.ok(&install(None));
    assert_eq!(seen(sandbox, family), "ii docker-ce 3:28.0.0-1.test");
    sandbox.ok(&install(Some(pinned)));
    assert_eq!(seen(sandbox, family), "ii docker-ce 3:27.0.3-1.test");
    downloads(sandbox, family, elsewhere);
    let words = sandbox.run(&family.install_script(Kind::Docker, Source::Distro, None));
    assert!(words.unwrap_err().contains("use the channel upstream"));

    closed.store(true, Ordering::Relaxed);
    // It notices when somebody calls.
    drop(TcpStream::connect(("127.0.0.1", port)));
    without_its_mirror(sandbox, family, elsewhere);
}

/// As [`holds`] and [`downloads`] leave the machine.
fn without_its_mirror(
    sandbox: &Sandbox,
    family: &dyn Family,
    elsewhere: Option<(&Repository, &str)>,
) {
    let (kind, source) = (Kind::Docker, Source::Upstream);
    let scripts = [
        family.offers_script(kind, source, elsewhere),
        family.offers_script(kind, source, None),
        family.install_script(kind, source, Some("3:28.0.0-1.test")),
    ];
    // As Fedora has it, and as RHEL has it.
    for skip in ["True", "False"] {
        let conf = format!("[main]\ngpgcheck=True\nskip_if_unavailable={skip}\n");
        sandbox.write("/etc/dnf/dnf.conf", &conf);
        for script in &scripts {
            let words = sandbox.run(script).unwrap_err();
            let verdict = family.verdict(&words);
            assert!(matches!(verdict, Verdict::Passing(_)), "{words}");
        }
    }
    sandbox.ok(&family.pin_script(kind));
    assert_eq!(seen(sandbox, family), "hi docker-ce 3:27.0.3-1.test");
    sandbox.ok(&family.unpin_script(kind));
    sandbox.ok(&family.install_files_script("/var/tmp/downloaded"));
    assert_eq!(seen(sandbox, family), "ii docker-ce 3:28.0.0-1.test");
    // And where there is no repository at all.
    sandbox.ok("rm /etc/yum.repos.d/*");
    sandbox.ok(&family.install_files_script("/var/tmp/kept"));
    assert_eq!(seen(sandbox, family), "ii docker-ce 3:27.0.3-1.test");
    let cli = sandbox.ok("rpm -q docker-ce-cli");
    assert_eq!(cli.trim(), "docker-ce-cli-27.0.3-1.test.noarch");
    let words = sandbox.run(&family.keep_files_script(kind, "/var/tmp/none"));
    assert!(
        words
            .unwrap_err()
            .contains("neither from dnf's cache nor from a mirror")
    );
    assert_eq!(sandbox.left("/tmp"), [""; 0]);
}

/// Of dnf's cache, and where that is empty of a mirror.
fn keeps(sandbox: &Sandbox, family: &dyn Family) {
    sandbox.ok(&family.keep_files_script(Kind::Docker, "/var/tmp/kept"));
    let kept = sandbox.ok("ls /var/tmp/kept");
    for file in ["docker-ce-27.0.3-1.test.noarch.rpm", "containerd.io-1.7.27"] {
        assert!(kept.contains(file), "{kept}");
    }
    sandbox.ok("dnf -y clean packages");
    sandbox.ok(&family.keep_files_script(Kind::Docker, "/var/tmp/kept again"));
    assert_eq!(sandbox.ok("ls '/var/tmp/kept again'"), kept);
    assert_eq!(seen(sandbox, family), "ii docker-ce 3:27.0.3-1.test");
}

/// With 27.0.3 installed and kept, which it leaves installed.
fn holds(sandbox: &Sandbox, family: &dyn Family, elsewhere: Option<(&Repository, &str)>) {
    let pin = family.pin_script(Kind::Docker);
    let unpin = family.unpin_script(Kind::Docker);
    let held = |version: &str| {
        assert_eq!(seen(sandbox, family), format!("hi docker-ce {version}"));
        sandbox.ok("dnf -y --refresh upgrade");
        assert_eq!(seen(sandbox, family), format!("hi docker-ce {version}"));
        let cli = sandbox.ok("rpm -q --qf '%{VERSION}' docker-ce-cli");
        assert!(version.contains(&cli), "{cli}");
    };
    for _ in 0..2 {
        sandbox.ok(&pin);
        held("3:27.0.3-1.test");
    }
    assert_eq!(offered(sandbox, family, elsewhere), VERSIONS);
    assert_eq!(offered(sandbox, family, None), VERSIONS);
    for _ in 0..2 {
        sandbox.ok(&unpin);
        assert_eq!(seen(sandbox, family), "ii docker-ce 3:27.0.3-1.test");
    }
    sandbox.ok("dnf -y upgrade");
    assert_eq!(seen(sandbox, family), "ii docker-ce 3:28.0.0-1.test");

    // A lock that another version left behind holds nothing.
    sandbox.ok(&pin);
    held("3:28.0.0-1.test");
    sandbox.ok("rpm -U --oldpackage /var/tmp/kept/docker-ce-*.rpm");
    sandbox.ok(&pin);
    held("3:27.0.3-1.test");
    // What is held goes back by the way that upgrades take.
    sandbox.ok(&unpin);
    sandbox.ok("dnf -y upgrade");
    sandbox.ok(&pin);
    held("3:28.0.0-1.test");
    let back = family.install_files_script("/var/tmp/kept");
    sandbox.ok(&format!("{{ {unpin}; }}; ( {back} )"));
    assert_eq!(seen(sandbox, family), "ii docker-ce 3:27.0.3-1.test");
    // Of a package whose name begins with the engine's.
    sandbox.ok("dnf -y versionlock add docker-ce-cli");
    assert_eq!(seen(sandbox, family), "ii docker-ce 3:27.0.3-1.test");
    sandbox.ok(&unpin);
}

/// Another version than is held, with all that it needs, though the machine has it.
fn downloads(sandbox: &Sandbox, family: &dyn Family, elsewhere: Option<(&Repository, &str)>) {
    sandbox.ok(&family.pin_script(Kind::Docker));
    let folder = "/var/tmp/downloaded";
    let version = Some("3:28.0.0-1.test");
    let (kind, source) = (Kind::Docker, Source::Upstream);
    sandbox.ok(&format!(
        "mkdir {folder}; {}",
        family.download_script(kind, source, version, elsewhere, folder)
    ));
    let files = sandbox.ok(&format!("ls {folder}"));
    assert_eq!(
        files.lines().collect::<Vec<_>>(),
        [
            "container-selinux-1.0-1.test.noarch.rpm",
            "containerd.io-1.7.27-1.test.noarch.rpm",
            "docker-buildx-plugin-1.7.27-1.test.noarch.rpm",
            "docker-ce-28.0.0-1.test.noarch.rpm",
            "docker-ce-cli-28.0.0-1.test.noarch.rpm",
            "docker-compose-plugin-1.7.27-1.test.noarch.rpm",
        ]
    );
    assert_eq!(seen(sandbox, family), "hi docker-ce 3:27.0.3-1.test");
    sandbox.ok(&family.unpin_script(Kind::Docker));
}

fn refuses_a_package_that_another_key_signed(sandbox: &Sandbox) {
    let os = os("ID=fedora\nVERSION_ID=42\n");
    let family = family_of(&os);
    let mirror = Mirror::with("fedora/42");
    for package in [
        "docker-ce",
        "docker-ce-cli",
        "containerd.io",
        "docker-buildx-plugin",
        "docker-compose-plugin",
    ] {
        rpm::build(&mirror.stable, package, 0, "28.0.0");
    }
    rpm::sign(
        &mirror.stable,
        &mirror.folder.path().join("linux/fedora/gpg"),
    );
    // The key of someone else.
    let other = tempfile::tempdir().unwrap();
    let key = other.path().join("key");
    let nothing = tempfile::tempdir().unwrap();
    let fingerprint = rpm::sign(nothing.path(), &key);
    rpm::index(&mirror.stable);
    let (port, _) = serve::serve(mirror.folder.path().to_owned());
    let repository = repository(family, &os, port, &fingerprint);
    let key = fs::read_to_string(&key).unwrap();
    let elsewhere = Some((&repository, key.as_str()));
    let (kind, source, folder) = (Kind::Docker, Source::Upstream, "/var/tmp/downloaded");
    let refused = |script: &str| {
        let words = sandbox.run(script).unwrap_err();
        // dnf 4 and 5.
        let said = ["GPG check FAILED", "Signature verification failed"];
        assert!(said.iter().any(|said| words.contains(said)), "{words}");
        assert_eq!(family.verdict(&words), Verdict::Final, "{words}");
    };
    sandbox.ok(&format!("mkdir -p {folder} /etc/yum.repos.d"));
    refused(&family.download_script(kind, source, None, elsewhere, folder));
    sandbox.write(repository.key_path, &key);
    sandbox.write(repository.list_path, &repository.list);
    refused(&family.install_script(kind, source, None));
    assert_eq!(seen(sandbox, family), "");
}
