//! Both directions of a connection, to the end of each.

use std::io::{Read, Write};

use crate::client::own;
use crate::machine;
use crate::support::World;

#[test]
fn the_end_of_one_direction_is_not_the_end_of_the_other() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    let mut client = own(&world, "m1");
    client.write_all(b"POST /drain HTTP/1.1\r\n\r\n").unwrap();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    client.write_all(&bytes).unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(
        answer.ends_with(&format!("\r\n\r\n3000000 {sum}")),
        "{answer}"
    );
}

#[test]
fn a_hijacked_connection_carries_bytes_both_ways_until_both_ends_are_done() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    let mut client = own(&world, "m1");
    let upgrade = "POST /v1.50/upgrade HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    client.write_all(upgrade.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    for word in ["hello", "again", "and again"] {
        client.write_all(word.as_bytes()).unwrap();
        let mut answer = vec![0; word.len()];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, word.to_uppercase().as_bytes());
    }
    client.conn.send_close_notify();
    client.flush().unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "<end of input>");
}
