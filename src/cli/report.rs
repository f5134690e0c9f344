//! Telling the user what went wrong.

use std::process::ExitCode;

use super::words::words;

/// Prints an error with its hint on stderr and gives its exit code.
pub fn print(error: &anyhow::Error) -> ExitCode {
    let words = words(error);
    eprintln!("berth: {}", printable(&message(error)));
    if let Some(detail) = words.detail.filter(|detail| !detail.is_empty()) {
        for line in detail.lines() {
            eprintln!("    | {}", printable(line));
        }
    }
    if let Some(hint) = words.hint {
        eprintln!("hint: {}", printable(&hint));
    }
    ExitCode::from(words.code)
}

/// The error and its causes; those that a message above quotes already are not said twice.
pub fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Errors quote what guests, files and programs said: their control characters must not reach the terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || *c == '\n' || *c == '\t')
        .collect()
}
