//! State files of earlier versions, brought up step by step.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

use toml::{Table, Value};

use super::{Error, Result};

/// Turns a file of version N into one of version N + 1, where N is the step's place in its list plus one.
pub type Migration = fn(&mut Table) -> std::result::Result<(), String>;

/// No state file of berth's comes near this size (bytes).
const MAX_SIZE: u64 = 1 << 20;

/// Reads a TOML state file; `None` if there is none.
///
/// # Errors
/// [`Error::Damaged`] with line and column if it is not TOML.
pub fn read_table(path: &Path) -> Result<Option<Table>> {
    let mut text = String::new();
    match fs::File::open(path) {
        Ok(file) => file
            .take(MAX_SIZE)
            .read_to_string(&mut text)
            .map_err(Error::io(path))?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path)(error)),
    };
    text.parse::<Table>()
        .map(Some)
        .map_err(|error| Error::Damaged {
            path: path.to_owned(),
            reason: error.to_string().trim().replace('\n', " "),
        })
}

/// Applies the steps that `table` has not seen; the newest version is one more than there are steps.
///
/// # Errors
/// [`Error::Future`] if the file is newer than that, [`Error::Damaged`] if it has no version or a step refuses it.
pub fn migrate(path: &Path, table: &mut Table, steps: &[Migration]) -> Result<()> {
    let known = steps.len() as i64 + 1;
    let damaged = |reason: String| Error::Damaged {
        path: path.to_owned(),
        reason,
    };
    let found = table
        .get("version")
        .and_then(Value::as_integer)
        .filter(|version| *version >= 1)
        .ok_or_else(|| damaged("it has no version".into()))?;
    if found > known {
        return Err(Error::Future {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (at, step) in steps.iter().enumerate().skip(found as usize - 1) {
        step(table).map_err(damaged)?;
        table.insert("version".into(), Value::Integer(at as i64 + 2));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[Migration] = &[
        |table| {
            let memory = table.remove("ram").ok_or("no ram")?;
            table.insert("memory".into(), memory);
            Ok(())
        },
        |table| {
            table.insert("labels".into(), Value::Table(Table::new()));
            Ok(())
        },
    ];

    fn migrated(text: &str) -> Result<Table> {
        let mut table: Table = text.parse().unwrap();
        migrate(Path::new("machine.toml"), &mut table, STEPS).map(|()| table)
    }

    #[test]
    fn old_files_pass_every_later_step_and_keep_what_is_unknown() {
        let table = migrated("version = 1\nram = 5\nfuture = 'kept'").unwrap();
        assert_eq!(table["memory"].as_integer(), Some(5));
        assert_eq!(table["version"].as_integer(), Some(3));
        assert_eq!(table["future"].as_str(), Some("kept"));
        assert!(
            migrated("version = 2\nmemory = 5")
                .unwrap()
                .contains_key("labels")
        );
    }

    #[test]
    fn newer_and_unversioned_files_are_refused() {
        assert!(matches!(
            migrated("version = 4"),
            Err(Error::Future { known: 3, .. })
        ));
        assert!(matches!(migrated("x = 1"), Err(Error::Damaged { .. })));
        assert!(matches!(
            migrated("version = 1"),
            Err(Error::Damaged { .. })
        ));
    }
}
