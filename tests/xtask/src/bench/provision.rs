//! Installing an engine in a bare machine, against the same packages installed by hand over one SSH connection; and
//! asking for it once more.

use std::time::Duration;

use anyhow::Result;

use super::world::{World, median, timed};
use super::{Figure, at_most, plain};

const ROUNDS: usize = 3;

/// What somebody would type.
const BY_HAND: &str = "export DEBIAN_FRONTEND=noninteractive; apt-get -q update && \
     apt-get -q -y --no-install-recommends install docker.io docker-cli iptables apparmor";

/// Makes bare machines in pairs and provisions one of each.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    world.run(&["image", "build", "debian-13", "uml-kernel"])?;
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for name in ["ours", "byhand"] {
            let bare = ["--image", "debian-13", "--engine", "none"];
            let mut create = world.berth(&["create", name, "--driver", "uml", "--memory", "1G"]);
            timed(create.args(bare))?;
        }
        let mut provision = || -> Result<()> {
            let provision = ["provision", "ours", "--engine", "docker"];
            ours.push(timed(&mut world.berth(&provision))?);
            Ok(())
        };
        let mut install = || -> Result<()> {
            let install = ["ssh", "byhand", "--", BY_HAND];
            by_hand.push(timed(&mut world.berth(&install))?);
            Ok(())
        };
        // Whoever comes second finds the mirror awake.
        if round % 2 == 0 {
            provision()?;
            install()?;
        } else {
            install()?;
            provision()?;
        }
        if round + 1 < ROUNDS {
            world.run(&["rm", "--yes", "ours", "byhand"])?;
        }
    }
    let (mut again, mut handshakes) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        again.push(timed(&mut world.berth(&["provision", "ours"]))?);
        handshakes.push(timed(&mut world.berth(&["ssh", "ours", "--", "true"]))?);
    }
    let seconds = |times: Vec<Duration>| median(times).as_secs_f64();
    let (ours, by_hand) = (seconds(ours), seconds(by_hand));
    let (again, handshake) = (seconds(again), seconds(handshakes));
    Ok(vec![
        plain("berth provision on a bare machine", ours, "s"),
        plain("the same packages by hand over SSH", by_hand, "s"),
        at_most("provision against that", ours / by_hand, "×", 1.1),
        plain("berth provision once more", again, "s"),
        plain("ssh … true", handshake, "s"),
        at_most(
            "once more, beyond an SSH handshake",
            again - handshake,
            "s",
            1.0,
        ),
    ])
}
