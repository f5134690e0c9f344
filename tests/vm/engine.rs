//! The docker CLI's side of the stories.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{ANSWER, Host, eventually};

/// Downloads the engine of Debian's unstable suite into the folder `new`, by lists of apt's that are the test's own.
pub const FETCH: &str = "mkdir -p new apt/lists/partial apt/cache/archives/partial; \
     echo 'deb [check-valid-until=no] http://deb.debian.org/debian sid main' >apt/list; \
     o='-q -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false'; \
     o=\"$o -o Dir::Etc::SourceList=$PWD/apt/list -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$PWD/apt/lists\"; \
     o=\"$o -o Dir::Cache=$PWD/apt/cache\"; apt-get $o update; cd new; apt-get $o download docker.io docker-cli tini-static";

/// Has apt in a machine offer the unstable suite's packages when they are asked for by version only.
pub fn offer_unstable(host: &Host, machine: &str) {
    let offer = "echo 'deb [check-valid-until=no] http://deb.debian.org/debian sid main' \
         >/etc/apt/sources.list.d/sid.list; \
         printf 'Package: *\\nPin: release n=sid\\nPin-Priority: 100\\n' >/etc/apt/preferences.d/sid";
    host.inside(machine, offer).ok();
}

/// Builds the image `bbox` from nothing but Debian's static busybox. No registry is needed. The name is no beginning of
/// an image's id, which podman would take it for.
pub fn build_busybox(host: &Host) {
    let folder = host.scratch().join("busybox");
    fs::create_dir_all(&folder).unwrap();
    fs::copy("/bin/busybox", folder.join("busybox")).expect("busybox-static is installed");
    // One step only: each is a container, and the guest is emulated.
    let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\n\
                      RUN [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox --install -s /bin && \
                      mkdir -p /www /data && echo built > /www/index.html\"]\nCMD [\"sh\"]\n";
    fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
    host.docker("build --tag bbox busybox").ok();
}

/// The body of `GET /` on a port of this computer's loopback; none if nobody answers.
pub fn http_get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .ok()?;
    stream
        .write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains("200 OK").then(|| body.to_owned())
}

/// What every engine has to do, in short: build, run with a published port, a volume that outlives its container.
pub fn short_docker_list(host: &Host, context: &str, port: u16) {
    let docker = |line: &str| host.docker(&format!("--context {context} {line}"));
    docker("version").ok();
    host.shell("mkdir -p bbox && cp /bin/busybox bbox/").ok();
    let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\n\
                      RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
    fs::write(host.scratch().join("bbox/Dockerfile"), dockerfile).unwrap();
    docker("build --tag bbox bbox").ok();
    docker("run --rm --volume kept:/data bbox sh -c")
        .arg("echo it > /data/note")
        .ok();
    assert_eq!(
        docker("run --rm --volume kept:/data bbox cat /data/note").text(),
        "it"
    );
    docker(&format!(
        "run --detach --name web --publish {port}:80 bbox sh -c"
    ))
    .arg("mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www")
    .ok();
    let body = eventually("the published port answers", ANSWER, || http_get(port));
    assert_eq!(body, "hello\n");
    docker("rm --force web").ok();
    eventually("the published port is closed", ANSWER, || {
        TcpStream::connect(("127.0.0.1", port))
            .is_err()
            .then_some(())
    });
}

/// Two services of the image `bbox` by the current context, of which one finds the other by its name.
pub fn compose(host: &Host) {
    // Debian's static busybox resolves names in nslookup only: its other applets need libraries of glibc's.
    let file = r#"
services:
  web:
    image: bbox
    command: httpd -f -p 80 -h /www
  asker:
    image: bbox
    depends_on: [web]
    command: sh -c 'for i in 1 2 3 4 5 6 7 8 9; do wget -q -O - http://web/ && exit 0; sleep 1; done; exit 1'
"#;
    let folder = host.scratch().join("shop");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("compose.yaml"), file).unwrap();
    let compose = |line: &str| {
        host.docker(&format!("compose --ansi never {line}"))
            .folder(&folder)
    };
    let up = compose("up --exit-code-from asker").ok();
    assert!(up.stdout.contains("| built"), "{}", up.stdout);
    compose("down").ok();
    assert_eq!(
        host.docker("ps --all --quiet --filter name=shop").text(),
        ""
    );
    assert_eq!(
        host.docker("network ls --quiet --filter name=shop").text(),
        ""
    );
}
