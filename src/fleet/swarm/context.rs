//! The docker context of a swarm as a whole: it leads to a manager that lives.

use super::Result;
use super::record::Swarm;
use crate::machine::{Berth, Opened};

/// Points the swarm's context at a manager.
pub(super) fn point(berth: &Berth, swarm: &Swarm, manager: &Opened) -> Result<()> {
    let endpoint = berth.endpoint(&manager.record)?;
    let found = berth.docker.find(&swarm.name)?;
    let right = found
        .is_some_and(|context| context.machine == Some(swarm.id) && context.host == endpoint.host);
    if !right {
        let about = format!("berth swarm {}, by {}", swarm.name, manager.record.name);
        let home = berth.home.data();
        berth
            .docker
            .write(&swarm.name, swarm.id, home, &endpoint, &about)?;
    }
    Ok(())
}
