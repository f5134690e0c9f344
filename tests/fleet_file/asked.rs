//! `berth apply` on a terminal: it asks before it does anything.

use std::io::{Read, Write};
use std::process::{Child, Stdio};

use crate::Fleet;
use crate::support::{self, World};

#[test]
fn what_is_asked_for_is_asked_again_if_it_has_changed() {
    let world = World::new();
    world.declare("[groups.web]\ncount = 1\n");
    world.apply().ok();
    world.declare("[groups.web]\ncount = 1\nlabels = { a = 'b' }\n");
    let before = world.snapshot();
    let mut asked = Asked::begin(&world);
    asked.answer("n");
    let told = asked.end(1);
    assert!(told.contains("nothing was done"), "{told}");
    world.is_as_it_was(&before, "no");

    let mut asked = Asked::begin(&world);
    world.berth(&["label", "web-1", "other=1"]).ok();
    asked.answer("y");
    asked.wait_for_question();
    asked.answer("y");
    let told = asked.end(0);
    assert!(
        told.contains("the machines have changed meanwhile"),
        "{told}"
    );
    assert_eq!(world.row("web-1")["labels"], serde_json::json!({"a": "b"}));
}

/// `berth apply` on a terminal.
struct Asked {
    child: Child,
    told: String,
}

impl Asked {
    fn begin(world: &World) -> Asked {
        let child = world
            .program("script")
            .args([
                "-qec",
                &format!("{} --quiet-progress apply", support::BERTH),
                "/dev/null",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut asked = Asked {
            child,
            told: String::new(),
        };
        asked.wait_for_question();
        asked
    }

    fn wait_for_question(&mut self) {
        let from = self.told.len();
        while !self.told[from..].contains("Do it? [y/N]") {
            let mut buffer = [0; 1024];
            let count = self
                .child
                .stdout
                .as_mut()
                .unwrap()
                .read(&mut buffer)
                .unwrap();
            assert!(count > 0, "no question in {}", self.told);
            self.told += &String::from_utf8_lossy(&buffer[..count]);
        }
    }

    fn answer(&mut self, word: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{word}").unwrap();
    }

    /// Everything that was told.
    fn end(mut self, code: i32) -> String {
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut self.told)
            .unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{}", self.told);
        self.told
    }
}
