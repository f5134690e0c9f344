//! Clients that want too much, say what is no SFTP, or end.

use std::{fs, io};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{FAILED, Heard, OK, OWNER, World};
use crate::sftp::wire::{Reader, Writer, kind, open};
use crate::sftp::{Export, serve};

#[test]
fn greed_is_bounded() {
    let mut world = World::new(false);
    fs::File::create(world.path("big"))
        .unwrap()
        .set_len(10 << 20)
        .unwrap();
    let file = world.opened(b"/big", open::READ);
    let Heard::Data(bytes) = world.read(&file, 0, u32::MAX) else {
        panic!("no data");
    };
    assert_eq!(bytes.len(), 256 << 10);
    let mut handles = vec![file];
    // Every test of this process shares its limit of descriptors.
    loop {
        match world.open(b"/big", open::READ) {
            Heard::Handle(handle) => handles.push(handle),
            heard => {
                assert_eq!(heard, FAILED);
                break;
            }
        }
    }
    assert!(
        handles.len() > 500 && handles.len() <= 4096,
        "{}",
        handles.len()
    );
    for handle in handles {
        assert_eq!(world.ask(kind::CLOSE, |packet| packet.string(&handle)), OK);
    }
    world.opened(b"/big", open::READ);
    assert_eq!(world.about(kind::LSTAT, &[b'x'; 5000]), FAILED);
    assert_eq!(world.about(kind::LSTAT, b"a\0b"), FAILED);
}

#[test]
fn a_folder_with_many_files_comes_in_pieces() {
    let mut world = World::new(false);
    let mut made: Vec<Vec<u8>> = (0..1000)
        .map(|n| format!("{n:0100}").into_bytes())
        .collect();
    for name in &made {
        fs::write(world.path(std::str::from_utf8(name).unwrap()), "").unwrap();
    }
    made.sort();
    assert_eq!(world.names(b"/"), made);
}

/// What a client of [`serve`] is answered, and how serving ended.
async fn served(said: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let folder = tempfile::tempdir().unwrap();
    let export = Export {
        folder: folder.path().to_owned(),
        read_only: false,
        owner: OWNER,
    };
    let (client, server) = tokio::io::duplex(4096);
    let serving = tokio::spawn(async move { serve(server, &export).await });
    let (mut reader, mut writer) = tokio::io::split(client);
    let mut heard = Vec::new();
    let say = async {
        // A server that hung up reads no further.
        let _ = writer.write_all(said).await;
        let _ = writer.shutdown().await;
    };
    let ((), read) = tokio::join!(say, reader.read_to_end(&mut heard));
    read.unwrap();
    (heard, serving.await.unwrap())
}

#[tokio::test]
async fn whoever_does_not_speak_sftp_is_left() {
    for bad in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 0, 0, 0],
        &[255, 255, 255, 255, 1],
        &[0, 0, 0, 1, 1],
        &[0, 0, 0, 9, 1, 0],
    ] {
        let (heard, ended) = served(bad).await;
        assert!(heard.is_empty() && ended.is_err(), "{bad:?}: {ended:?}");
    }
}

#[tokio::test]
async fn a_client_that_ends_hears_all_answers_first() {
    let mut said = Writer::new(kind::INIT).u32(3).finish();
    for _ in 0..1000 {
        said.extend(Writer::new(kind::LSTAT).u32(7).string(b"/").finish());
    }
    let (heard, ended) = served(&said).await;
    assert!(ended.is_ok());
    let mut reader = Reader(&heard);
    let mut count = 0;
    while !reader.0.is_empty() {
        reader.string().unwrap();
        count += 1;
    }
    assert_eq!(count, 1001);
    let nowhere = Export {
        folder: "/nowhere".into(),
        read_only: true,
        owner: OWNER,
    };
    assert!(serve(tokio::io::empty(), &nowhere).await.is_err());
}
