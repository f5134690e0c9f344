use super::*;

#[test]
fn apts_words_are_understood() {
    let verdict = |words| Debian.verdict(words);
    for passing in [
        "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 312 (apt-get)",
        "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?",
        "dpkg: error: dpkg frontend lock is locked by another process",
        "E: Failed to fetch http://deb.debian.org/x.deb  Temporary failure resolving 'deb.debian.org'",
        "E: Failed to fetch http://m/x.deb  503  Service Unavailable [IP: 1.2.3.4 80]",
        "E: Failed to fetch http://m/Packages  Hash Sum mismatch",
        "E: Release file for http://m is not valid yet (invalid for another 3h).",
    ] {
        assert!(matches!(verdict(passing), Verdict::Passing(_)), "{passing}");
    }
    for hopeless in [
        "E: Unable to locate package docker.io",
        "E: Failed to fetch http://m/x.deb  404  Not Found [IP: 1.2.3.4 80]",
        "E: You don't have enough free space in /var/cache/apt/archives/.",
        "E: Version '1.2' for 'docker.io' was not found",
        "E: Release file for http://m is expired (invalid since 3d).",
        "",
    ] {
        assert_eq!(verdict(hopeless), Verdict::Final, "{hopeless}");
    }
    let cut = "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.";
    assert!(matches!(verdict(cut), Verdict::Mend(_)));
}

#[test]
fn offers_are_read_from_madison() {
    let printed = b" docker.io | 26.1.5+dfsg1-9+b9 | http://deb.debian.org/debian trixie/main amd64 Packages\n \
         docker.io | 26.1.5+dfsg1-9+b9 | http://mirror trixie/main amd64 Packages\n \
         docker.io | 20.10.24+dfsg1-1 | http://deb.debian.org/debian bookworm/main amd64 Packages\n\
         garbage\n x | $(rm -rf /) | y\n";
    assert_eq!(
        Debian.offered(printed),
        ["26.1.5+dfsg1-9+b9", "20.10.24+dfsg1-1"]
    );
    assert!(Debian.offered(b"").is_empty());
}

/// The words after `install` that apt-get gets, with stand-ins for apt and dpkg.
fn installed(source: Source, version: Option<&str>, offered: &str, there: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    for (name, script) in [
        ("apt-get", "#!/bin/sh\necho \"$@\"\n".to_owned()),
        (
            "apt-cache",
            format!("#!/bin/sh\ncase $* in *madison\\ {offered}) echo yes;; esac\n"),
        ),
        (
            "dpkg-query",
            format!("#!/bin/sh\ncase $* in *\\ {there}) printf installed;; esac\n"),
        ),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let script = Debian.install_script(Kind::Docker, source, version);
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", &script])
        .env("PATH", folder.path())
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.rsplit_once("install ").unwrap().1.trim().to_owned()
}

#[test]
fn the_right_packages_are_installed() {
    assert_eq!(
        installed(Source::Distro, None, "nothing", "nothing"),
        "docker.io iptables apparmor"
    );
    assert_eq!(
        installed(Source::Distro, Some("1:2.3+x"), "docker-cli", "nothing"),
        "docker.io=1:2.3+x docker-cli=1:2.3+x iptables apparmor"
    );
}

#[test]
fn an_engine_from_elsewhere_makes_room() {
    assert_eq!(
        installed(Source::Upstream, Some("5:28.5.2-1"), "nothing", "docker.io"),
        "docker-ce=5:28.5.2-1 docker-ce-cli=5:28.5.2-1 containerd.io docker-buildx-plugin docker-compose-plugin \
         iptables apparmor docker.io-"
    );
    assert_eq!(
        installed(Source::Distro, None, "nothing", "containerd.io"),
        "docker.io iptables apparmor containerd.io-"
    );
}

#[test]
fn dockers_repository_is_named_by_release() {
    let os = Os::parse(b"ID=ubuntu\nVERSION_CODENAME=noble\nPRETTY_NAME=\"Ubuntu 24.04\"\n");
    let repository = Debian.repository(&os, &Upstream::default()).unwrap();
    assert_eq!(
        repository.list,
        "deb [signed-by=/etc/apt/keyrings/docker.asc] https://download.docker.com/linux/ubuntu noble stable\n"
    );
    assert_eq!(
        repository.key_url,
        "https://download.docker.com/linux/ubuntu/gpg"
    );
    for text in [
        "ID=linuxmint\nID_LIKE=ubuntu\nVERSION_CODENAME=wilma",
        "ID=debian",
        "ID=debian\nVERSION_CODENAME='x [trusted=yes]'",
    ] {
        let os = Os::parse(text.as_bytes());
        assert!(Debian.repository(&os, &Upstream::default()).is_err());
    }
}

#[test]
fn a_suite_is_preferred_where_only_it_has_the_dependencies() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    for (name, script) in [
        // Only with the suite can it be installed.
        (
            "apt-get",
            "case \"$*\" in *-t\\ sid\\ *) echo \"$@\";; *) echo no; exit 100;; esac",
        ),
        (
            "apt-cache",
            "echo 'podman | 5.8.6+ds1-3 | http://m/debian sid/main amd64 Packages'; \
             echo 'podman | 5.4.2-2 | http://m/debian trixie/main amd64 Packages'",
        ),
        (
            "dpkg-query",
            "case $* in *\\ podman|*\\ iptables) printf installed;; esac",
        ),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let installed = |version: &str| {
        let words = format!("v={version}; set -- podman=5.8.6+ds1-3 iptables passt docker-ce-;");
        let script = format!("{words} {}", suite::install_script("podman"));
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", &script])
            .env("PATH", path)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let words = installed("=5.8.6+ds1-3");
    assert!(
        words.ends_with("-t sid install podman=5.8.6+ds1-3 passt docker-ce-\n"),
        "{words}"
    );
    // Nothing helps what no suite has: apt says why.
    assert_eq!(installed("=5.9"), "no\n");
    assert_eq!(installed("=5.4.2-2"), "no\n");
}
