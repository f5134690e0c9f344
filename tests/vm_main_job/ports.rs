//! Published ports on this computer's loopback.

use std::net::{TcpListener, TcpStream};

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
        "run --detach --name web --publish {port}:80 bb httpd -f -p 80 -h /www"
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

pub fn taken(host: &Host) {
    let ours = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = ours.local_addr().unwrap().port();
    host.docker(&format!(
        "run --detach --name late --publish {port}:80 bb httpd -f -p 80 -h /www"
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
        "run --detach --name fine --publish {other}:80 bb httpd -f -p 80 -h /www"
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
        "run --detach --name crowd --publish {port}:80 bb httpd -f -p 80 -h /www"
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
