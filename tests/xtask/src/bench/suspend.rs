//! Suspending and resuming a machine against booting it.

use std::time::Duration;

use anyhow::Result;

use super::world::{World, median, timed};
use super::{Figure, at_most, plain};

const ROUNDS: usize = 3;

/// Alternates cold boots and what takes their place, so that the computer's moods meet both.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    // The image is not part of it.
    world.run(&["image", "build", "debian-13-docker"])?;
    world.run(&["create", "frozen", "--driver", "qemu", "--memory", "1G"])?;
    let (mut boots, mut suspends, mut resumes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        world.run(&["stop", "frozen"])?;
        boots.push(timed(&mut world.berth(&["start", "frozen"]))?);
        suspends.push(timed(&mut world.berth(&["suspend", "frozen"]))?);
        resumes.push(timed(&mut world.berth(&["resume", "frozen"]))?);
    }
    world.run(&["rm", "--yes", "frozen"])?;
    let seconds = |times: Vec<Duration>| median(times).as_secs_f64();
    let (boot, suspend, resume) = (seconds(boots), seconds(suspends), seconds(resumes));
    Ok(vec![
        plain("cold start → engine answers", boot, "s"),
        plain("suspend", suspend, "s"),
        plain("resume → engine answers", resume, "s"),
        at_most("suspend against cold start", suspend / boot, "×", 0.1),
        at_most("resume against cold start", resume / boot, "×", 0.1),
    ])
}
