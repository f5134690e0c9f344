//! Carrying a command out on several machines and telling how each fared.

use std::process::ExitCode;
use std::sync::Arc;

use super::progress::{Screen, Task};
use super::report;
use super::words::PARTLY_FAILED;
use crate::fleet::{default_parallel, for_each};

/// Does `work` for every name, as many at once as this computer can well do, prints what failed, and chooses the exit
/// code: a single machine's own, 5 if some of several failed.
pub async fn each<T, F: Future<Output = anyhow::Result<T>>>(
    names: &[String],
    screen: &Screen,
    work: impl Fn(String, Arc<Task>) -> F,
) -> (Vec<(String, T)>, ExitCode) {
    let outcomes = for_each(names, default_parallel(), |name| {
        let task = screen.task(&name);
        let done = work(name, task.clone());
        async move {
            let outcome = done.await;
            task.finish();
            outcome
        }
    })
    .await;
    screen.clear();
    let mut good = Vec::new();
    let mut codes = Vec::new();
    for (name, outcome) in outcomes {
        match outcome {
            Ok(value) => good.push((name, value)),
            Err(error) => codes.push(report::print(&error)),
        }
    }
    let code = match (codes.pop(), good.is_empty() && codes.is_empty()) {
        (None, _) => ExitCode::SUCCESS,
        (Some(only), true) => only,
        (Some(_), false) => ExitCode::from(PARTLY_FAILED),
    };
    (good, code)
}
