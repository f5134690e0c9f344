//! What the running containers of an engine use.

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::Value;

use super::look::ContainerRow;
use super::{AT_ONCE, Engine};
use crate::Result;

/// What a running container uses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// Its id, twelve digits of it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Of one CPU, in percent.
    pub cpu: f64,
    /// In bytes, without what the kernel can take back.
    pub memory: u64,
    /// What it may have, in bytes.
    pub memory_limit: u64,
    /// Bytes that came over its networks.
    pub received: u64,
    /// Bytes that went out.
    pub sent: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl Engine {
    /// What its running containers use, over about a second.
    ///
    /// # Errors
    /// As [`Engine::containers`].
    pub async fn stats(&self) -> Result<Vec<Stats>> {
        let running = self.containers(false).await?;
        let asked = stream::iter(running).map(async |container: ContainerRow| {
            let path = format!("/containers/{}/stats?stream=false", container.id);
            let sample: Value = match self.get(&path).await {
                Ok(sample) => sample,
                // It ended since it was listed.
                Err(crate::Error::Engine { detail, .. })
                    if detail.starts_with("No such container") =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            Ok(Some(stats(container, &sample)))
        });
        let some: Vec<Option<Stats>> = asked.buffered(AT_ONCE).try_collect().await?;
        Ok(some.into_iter().flatten().collect())
    }
}

/// The figures by docker's own rules (docker/cli, `cli/command/container/stats_helpers.go`).
fn stats(container: ContainerRow, sample: &Value) -> Stats {
    let number = |path: &str| {
        sample
            .pointer(path)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    let more = |path: &str| {
        number(&format!("/cpu_stats/{path}"))
            .saturating_sub(number(&format!("/precpu_stats/{path}"))) as f64
    };
    let (own, all) = (more("cpu_usage/total_usage"), more("system_cpu_usage"));
    let cpus = number("/cpu_stats/online_cpus").max(1) as f64;
    let usage = number("/memory_stats/usage");
    let cache = match number("/memory_stats/stats/inactive_file") {
        0 => number("/memory_stats/stats/total_inactive_file"),
        cache => cache,
    };
    let networks = sample.get("networks").and_then(Value::as_object);
    let bytes = |key: &str| {
        let each = networks.iter().flat_map(|networks| networks.values());
        each.filter_map(|network| network.get(key)?.as_u64()).sum()
    };
    Stats {
        id: container.id,
        name: container.name,
        cpu: if all > 0.0 {
            own / all * cpus * 100.0
        } else {
            0.0
        },
        memory: usage.saturating_sub(cache),
        memory_limit: number("/memory_stats/limit"),
        received: bytes("rx_bytes"),
        sent: bytes("tx_bytes"),
        pids: number("/pids_stats/current"),
    }
}
