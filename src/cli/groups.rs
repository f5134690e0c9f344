//! The list of commands that `berth --help` shows, by what they are for: clap has one list only.

use clap::Command;

/// What commands are for, in the order in which a newcomer meets them.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Machines",
        &["up", "create", "clone", "template", "pool", "rm"],
    ),
    (
        "Their life",
        &[
            "start", "stop", "restart", "kill", "resize", "suspend", "resume", "snapshot",
        ],
    ),
    (
        "Looking at them",
        &["ls", "status", "inspect", "ip", "url", "logs", "label"],
    ),
    (
        "Reaching in",
        &[
            "ssh",
            "cp",
            "exec",
            "mount",
            "ssh-config",
            "host-key",
            "passphrase",
        ],
    ),
    ("Clients", &["use", "env", "context", "certs"]),
    ("Engines", &["provision", "upgrade", "engine"]),
    (
        "What runs in them",
        &["ps", "images", "stats", "events", "df"],
    ),
    (
        "Fleets",
        &[
            "plan", "apply", "fleet", "rollout", "swarm", "export", "import",
        ],
    ),
    (
        "Berth itself",
        &[
            "doctor",
            "image",
            "driver",
            "completions",
            "version",
            "help",
        ],
    ),
];

/// The width that help is written for.
const WIDTH: usize = 100;

/// Has the command line show its commands in groups.
pub fn grouped(command: Command) -> Command {
    let mut command = command;
    command.build();
    let widest = names().map(str::len).max().unwrap_or(0);
    let mut list = String::new();
    for (title, names) in GROUPS {
        list += &format!("\n{title}:\n");
        for name in *names {
            let about = command
                .find_subcommand(name)
                .and_then(|command| command.get_about());
            let about = about.map(ToString::to_string).unwrap_or_default();
            let lines = wrap(&about, WIDTH - widest - 4);
            let indent = " ".repeat(widest + 4);
            let text = lines.join(&format!("\n{indent}"));
            list += &format!("  {name:widest$}  {text}\n");
        }
    }
    command.help_template(format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n{list}\nOptions:\n{{options}}{{after-help}}"
    ))
}

fn names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|(_, names)| names.iter().copied())
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_is_in_one_group() {
        let mut command = Cli::command();
        command.build();
        let mut there: Vec<&str> = command
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .map(clap::Command::get_name)
            .collect();
        let mut shown: Vec<&str> = names().collect();
        there.sort_unstable();
        shown.sort_unstable();
        assert_eq!(shown, there);
    }

    #[test]
    fn no_line_is_too_long() {
        let help = grouped(Cli::command()).render_help().to_string();
        let long: Vec<&str> = help
            .lines()
            .filter(|line| line.chars().count() > WIDTH)
            .collect();
        assert!(long.is_empty(), "{long:#?}");
        assert_eq!(wrap("a bb ccc", 4), ["a bb", "ccc"]);
    }
}
