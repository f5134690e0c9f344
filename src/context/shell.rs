//! Shell commands that point clients at a machine: `eval "$(berth env NAME)"`.

use std::path::Path;

use clap::ValueEnum;

/// Shells whose syntax berth speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// Plain POSIX sh
    Sh,
    /// fish
    Fish,
    /// PowerShell
    Powershell,
    /// tcsh
    Tcsh,
    /// Nushell
    Nushell,
}

impl Shell {
    /// The user's shell by `$SHELL`; bash where that says nothing.
    pub fn of_user() -> Self {
        let shell = std::env::var_os("SHELL").unwrap_or_default();
        match Path::new(&shell).file_name().and_then(|name| name.to_str()) {
            Some("zsh") => Shell::Zsh,
            Some("sh" | "dash" | "ksh") => Shell::Sh,
            Some("fish") => Shell::Fish,
            Some("pwsh" | "powershell") => Shell::Powershell,
            Some("tcsh" | "csh") => Shell::Tcsh,
            Some("nu") => Shell::Nushell,
            _ => Shell::Bash,
        }
    }

    /// Sets an exported variable.
    pub fn set(self, name: &str, value: &str) -> String {
        match self {
            Shell::Bash | Shell::Zsh | Shell::Sh => format!("export {name}={}", posix(value)),
            Shell::Fish => format!("set -gx {name} {};", fish(value)),
            Shell::Powershell => format!("$Env:{name} = '{}'", value.replace('\'', "''")),
            Shell::Tcsh => format!("setenv {name} {};", posix(value).replace('!', "\\!")),
            Shell::Nushell => format!("$env.{name} = {}", nushell(value)),
        }
    }

    /// Unsets a variable.
    pub fn unset(self, name: &str) -> String {
        match self {
            Shell::Bash | Shell::Zsh | Shell::Sh => format!("unset {name}"),
            Shell::Fish => format!("set -e {name};"),
            Shell::Powershell => {
                format!("Remove-Item Env:{name} -ErrorAction SilentlyContinue")
            }
            Shell::Tcsh => format!("unsetenv {name};"),
            Shell::Nushell => format!("hide-env -i {name}"),
        }
    }

    /// A comment on how to use the output of `berth {arguments}`.
    pub fn hint(self, arguments: &str) -> String {
        match self {
            Shell::Bash | Shell::Zsh | Shell::Sh => {
                format!("# Run this to use it:  eval \"$(berth {arguments})\"")
            }
            Shell::Fish => format!("# Run this to use it:  berth {arguments} | source"),
            Shell::Powershell => {
                format!("# Run this to use it:  berth {arguments} | Out-String | Invoke-Expression")
            }
            Shell::Tcsh => format!(": Run this to use it:  eval `berth {arguments}`;"),
            Shell::Nushell => format!(
                "# Run this to use it:  berth {arguments} | save -f ~/.berth.nu; source ~/.berth.nu"
            ),
        }
    }
}

fn posix(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\\''"))
}

fn fish(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn nushell(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_the_shell_that_reads_them() {
        let value = "it's a \"$HOME\" \\ path";
        assert_eq!(
            Shell::Bash.set("K", value),
            "export K='it'\\''s a \"$HOME\" \\ path'"
        );
        assert_eq!(
            Shell::Fish.set("K", value),
            "set -gx K 'it\\'s a \"$HOME\" \\\\ path';"
        );
        assert_eq!(
            Shell::Powershell.set("K", value),
            "$Env:K = 'it''s a \"$HOME\" \\ path'"
        );
        assert_eq!(
            Shell::Nushell.set("K", value),
            "$env.K = \"it's a \\\"$HOME\\\" \\\\ path\""
        );
    }

    #[test]
    fn a_real_sh_reads_back_what_was_set() {
        let value = "it's $HOME `x` \\ \"q\"";
        let script = format!("{}; printf %s \"$K\"", Shell::Sh.set("K", value));
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(script)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
    }
}
