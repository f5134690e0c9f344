//! Bytes of guests as text, piece by piece.

use std::io::{self, Read, Write};

/// Pieces in which captured output is read back, in bytes.
const PIECE: usize = 16 << 10;

/// Decodes UTF-8 that comes in pieces; what is none becomes `U+FFFD`.
#[derive(Default)]
pub struct Decoder {
    rest: Vec<u8>,
}

impl Decoder {
    /// The text of the next bytes; a character that is not complete waits for the next piece.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let waiting = match self.rest.utf8_chunks().last() {
            Some(chunk) if is_begun(chunk.invalid()) => chunk.invalid().len(),
            _ => 0,
        };
        let waiting = self.rest.split_off(self.rest.len() - waiting);
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest = waiting;
        text
    }

    /// What is left at the end.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.rest).into_owned()
    }
}

/// Whether bytes are the beginning of a character.
fn is_begun(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// Where guests' output is shown: a terminal must not obey it, a file or a pipe gets it byte for byte.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// Whether it is a terminal.
    pub terminal: bool,
}

impl Shown {
    /// Copies `from` to `out`, each line behind `prefix`, and ends the last line if it does not end itself.
    ///
    /// # Errors
    /// If one of them fails.
    pub fn copy(self, mut from: impl Read, mut out: impl Write, prefix: &str) -> io::Result<()> {
        let mut decoder = self.terminal.then(Decoder::default);
        let mut line_began = false;
        let mut piece = vec![0; PIECE];
        loop {
            let count = from.read(&mut piece)?;
            let read = piece.get(..count).unwrap_or_default();
            let harmless = decoder.as_mut().map(|decoder| match count {
                0 => harmless(&std::mem::take(decoder).finish()),
                _ => harmless(&decoder.push(read)),
            });
            let bytes = harmless.as_ref().map_or(read, String::as_bytes);
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                if !line_began {
                    out.write_all(prefix.as_bytes())?;
                }
                out.write_all(line)?;
                line_began = !line.ends_with(b"\n");
            }
            if count == 0 {
                break;
            }
        }
        if line_began {
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// Text without what a terminal would obey.
fn harmless(text: &str) -> String {
    super::super::report::printable(text)
}

/// Writes `from` as a JSON string.
///
/// # Errors
/// If one of them fails.
pub fn json_string(mut from: impl Read, mut out: impl Write) -> io::Result<()> {
    let mut decoder = Decoder::default();
    let mut piece = vec![0; PIECE];
    out.write_all(b"\"")?;
    loop {
        let count = from.read(&mut piece)?;
        let text = match count {
            0 => std::mem::take(&mut decoder).finish(),
            _ => decoder.push(piece.get(..count).unwrap_or_default()),
        };
        let quoted = serde_json::to_string(&text)?;
        let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
        out.write_all(inner.as_bytes())?;
        if count == 0 {
            return out.write_all(b"\"");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    #[test]
    fn a_terminal_gets_no_control_characters_and_a_pipe_every_byte() {
        let said = "a\x1b[2J\u{9b}1mü\r\n\n\tb".as_bytes();
        let copied = |terminal: bool| {
            let mut out = Vec::new();
            Shown { terminal }
                .copy(Drops(said), &mut out, "m: ")
                .unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(copied(true), "m: a[2J1mü\nm: \nm: \tb\n");
        assert_eq!(copied(false), "m: a\x1b[2J\u{9b}1mü\r\nm: \nm: \tb\n");
    }

    #[test]
    fn json_has_every_character_and_stands_what_is_none() {
        let said = b"\"\x1b\xc3\xbc\n\xff\xf0\x9f\x90\xb3\xe2\x82";
        let mut out = Vec::new();
        json_string(Drops(said), &mut out).unwrap();
        let back: String = serde_json::from_slice(&out).unwrap();
        assert_eq!(back, "\"\u{1b}ü\n\u{fffd}🐳\u{fffd}");
    }
}
