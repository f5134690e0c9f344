//! Words for a POSIX shell.

/// `word` as one word of a POSIX shell, whatever is in it. NUL, which no shell can carry, is left out.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::with_capacity(word.len() + 2);
    quoted.push('\'');
    for c in word.chars() {
        match c {
            '\'' => quoted.push_str("'\\''"),
            '\0' => {}
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gives_the_word_back() {
        let words = [
            "",
            " ",
            "plain",
            "a b",
            "it's",
            "'",
            "''",
            "$HOME",
            "`id`",
            "\\",
            "\\'",
            "a\nb",
            "!x",
            "*",
            "~",
            "-n",
            "é ☃",
            "a\"b",
            "#",
            "x;rm -rf /",
            "\t",
        ];
        for word in words {
            let script = format!("printf %s {}", quote(word));
            let output = std::process::Command::new("sh")
                .arg("-c")
                .arg(&script)
                .output();
            assert_eq!(
                String::from_utf8(output.unwrap().stdout).unwrap(),
                word,
                "{script}"
            );
        }
    }

    #[test]
    fn plain_words_stay_readable() {
        assert_eq!(quote("/etc/docker/daemon.json"), "/etc/docker/daemon.json");
        assert_eq!(quote("a\0b c"), "'ab c'");
    }
}
