//! What an engine takes of the disk.

use serde::{Deserialize, Serialize};

use super::Engine;
use super::look::{Container, Image};
use crate::Result;

/// What one kind of things takes of the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// `images`, `containers`, `volumes` or `build-cache`.
    pub kind: &'static str,
    /// How many there are.
    pub count: u64,
    /// How many of them are in use.
    pub active: u64,
    /// In bytes.
    pub size: u64,
    /// What pruning would give back, in bytes.
    pub reclaimable: u64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct DiskUsage {
    layers_size: u64,
    images: Option<Vec<Image>>,
    containers: Option<Vec<Container>>,
    volumes: Option<Vec<Volume>>,
    build_cache: Option<Vec<Cache>>,
    /// From API 1.52 on, in place of those above.
    image_usage: Option<Sum>,
    container_usage: Option<Sum>,
    volume_usage: Option<Sum>,
    build_cache_usage: Option<Sum>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Volume {
    usage_data: Option<VolumeUsage>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct VolumeUsage {
    size: i64,
    ref_count: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Cache {
    size: u64,
    in_use: bool,
    shared: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Sum {
    active_count: u64,
    total_count: u64,
    reclaimable: u64,
    total_size: u64,
}

impl DiskUsage {
    fn usage(self) -> Vec<Usage> {
        let given = [
            ("images", self.image_usage),
            ("containers", self.container_usage),
            ("volumes", self.volume_usage),
            ("build-cache", self.build_cache_usage),
        ];
        if given.iter().any(|(_, sum)| sum.is_some()) {
            let rows = given.into_iter().map(|(kind, sum)| {
                let sum = sum.unwrap_or_default();
                Usage {
                    kind,
                    count: sum.total_count,
                    active: sum.active_count,
                    size: sum.total_size,
                    reclaimable: sum.reclaimable,
                }
            });
            return rows.collect();
        }
        let positive = |n: i64| u64::try_from(n).unwrap_or(0);
        let images = self.images.unwrap_or_default();
        let used: u64 = images
            .iter()
            .filter(|image| image.containers > 0)
            .map(|image| positive(image.size.saturating_sub(image.shared_size.max(0))))
            .sum();
        let containers = self.containers.unwrap_or_default();
        let size = |container: &Container| container.size_rw.unwrap_or_default();
        let runs =
            |container: &&Container| matches!(container.state.as_str(), "running" | "paused");
        let running: u64 = containers.iter().filter(runs).map(size).sum();
        let all: u64 = containers.iter().map(size).sum();
        let volumes: Vec<VolumeUsage> = self
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|volume| volume.usage_data.unwrap_or_default())
            .collect();
        let caches = self.build_cache.unwrap_or_default();
        let own = |cache: &&Cache| !cache.shared;
        vec![
            Usage {
                kind: "images",
                count: images.len() as u64,
                active: images.iter().filter(|image| image.containers > 0).count() as u64,
                size: self.layers_size,
                reclaimable: self.layers_size.saturating_sub(used),
            },
            Usage {
                kind: "containers",
                count: containers.len() as u64,
                active: containers.iter().filter(runs).count() as u64,
                size: all,
                reclaimable: all - running,
            },
            Usage {
                kind: "volumes",
                count: volumes.len() as u64,
                active: volumes.iter().filter(|volume| volume.ref_count > 0).count() as u64,
                size: volumes.iter().map(|volume| positive(volume.size)).sum(),
                reclaimable: volumes
                    .iter()
                    .filter(|volume| volume.ref_count == 0)
                    .map(|volume| positive(volume.size))
                    .sum(),
            },
            Usage {
                kind: "build-cache",
                count: caches.len() as u64,
                active: caches.iter().filter(|cache| cache.in_use).count() as u64,
                size: caches.iter().filter(own).map(|cache| cache.size).sum(),
                reclaimable: caches
                    .iter()
                    .filter(own)
                    .filter(|cache| !cache.in_use)
                    .map(|cache| cache.size)
                    .sum(),
            },
        ]
    }
}

impl Engine {
    /// What it takes of the disk, a row a kind.
    ///
    /// # Errors
    /// As [`Engine::containers`].
    pub async fn disk_usage(&self) -> Result<Vec<Usage>> {
        let usage: DiskUsage = self.get("/system/df").await?;
        Ok(usage.usage())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_usage_is_read_in_its_old_form_and_its_new_one() {
        let old = r#"{"LayersSize":100,"Images":[{"Size":60,"SharedSize":20,"Containers":1},{"Size":60,"SharedSize":20}],
            "Containers":[{"SizeRw":5,"State":"running"},{"SizeRw":7,"State":"exited"}],
            "Volumes":[{"UsageData":{"Size":9,"RefCount":0}},{"UsageData":{"Size":-1,"RefCount":1}}],"BuildCache":null}"#;
        let rows = serde_json::from_str::<DiskUsage>(old).unwrap().usage();
        let figures: Vec<_> = rows
            .iter()
            .map(|row| (row.count, row.active, row.size, row.reclaimable))
            .collect();
        assert_eq!(
            figures,
            [(2, 1, 100, 60), (2, 1, 12, 7), (2, 1, 9, 9), (0, 0, 0, 0)]
        );
        let new =
            r#"{"ImageUsage":{"ActiveCount":1,"TotalCount":2,"Reclaimable":3,"TotalSize":4}}"#;
        let rows = serde_json::from_str::<DiskUsage>(new).unwrap().usage();
        assert_eq!((rows[0].count, rows[0].size, rows[1].count), (2, 4, 0));
    }
}
