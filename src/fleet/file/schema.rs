//! What can be written in a fleet file.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::Deserialize;
use serde_json::Value;
use toml::{Spanned, Table};

/// Keys that say which machines a group is, and so mean nothing among the defaults.
pub(super) const OF_GROUPS_ONLY: [&str; 4] = ["extends", "name", "names", "count"];

/// A value and where it stands in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct At<T>(pub Spanned<T>);

impl<T> std::ops::Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.get_ref()
    }
}

impl<T> At<T> {
    /// Its first byte and the one after its last.
    pub(super) fn span(&self) -> std::ops::Range<usize> {
        self.0.span()
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(types: &mut SchemaGenerator) -> Schema {
        types.subschema_for::<T>()
    }
}

/// A fleet: groups of machines, and how changes are taken across them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "berth fleet file")]
pub struct Document {
    /// The fleet's name. Machines that apply makes are marked with it; another fleet's are left alone.
    pub fleet: At<String>,
    /// What holds for every group that does not say otherwise.
    #[serde(default)]
    pub defaults: Group,
    /// The groups, by name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Group>")]
    pub groups: BTreeMap<Spanned<String>, Group>,
    /// How changes are taken across the fleet.
    #[serde(default)]
    pub rollout: Rollout,
}

/// Machines that are alike. What a group does not say it has from the group that it extends, and then from the
/// defaults: of tables each key, of all else the whole.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Group {
    /// The group whose words this one begins with.
    pub extends: Option<At<String>>,
    /// The machines' name: web for one machine, web-{n} for as many as count says, from 1. GROUP-{n} if there is a
    /// count only.
    pub name: Option<At<String>>,
    /// The machines' names, one by one.
    pub names: Option<Vec<At<String>>>,
    /// How many machines.
    pub count: Option<At<u32>>,
    /// Never remove or replace these machines.
    pub protect: Option<bool>,
    /// The driver that makes them; auto takes the one under which guests run best.
    pub driver: Option<At<String>>,
    /// Virtual CPUs.
    pub cpus: Option<At<u32>>,
    /// Memory, such as 2G.
    pub memory: Option<At<String>>,
    /// Disk, such as 40G.
    pub disk: Option<At<String>>,
    /// The image: a name, or the path or https address of a disk.
    pub image: Option<At<String>>,
    /// What the disk at that path or address must be: sha256:… or sha512:…
    pub digest: Option<At<String>>,
    /// A file of user data for cloud-init.
    pub cloud_init: Option<At<String>>,
    /// The engine: docker, docker@VERSION, docker@latest, podman or none.
    pub engine: Option<At<String>>,
    /// Where the engine comes from: distro, upstream or bundle:PATH.
    pub channel: Option<At<String>>,
    /// A TLS endpoint on loopback.
    pub tls: Option<bool>,
    /// Labels.
    pub labels: BTreeMap<String, At<String>>,
    /// Folders of this computer that the machines see: HOST[:GUEST][:ro].
    pub mounts: Option<Vec<At<String>>>,
    /// The driver's options.
    pub options: BTreeMap<String, Scalar>,
    /// The machines are one swarm. Without it they stay in the swarm that they are in.
    pub swarm: Option<At<SwarmOf>>,
    /// Settings for the engine, as in docker's daemon.json.
    #[schemars(with = "Option<BTreeMap<String, Value>>")]
    pub daemon: Option<At<Table>>,
    /// Mirrors of Docker Hub.
    pub registry_mirrors: Option<Vec<String>>,
    /// Registries without valid TLS: host, host:port or CIDR.
    pub insecure_registries: Option<Vec<String>>,
    /// Labels of the engine's own, as docker info shows them.
    pub engine_labels: BTreeMap<String, String>,
    /// The engine's environment. Values may be secret and are never shown.
    pub engine_env: BTreeMap<String, String>,
}

/// The swarm of a group's machines.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SwarmOf {
    /// How many of its machines decide: an odd number. By the number of machines if nothing is said.
    pub managers: Option<usize>,
    /// The swarm's name, which is also its docker context's. The group's if nothing is said.
    pub name: Option<String>,
}

/// How changes are taken across the fleet.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rollout {
    /// Machines that are changed first, and must be well before others follow. 1 if nothing is said.
    pub canary: Option<At<usize>>,
    /// Machines at once after those: a number, or a share such as "50%". A quarter if nothing is said.
    pub batch: Option<At<Scalar>>,
    /// Failures after which no more machines are begun: a number, or a share such as "10%". None may fail if nothing is
    /// said.
    pub max_failures: Option<At<Scalar>>,
    /// Rest between batches: seconds, or such as "5m".
    pub pause: Option<At<Scalar>>,
    /// A command for this computer's shell that has to succeed on every machine after its engine was upgraded; its
    /// name is in $BERTH_MACHINE.
    pub gate: Option<String>,
}

/// A word, a number or a yes or no.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any text.
    Text(String),
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Boolean(value) => value.fmt(f),
            Scalar::Integer(value) => value.fmt(f),
            Scalar::Text(value) => value.fmt(f),
        }
    }
}

/// The fleet file as JSON Schema (draft 2020-12).
pub fn schema() -> Value {
    let types = SchemaSettings::draft2020_12().into_generator();
    let mut schema = types.into_root_schema_for::<Document>().to_value();
    // The defaults are a group without what says which machines it is.
    let mut defaults = schema["$defs"]["Group"].clone();
    if let Some(keys) = defaults["properties"].as_object_mut() {
        keys.retain(|key, _| !OF_GROUPS_ONLY.contains(&key.as_str()));
    }
    defaults["description"] = schema["properties"]["defaults"]["description"].clone();
    schema["properties"]["defaults"] = defaults;
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_every_key_under_its_written_name() {
        let schema = schema();
        let group = schema["$defs"]["Group"]["properties"].as_object().unwrap();
        for key in [
            "count",
            "max-failures",
            "registry-mirrors",
            "daemon",
            "cloud-init",
        ] {
            let of_rollout = &schema["$defs"]["Rollout"]["properties"];
            assert!(
                group.contains_key(key) || of_rollout.get(key).is_some(),
                "{key}"
            );
        }
        let defaults = &schema["properties"]["defaults"]["properties"];
        assert!(defaults.get("cpus").is_some() && defaults.get("count").is_none());
        assert_eq!(schema["required"], serde_json::json!(["fleet"]));
        assert_eq!(schema["$defs"]["Group"]["additionalProperties"], false);
    }
}
