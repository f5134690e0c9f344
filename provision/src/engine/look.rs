//! What an engine has and does, for people who look at many at once. Whatever it says is cut to what fits a table, and a
//! terminal obeys nothing of it.

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AT_ONCE, CONTAINERS_LIMIT, Engine};
use crate::Result;

/// A word of an engine's is no longer, in characters.
const WORD: usize = 256;

/// A container. Field names are those of `berth ps --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContainerRow {
    /// Its id, twelve digits of it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it was made of.
    pub image: String,
    /// What runs in it.
    pub command: String,
    /// `running`, `exited`, …
    pub state: String,
    /// The state in words: `Up 5 minutes`.
    pub status: String,
    /// The ports that it publishes: `0.0.0.0:80->80/tcp`.
    pub ports: Vec<String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageRow {
    /// Its id, twelve digits of it.
    pub id: String,
    /// What it is called; none for what was left of a build.
    pub name: Option<String>,
    /// In bytes.
    pub size: i64,
    /// When it was made, in seconds since 1970.
    pub created: i64,
}

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

/// An engine's word, harmless and not long.
pub(super) fn word(text: &str) -> String {
    let text = text.replace(['\n', '\r', '\t'], " ");
    text.chars()
        .filter(|c| !c.is_control())
        .take(WORD)
        .collect()
}

fn short(id: &str) -> String {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.chars()
        .filter(char::is_ascii_alphanumeric)
        .take(12)
        .collect()
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Container {
    id: String,
    names: Option<Vec<String>>,
    image: String,
    command: String,
    created: i64,
    ports: Option<Vec<Port>>,
    state: String,
    status: String,
    size_rw: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Port {
    #[serde(rename = "IP")]
    ip: String,
    #[serde(rename = "PrivatePort")]
    private: u16,
    #[serde(rename = "PublicPort")]
    public: u16,
    #[serde(rename = "Type")]
    protocol: String,
}

impl Container {
    fn name(&self) -> String {
        let names = self.names.iter().flatten();
        // One with a slash inside is another container's name for this one.
        let own = names
            .map(|name| name.trim_start_matches('/'))
            .find(|name| !name.contains('/'));
        own.map_or_else(|| short(&self.id), word)
    }

    fn row(self) -> ContainerRow {
        let ports = self.ports.iter().flatten().map(|port| {
            let inner = format!("{}/{}", port.private, word(&port.protocol));
            match (port.public, port.ip.as_str()) {
                (0, _) => inner,
                (public, "") => format!("{public}->{inner}"),
                (public, ip) => format!("{}:{public}->{inner}", word(ip)),
            }
        });
        let mut ports: Vec<String> = ports.take(64).collect();
        ports.sort();
        ports.dedup();
        ContainerRow {
            name: self.name(),
            id: short(&self.id),
            image: word(&self.image),
            command: word(&self.command),
            state: word(&self.state),
            status: word(&self.status),
            ports,
            created: self.created,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Image {
    id: String,
    repo_tags: Option<Vec<String>>,
    size: i64,
    created: i64,
    shared_size: i64,
    containers: i64,
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
    /// Its containers by name: those that run, or `all`.
    ///
    /// # Errors
    /// [`crate::Error::Engine`] if it does not answer, or not as an engine does.
    pub async fn containers(&self, all: bool) -> Result<Vec<ContainerRow>> {
        let listed: Vec<Container> = self.get(&format!("/containers/json?all={all}")).await?;
        let mut rows: Vec<ContainerRow> = listed
            .into_iter()
            .take(CONTAINERS_LIMIT)
            .map(Container::row)
            .collect();
        rows.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(rows)
    }

    /// Its images by name, each name a row.
    ///
    /// # Errors
    /// As [`Engine::containers`].
    pub async fn images(&self) -> Result<Vec<ImageRow>> {
        let listed: Vec<Image> = self.get("/images/json").await?;
        let mut rows = Vec::new();
        for image in listed {
            let row = |name| ImageRow {
                id: short(&image.id),
                name,
                size: image.size,
                created: image.created,
            };
            let tags = image.repo_tags.iter().flatten();
            let tags: Vec<String> = tags
                .filter(|tag| *tag != "<none>:<none>")
                .map(|tag| word(tag))
                .collect();
            match tags.is_empty() {
                true => rows.push(row(None)),
                false => rows.extend(tags.into_iter().map(|tag| row(Some(tag)))),
            }
        }
        rows.sort_by(|a, b| {
            (a.name.is_none(), &a.name, &a.id).cmp(&(b.name.is_none(), &b.name, &b.id))
        });
        Ok(rows)
    }

    /// What it takes of the disk, a row a kind.
    ///
    /// # Errors
    /// As [`Engine::containers`].
    pub async fn disk_usage(&self) -> Result<Vec<Usage>> {
        let usage: DiskUsage = self.get("/system/df").await?;
        Ok(usage.usage())
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_rows_without_what_a_terminal_obeys() {
        let json = r#"{"Id":"0123456789abcdef","Names":["/other/alias","/we\u001b[2Jb"],"Image":"i","State":"running",
            "Status":"Up\n5 minutes","Ports":[{"PrivatePort":53,"Type":"udp"},
            {"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}],"Created":7,"Surprise":{}}"#;
        let row = serde_json::from_str::<Container>(json).unwrap().row();
        assert_eq!(
            (row.id.as_str(), row.name.as_str()),
            ("0123456789ab", "we[2Jb")
        );
        assert_eq!(row.status, "Up 5 minutes");
        assert_eq!(row.ports, ["0.0.0.0:8080->80/tcp", "53/udp"]);
    }

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
