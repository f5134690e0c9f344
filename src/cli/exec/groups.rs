//! Output grouped by what is identical.

use std::collections::HashMap;
use std::io::{self, Write};

use super::run::Outcome;
use super::text::Shown;
use crate::fleet::fold;

/// What makes two outcomes the same.
type Key = (Option<i32>, [u8; 32], [u8; 32]);

/// Outcomes by what they have in common; of those that are the same, one is kept.
#[derive(Default)]
pub struct Groups {
    by_key: HashMap<Key, Group>,
}

struct Group {
    names: Vec<(usize, String)>,
    one: Outcome,
}

impl Groups {
    /// Takes an outcome in. One without exit code was told of as an error; what it printed is shown all the same.
    pub fn add(&mut self, outcome: Outcome) {
        let key = (outcome.rc, outcome.stdout.digest, outcome.stderr.digest);
        let name = (outcome.at, outcome.name.clone());
        match self.by_key.get_mut(&key) {
            Some(group) => group.names.push(name),
            None => {
                let names = vec![name];
                self.by_key.insert(
                    key,
                    Group {
                        names,
                        one: outcome,
                    },
                );
            }
        }
    }

    /// Prints the groups in the order of their first machines: standard output under a header, standard error behind
    /// the names.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn print(
        self,
        mut out: impl Write,
        mut err: impl Write,
        (shown_out, shown_err): (Shown, Shown),
    ) -> io::Result<()> {
        let mut groups: Vec<Group> = self.by_key.into_values().collect();
        for group in &mut groups {
            group.names.sort();
        }
        groups.sort_by(|a, b| a.names.cmp(&b.names));
        for mut group in groups {
            let names: Vec<&str> = group.names.iter().map(|(_, name)| name.as_str()).collect();
            let folded = fold(&names);
            let exit = match group.one.rc {
                Some(0) => String::new(),
                Some(code) => format!(", exit {code}"),
                None => ", not ended".to_owned(),
            };
            let silent = group.one.stdout.length == 0;
            if !silent || group.one.rc.is_some_and(|code| code != 0) {
                writeln!(out, "== {folded} ({}){exit} ==", names.len())?;
            }
            shown_out.copy(group.one.stdout.reader()?, &mut out, "")?;
            out.flush()?;
            shown_err.copy(group.one.stderr.reader()?, &mut err, &format!("{folded}: "))?;
        }
        Ok(())
    }
}
