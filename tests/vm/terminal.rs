//! Somebody at a terminal: types, and waits for what appears.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::{ANSWER, Run, eventually};

/// A program on a terminal.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// Starts what [`super::Host::terminal`] made.
    pub fn open(run: Run) -> Self {
        let mut child = run.spawn();
        let shown = Arc::new(Mutex::new(String::new()));
        let reader = std::thread::spawn({
            let (mut stdout, shown) = (child.stdout.take().unwrap(), shown.clone());
            move || {
                let mut buffer = [0u8; 4096];
                while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..count]);
                    shown.lock().unwrap().push_str(&text);
                }
            }
        });
        let keys = child.stdin.take().unwrap();
        Terminal {
            child,
            keys,
            shown,
            reader,
        }
    }

    /// Presses keys.
    pub fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits until `text` has appeared.
    #[track_caller]
    pub fn sees(&self, text: &str) {
        let shown = || self.shown.lock().unwrap().clone();
        eventually(&format!("{text:?} on the terminal"), ANSWER, || {
            let there = shown().contains(text);
            if !there && self.reader.is_finished() {
                panic!("{text:?} never appeared: {}", shown());
            }
            there.then_some(())
        });
    }

    /// Waits for the program's end: its exit code and all that was shown.
    pub fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        drop(self.keys);
        self.reader.join().unwrap();
        let shown = self.shown.lock().unwrap().clone();
        (code, shown)
    }
}
