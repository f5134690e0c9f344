//! What an engine has and does, for people who look at many at once. Whatever it says is cut to what fits a table, and a
//! terminal obeys nothing of it.

use serde::{Deserialize, Serialize};

use super::{CONTAINERS_LIMIT, Engine};
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
pub(super) struct Container {
    id: String,
    names: Option<Vec<String>>,
    image: String,
    command: String,
    created: i64,
    ports: Option<Vec<Port>>,
    pub(super) state: String,
    status: String,
    pub(super) size_rw: Option<u64>,
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
pub(super) struct Image {
    id: String,
    repo_tags: Option<Vec<String>>,
    pub(super) size: i64,
    created: i64,
    pub(super) shared_size: i64,
    pub(super) containers: i64,
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
}
