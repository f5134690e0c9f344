//! What is not as the distributor says is not believed.

use std::fs;
use std::process::Command;

use snapbox::{assert_data_eq, str};

use crate::http::{Answer, Server};
use crate::support::World;
use crate::{disk, entry, nothing_is_stored, sums, told};

#[test]
fn what_is_not_as_the_distributor_says_is_refused() {
    let world = World::new();
    let good = disk(&world);
    let mut flipped = good.clone();
    flipped[5000] ^= 1;
    let mut backed = good.clone();
    backed[8..16].copy_from_slice(&1024_u64.to_be_bytes());
    let bomb = world.path("bomb");
    fs::write(&bomb, vec![0; 200 << 20]).unwrap();
    let packed = Command::new("xz")
        .arg("-1c")
        .arg(&bomb)
        .output()
        .unwrap()
        .stdout;
    let right = sums(&good);
    let lists = [
        ("/backed/SUMS", sums(&backed)),
        ("/bomb/SUMS", sums(&packed)),
        ("/text/SUMS", sums(b"hello")),
        ("/other/SUMS", right.replace("disk.img", "else.img")),
        ("/html/SUMS", "<html>not found</html>".into()),
    ];
    let server = Server::new(move |request| {
        let list = lists.iter().find(|(path, _)| *path == request.path);
        match (list, request.path.as_str()) {
            (Some((_, list)), _) => Answer::text(list),
            (_, "/gone/SUMS") => Answer::status(404),
            (_, "/broken/SUMS") => Answer::status(500),
            (_, "/flood/SUMS") => Answer::endless(),
            (_, path) if path.ends_with("/SUMS") => Answer::text(&right),
            (_, "/flipped/disk.img") => Answer::file(request, &flipped),
            (_, "/backed/disk.img") => Answer::file(request, &backed),
            (_, "/bomb/disk.img") => Answer::file(request, &packed),
            (_, "/text/disk.img") => Answer::text("hello"),
            (_, "/loop/disk.img") => Answer::redirect("/loop/disk.img"),
            (_, "/downgrade/disk.img") => Answer::redirect("http://example.org/disk.img"),
            (_, "/endless/disk.img") => Answer::endless(),
            _ => Answer::status(403),
        }
    });
    let mut all = String::new();
    for case in [
        "flipped",
        "other",
        "html",
        "gone",
        "broken",
        "flood",
        "loop",
        "downgrade",
        "endless",
        "bomb",
        "backed",
        "text",
        "forbidden",
    ] {
        let url = format!("{}/{case}/disk.img", server.address());
        let rest = format!("checksums = \"SUMS\"\n[urls]\nx86_64 = [\"{url}\"]\n");
        entry(&world, case, &rest);
        let ran = world
            .berth(&["--quiet-progress", "image", "pull", case])
            .code(1);
        all += &format!("$ berth image pull {case}\n{}\n", told(&ran));
        nothing_is_stored(&world);
    }
    assert_data_eq!(
        all,
        str![[r#"
$ berth image pull flipped
exit 1
berth: the image flipped could not be had
  http://127.0.0.1:PORT/flipped/disk.img: what came has sha256:HEX, and the distributor says sha256:HEX
hint: nothing that is not as its distributor says was kept; try again later, or another image

$ berth image pull other
exit 1
berth: the image other could not be had
  http://127.0.0.1:PORT/other/disk.img: SUMS: it has no checksum for disk.img
hint: nothing that is not as its distributor says was kept; try again later, or another image

$ berth image pull html
exit 1
berth: the image html could not be had
  http://127.0.0.1:PORT/html/disk.img: SUMS: it has no checksum for disk.img
hint: nothing that is not as its distributor says was kept; try again later, or another image

$ berth image pull gone
exit 1
berth: the image gone could not be had
  http://127.0.0.1:PORT/gone/disk.img: SUMS: the server answers 404 Not Found
hint: check the network; what has come is kept, and the same command goes on from there

$ berth image pull broken
exit 1
berth: the image broken could not be had
  http://127.0.0.1:PORT/broken/disk.img: SUMS: the server answers 500 Internal Server Error
hint: check the network; what has come is kept, and the same command goes on from there

$ berth image pull flood
exit 1
berth: the image flood could not be had
  http://127.0.0.1:PORT/flood/disk.img: SUMS: it is longer than 1 MiB, which no such file is
hint: check the network; what has come is kept, and the same command goes on from there

$ berth image pull loop
exit 1
berth: the image loop could not be had
  http://127.0.0.1:PORT/loop/disk.img: it redirects more than 8 times
hint: check the network; what has come is kept, and the same command goes on from there

$ berth image pull downgrade
exit 1
berth: the image downgrade could not be had
  http://127.0.0.1:PORT/downgrade/disk.img: it redirects to plain HTTP
hint: check the network; what has come is kept, and the same command goes on from there

$ berth image pull endless
exit 1
berth: the image endless could not be had
  http://127.0.0.1:PORT/endless/disk.img: the server does not say how long it is
hint: check the network; what has come is kept, and the same command goes on from there

$ berth image pull bomb
exit 1
berth: the image bomb could not be had
  http://127.0.0.1:PORT/bomb/disk.img: it is no disk image that can be used: it unpacks to more than any disk of its size does
hint: nothing that is not as its distributor says was kept; try again later, or another image

$ berth image pull backed
exit 1
berth: the image backed could not be had
  http://127.0.0.1:PORT/backed/disk.img: it refers to another file (a backing file)
hint: nothing that is not as its distributor says was kept; try again later, or another image

$ berth image pull text
exit 1
berth: the image text could not be had
  http://127.0.0.1:PORT/text/disk.img: it is no disk image that can be used: it has neither a disk image's header nor a partition table
hint: nothing that is not as its distributor says was kept; try again later, or another image

$ berth image pull forbidden
exit 1
berth: the image forbidden could not be had
  http://127.0.0.1:PORT/forbidden/disk.img: the server answers 403 Forbidden
hint: check the network; what has come is kept, and the same command goes on from there


"#]]
    );
}
