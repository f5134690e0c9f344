//! Outcomes as JSON.

use std::io::{self, Write};

use super::run::Outcome;
use super::text::json_string;

/// Prints an array, a record a machine: name, changed, rc, duration in seconds, stdout, stderr, error. Output goes
/// through piece by piece, however much it is.
///
/// # Errors
/// If `out` cannot be written.
pub fn print(mut outcomes: Vec<Outcome>, mut out: impl Write) -> io::Result<()> {
    outcomes.sort_by_key(|outcome| outcome.at);
    out.write_all(b"[")?;
    for (at, mut outcome) in outcomes.into_iter().enumerate() {
        let name = serde_json::to_string(&outcome.name)?;
        let rc = serde_json::to_string(&outcome.rc)?;
        let error = serde_json::to_string(&outcome.error)?;
        let comma = if at > 0 { "," } else { "" };
        write!(
            out,
            "{comma}\n  {{\"name\":{name},\"changed\":null,\"rc\":{rc},\"duration\":{:.3},\"stdout\":",
            outcome.took.as_secs_f64()
        )?;
        json_string(outcome.stdout.reader()?, &mut out)?;
        out.write_all(b",\"stderr\":")?;
        json_string(outcome.stderr.reader()?, &mut out)?;
        write!(out, ",\"error\":{error}}}")?;
    }
    out.write_all(b"\n]\n")?;
    out.flush()
}
