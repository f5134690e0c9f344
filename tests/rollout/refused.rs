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
    assert_data_eq!(
        said,
        str![[r#"
$ rollout restart
exit 2
berth: name a machine, select some with -l, --driver or --state, or say --all
$ rollout restart m1
exit 2
berth: there is no terminal to ask on: say --yes, or --dry-run
$ rollout restart m1 --yes --batch 0
exit 2
error: invalid value '0' for '--batch <N|P%>': a batch of no machines would never end
For more information, try '--help'.
$ rollout restart m1 --yes --batch 101%
exit 2
error: invalid value '101%' for '--batch <N|P%>': write a number of machines, or a part of them from 0% to 100%
For more information, try '--help'.
$ rollout restart m1 --yes --max-failures some
exit 2
error: invalid value 'some' for '--max-failures <N|P%>': write a number of machines, or a part of them from 0% to 100%
For more information, try '--help'.
$ rollout restart m1 --yes --canary=-1
exit 2
error: invalid value '-1' for '--canary <N>': invalid digit found in string
For more information, try '--help'.
$ rollout restart m1 --yes --pause 9d
exit 2
error: invalid value '9d' for '--pause <TIME>': write a time such as 30s, 5m or 1h; a week at most
For more information, try '--help'.
$ rollout exec m1 --yes
exit 2
error: the following required arguments were not provided:
  <CMD>...
$ rollout upgrade m1 --yes --to
exit 2
error: a value is required for '--to <VERSION>' but none was supplied
For more information, try '--help'.
$ rollout resume nothing
exit 3
berth: there is no rollout nothing
hint: `berth rollout history` lists them
$ rollout resume ../../etc
exit 3
berth: there is no rollout ../../etc
hint: `berth rollout history` lists them
$ rollout abort
exit 3
berth: no rollout waits to go on
hint: `berth rollout history` lists those that have ended
$ rollout status 20200101-000000
exit 3
berth: there is no rollout ID
hint: `berth rollout history` lists them
$ rollout upgrade m1 --yes
exit 4
berth: machine m1 has no container engine
hint: `berth provision m1 --engine docker` installs one
$ rollout upgrade m1 --yes --channel nowhere
exit 2
berth: --channel: "nowhere" is not a channel: distro, upstream, bundle:PATH
berth: nothing was begun: 1 of 1 cannot take part: m1
$ rollout restart nobody --yes
exit 3
berth: there is no machine nobody
hint: there are: m1

"#]]
    );
    assert!(!world.data().join("rollouts").exists());
}
