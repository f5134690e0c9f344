//! `berth label`

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use super::each::each;
use super::output;
use super::progress::Screen;
use crate::fleet::{Selection, select};
use crate::machine::{Berth, LabelChange, change_labels};

/// Set or remove machines' labels, or show them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A word with = sets a label, one that ends in - removes it, any other is a machine. Without such words \
                        the labels are shown.\n\n\
                        Examples:\n  berth label web1 role=web tier=front\n  berth label 'web*' tier-\n  \
                        berth label -l role=web role=www\n  berth label --all --json"
)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Print JSON: name, labels, changed
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Labelled {
    name: String,
    labels: BTreeMap<String, String>,
    changed: bool,
}

/// Changes them, or shows them.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    let mut selection = args.selection.clone();
    let (changes, names) = selection
        .names
        .into_iter()
        .partition::<Vec<String>, _>(|word| word.contains('=') || word.ends_with('-'));
    selection.names = names;
    let changes = changes
        .iter()
        .map(|word| word.parse())
        .collect::<Result<Vec<LabelChange>, _>>()?;
    super::require_selection(&selection)?;
    let names = select(berth, &selection, super::ASK_DEADLINE).await?;
    let (done, code) = each(&names, screen, async |name: String, task| {
        let (labels, changed) = match changes.is_empty() {
            true => (berth.record(&name)?.labels, false),
            false => change_labels(berth, &name, &changes, &*task).await?,
        };
        Ok(Labelled {
            name,
            labels,
            changed,
        })
    })
    .await;
    let done: Vec<Labelled> = done.into_iter().map(|(_, labelled)| labelled).collect();
    if args.json {
        output::line(&serde_json::to_string_pretty(&done)?)?;
    } else if changes.is_empty() {
        let mut table = output::table(["NAME", "LABELS"]);
        for labelled in &done {
            let labels = labelled.labels.iter();
            let labels: Vec<String> = labels
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            table.add_row([labelled.name.clone(), labels.join(",")]);
        }
        output::line(&table.trim_fmt())?;
    } else {
        output::lines(done.into_iter().map(|labelled| labelled.name))?;
    }
    Ok(code)
}
