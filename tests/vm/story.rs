//! Several stories on one machine: a boot takes a minute, and one story's failure must not hide the next one's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::Host;

/// A story's name and what happens in it.
pub type Story = (&'static str, fn(&Host));

/// Tells all stories, each with its time, and fails at the end if one of them failed. `BERTH_TEST_STORIES=WORD,…`
/// leaves out those that have none of the words in their names.
#[track_caller]
pub fn tell(host: &Host, stories: &[Story]) {
    let only = std::env::var("BERTH_TEST_STORIES").unwrap_or_default();
    let mut failed = Vec::new();
    for (name, story) in stories {
        if !only.is_empty() && !only.split(',').any(|word| name.contains(word)) {
            println!("            {name}: left out");
            continue;
        }
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| story(host)));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("  {:6.1} s  {name}: {word}", begun.elapsed().as_secs_f64());
        if outcome.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}
