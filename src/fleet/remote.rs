//! The line that a machine's shell is given.

use berth_provision::ssh::quote;
use serde::{Deserialize, Serialize};

/// What is to be run, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// One line for a shell, or words.
    pub command: Vec<String>,
    /// Variables.
    pub env: Vec<(String, String)>,
    /// The folder.
    pub dir: Option<String>,
    /// As root.
    pub sudo: bool,
}

impl Remote {
    /// The line for the shell of `user`.
    pub fn line(&self, user: &str) -> String {
        let sudo = self.sudo && user != "root";
        let wrapped = sudo || !self.env.is_empty() || self.dir.is_some();
        let mut words: Vec<String> = match self.command.as_slice() {
            [line] if !wrapped => return line.clone(),
            [line] => ["sh", "-c", line].map(str::to_owned).into(),
            words => words.to_vec(),
        };
        if !self.env.is_empty() || self.dir.is_some() {
            // The shell stands before the command's own words: those may have = in them, which env would take.
            let script = match &self.dir {
                Some(_) => "cd -- \"$0\" && exec \"$@\"",
                None => "exec \"$@\"",
            };
            let dir = self.dir.clone().unwrap_or_else(|| "sh".into());
            words.splice(0..0, ["sh".into(), "-c".into(), script.into(), dir]);
        }
        if !self.env.is_empty() {
            let pairs = self.env.iter().map(|(key, value)| format!("{key}={value}"));
            let pairs: Vec<String> = pairs.collect();
            words.splice(0..0, std::iter::once("env".to_owned()).chain(pairs));
        }
        if sudo {
            words.splice(0..0, ["sudo", "-n", "--"].map(str::to_owned));
        }
        let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
        quoted.join(" ")
    }
}

/// Reads `KEY=VALUE`, KEY being a variable's name.
pub fn variable(text: &str) -> Result<(String, String), String> {
    let good = |key: &str| {
        key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    match text.split_once('=') {
        Some((key, value)) if good(key) => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, NAME of letters, digits and _".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_quoted_once() {
        let mut remote = Remote {
            command: vec!["ls *".into()],
            env: Vec::new(),
            dir: None,
            sudo: true,
        };
        assert_eq!(remote.line("root"), "ls *");
        assert_eq!(remote.line("me"), "sudo -n -- sh -c 'ls *'");
        remote.command = vec!["echo".into(), "c d".into()];
        assert_eq!(remote.line("root"), "echo 'c d'");
        remote.env = vec![("K".into(), "v w".into())];
        remote.dir = Some("/x y".into());
        assert_eq!(
            remote.line("me"),
            "sudo -n -- env 'K=v w' sh -c 'cd -- \"$0\" && exec \"$@\"' '/x y' echo 'c d'"
        );
    }
}
