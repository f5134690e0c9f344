//! Results on stdout: tables, JSON, names, templates.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use super::go_template::GoTemplate;

/// How a listing is printed.
#[derive(Debug, Clone, Default, Args)]
pub struct Format {
    /// Print JSON
    #[arg(long, conflicts_with_all = ["quiet", "format"])]
    pub json: bool,

    /// Print names only
    #[arg(short = 'q', long, conflicts_with = "format")]
    pub quiet: bool,

    /// Print each by a Go-style template, such as '{{.Name}}\t{{.State}}' or '{{json .}}'
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
}

impl Format {
    /// Prints `items` as asked; `table` makes the form for people.
    pub fn print<T: Serialize>(
        &self,
        items: &[T],
        name: impl Fn(&T) -> String,
        table: impl Fn(&[T]) -> Table,
    ) -> Result<()> {
        if self.json {
            return line(&serde_json::to_string_pretty(items)?);
        }
        if self.quiet {
            return lines(items.iter().map(name));
        }
        if let Some(template) = &self.format {
            return by_template(template, items);
        }
        line(&table(items).trim_fmt())
    }
}

/// Prints each item by a Go-style template.
pub fn by_template<T: Serialize>(template: &str, items: &[T]) -> Result<()> {
    let template = GoTemplate::parse(template)?;
    let mut out = Vec::new();
    for item in items {
        out.push(template.render(&serde_json::to_value(item)?)?);
    }
    lines(out)
}

/// A table without borders, as docker prints them.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

/// Prints a line on stdout; a reader that went away is no error worth words.
pub fn line(text: &str) -> Result<()> {
    lines([text.to_owned()])
}

/// Prints lines on stdout.
pub fn lines(items: impl IntoIterator<Item = String>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for item in items {
        match writeln!(out, "{item}") {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}
