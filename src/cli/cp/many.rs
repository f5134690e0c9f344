//! Copying to and from many machines at once.

use std::process::ExitCode;

use anyhow::Result;
use futures_util::StreamExt;

use super::super::fates::Fates;
use super::super::tally::Tally;
use super::super::words::PARTLY_FAILED;
use super::super::{ASK_DEADLINE, output, require_selection};
use super::{Args, Screen};
use crate::fleet::{Selection, Stop, crew, select};
use crate::machine::Berth;

/// Does `copy` for every machine that fits `name` and the selectors, prints the names of those where it went well, and
/// tells how the others fared.
pub async fn run<F: Future<Output = Result<()>>>(
    berth: &Berth,
    args: &Args,
    screen: &Screen,
    name: &str,
    copy: impl Fn(String) -> F,
) -> Result<ExitCode> {
    let named = (!name.is_empty()).then(|| name.to_owned());
    let selection = Selection {
        names: named.into_iter().collect(),
        filters: args.filters.clone(),
    };
    require_selection(&selection)?;
    let names = select(berth, &selection, ASK_DEADLINE).await?;
    // An interruption ends the whole command, as with one machine: the processes that copy hear it themselves.
    let bounds = args.fleet.bounds(Stop::default());
    let tally = Tally::new(Some(screen.task("cp")), names.len());
    let mut fates = Fates::default();
    let mut copied = Vec::new();
    let work = |_, name: &str| {
        tally.begins(name);
        let copying = copy(name.to_owned());
        async move { copying.await.map(|()| 0) }
    };
    {
        let mut endings = std::pin::pin!(crew(&names, &bounds, work));
        while let Some(ended) = endings.next().await {
            let (at, name) = (ended.at, ended.name.clone());
            let (code, _) = fates.add(ended);
            tally.ends(&name, code == Some(0));
            if code == Some(0) {
                copied.push((at, name));
            }
        }
    }
    tally.finish();
    screen.clear();
    copied.sort();
    output::lines(copied.into_iter().map(|(_, name)| name))?;
    fates.print_errors();
    eprintln!("berth: {}", tally.summary(&fates.in_order()));
    Ok(match fates.all_well() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(PARTLY_FAILED),
    })
}
