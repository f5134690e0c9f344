//! Published ports on this computer's loopback.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::vm::{ANSWER, Host, eventually, http_get};

fn closed(port: u16) {
    eventually("the port is closed again", ANSWER, || {
        TcpStream::connect(("127.0.0.1", port))
            .is_err()
            .then_some(())
    });
}

/// A port that nobody has now.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn answers(port: u16) {
    let body = eventually("the published port answers", ANSWER, || http_get(port));
    assert_eq!(body, "built\n");
}

pub fn come_and_go(host: &Host) {
    let port = free_port();
    host.docker(&format!(
        "run --detach --name web --publish {port}:80 bbox httpd -f -p 80 -h /www"
    ))
    .ok();
    answers(port);
    let status = host.berth("status berth").text();
    assert!(
        status.contains(&format!("127.0.0.1:{port} → web")),
        "{status}"
    );
    host.docker("stop --time 1 web").ok();
    closed(port);
    host.docker("start web").ok();
    answers(port);
    host.docker("rm --force web").ok();
    closed(port);
}

/// The image has no server of datagrams; the machine's own perl is one.
pub fn datagrams(host: &Host) {
    let port = free_port();
    let server = "socket S, 2, 2, 0; bind S, pack 'S n x12', 2, 53; \
                  while ($who = recv S, $said, 99, 0) { send S, uc $said, 0, $who }";
    host.docker(&format!(
        "run --detach --name dns --publish {port}:53/udp --volume /:/host:ro bbox chroot /host perl -e"
    ))
    .arg(server)
    .ok();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    client.connect(("127.0.0.1", port)).unwrap();
    eventually("the server answers", ANSWER, || {
        client.send(b"who is it?").ok()?;
        let mut answer = [0; 99];
        let length = client.recv(&mut answer).ok()?;
        (&answer[..length] == b"WHO IS IT?").then_some(())
    });
    host.docker("rm --force dns").ok();
    eventually("the port is closed again", ANSWER, || {
        UdpSocket::bind(("127.0.0.1", port)).ok()
    });
}

pub fn taken(host: &Host) {
    let ours = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = ours.local_addr().unwrap().port();
    host.docker(&format!(
        "run --detach --name late --publish {port}:80 bbox httpd -f -p 80 -h /www"
    ))
    .ok();
    eventually("berth status tells that the port is taken", ANSWER, || {
        let status = host.berth("status berth").text();
        let line = status
            .lines()
            .find(|line| line.contains(&format!("127.0.0.1:{port}")))?;
        line.contains("not forwarded").then_some(())
    });
    // It was not fatal: other ports go on.
    let other = free_port();
    host.docker(&format!(
        "run --detach --name fine --publish {other}:80 bbox httpd -f -p 80 -h /www"
    ))
    .ok();
    answers(other);
    // Once it is free, the next look takes it.
    drop(ours);
    host.docker("restart --time 1 late").ok();
    answers(port);
    host.docker("rm --force late fine").ok();
    closed(port);
    closed(other);
}

pub fn many_connections(host: &Host) {
    let port = free_port();
    host.docker(&format!(
        "run --detach --name crowd --publish {port}:80 bbox httpd -f -p 80 -h /www"
    ))
    .ok();
    answers(port);
    let askers: Vec<_> = (0..30)
        .map(|_| std::thread::spawn(move || http_get(port)))
        .collect();
    for asker in askers {
        assert_eq!(asker.join().unwrap().as_deref(), Some("built\n"));
    }
    host.docker("rm --force crowd").ok();
    closed(port);
}
