//! What is refused before anything is done.

use snapbox::{assert_data_eq, str};

use crate::{told, world};

#[test]
fn bad_input_is_refused_in_words() {
    let world = world(&["m1"]);
    let mut said = String::new();
    for words in [
        "restart",
        "restart m1",
        "restart m1 --yes --batch 0",
        "restart m1 --yes --batch 101%",
        "restart m1 --yes --max-failures some",
        "restart m1 --yes --canary=-1",
        "restart m1 --yes --pause 9d",
        "exec m1 --yes",
        "upgrade m1 --yes --to",
        "resume nothing",
        "resume ../../etc",
        "abort",
        "status 20200101-000000",
        "upgrade m1 --yes",
        "upgrade m1 --yes --channel nowhere",
        "restart nobody --yes",
    ] {
        let args: Vec<&str> = std::iter::once("rollout").chain(words.split(' ')).collect();
        let ran = world.berth(&args);
        let lines = told(&ran);
        // What clap adds to its own words is its own affair.
        let lines: Vec<&str> = lines
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("TIME"))
            .take(3)
            .collect();
        said += &format!("$ rollout {words}\n{}\n", lines.join("\n"));
    }
    assert_data_eq!(said, str![[""]]);
    assert!(!world.data().join("rollouts").exists());
}
