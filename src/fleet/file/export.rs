//! The fleet file of machines that exist.

use serde_json::Value as Json;
use toml::{Table, Value};

use crate::machine::{DISTRO, Record};

/// Machines whose engines' variables are in a file that was made: their values may be secret.
pub type Secrets = Vec<String>;

/// A fleet file that declares the machines of `records` as they are, as far as a file can say it. What it cannot is told
/// in its first lines.
pub fn export(fleet: &str, records: &[Record]) -> (String, Secrets) {
    let mut groups: Vec<(String, Table, Vec<Value>)> = Vec::new();
    let (mut untold, mut secrets) = (Vec::new(), Vec::new());
    for record in records {
        let table = spec(record, &mut untold);
        let wanted = record
            .member
            .as_ref()
            .map_or_else(|| stem(&record.name), |member| member.group.clone());
        if !record.settings.environment.is_empty() {
            secrets.push(record.name.clone());
        }
        let name = Value::String(record.name.clone());
        let alike = groups
            .iter_mut()
            .find(|(group, spec, _)| *spec == table && root(group) == root(&wanted));
        match alike {
            Some((_, _, names)) => names.push(name),
            None => {
                let free =
                    |candidate: &String| !groups.iter().any(|(group, ..)| group == candidate);
                let mut numbered = (2..).map(|n| format!("{}.{n}", root(&wanted)));
                let group = match free(&wanted) {
                    true => wanted,
                    false => numbered.find(free).unwrap_or(wanted),
                };
                groups.push((group, table, vec![name]));
            }
        }
    }
    let mut whole = Table::new();
    for (group, spec, names) in groups {
        let mut table = Table::from_iter([("names".to_owned(), Value::Array(names))]);
        table.extend(spec);
        whole.insert(group, Value::Table(table));
    }
    let document = Table::from_iter([
        ("fleet".to_owned(), Value::String(fleet.to_owned())),
        ("groups".to_owned(), Value::Table(whole)),
    ]);
    let mut text: String = untold.iter().map(|line| format!("# {line}\n")).collect();
    // A table of tables and plain values has nothing in it that TOML could not say.
    text += &toml::to_string(&document).unwrap_or_default();
    (text, secrets)
}

/// A group's name without the number by which it is told from others of its name.
fn root(group: &str) -> &str {
    match group.rsplit_once('.') {
        Some((root, number)) if number.chars().all(|c| c.is_ascii_digit()) => root,
        _ => group,
    }
}

/// A machine's name without its number.
fn stem(name: &str) -> String {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    if stem.is_empty() { name } else { stem }.to_owned()
}

fn spec(record: &Record, untold: &mut Vec<String>) -> Table {
    let name = &record.name;
    let mut table = Table::new();
    let mut text = |key: &str, value: String| table.insert(key.to_owned(), Value::String(value));
    text("driver", record.driver.clone());
    let member = record.member.as_ref();
    if let Some(image) = &record.image {
        let asked = member.and_then(|member| member.image.clone());
        text("image", asked.unwrap_or_else(|| image.reference.clone()));
        text("memory", size(record.memory));
        text("disk", size(record.disk));
    }
    let adopted = record.image.is_none();
    // An adopted host keeps the engine that it has, unless one was named.
    if !adopted || record.engine_named {
        let wish = &record.engine;
        text(
            "engine",
            match &wish.version {
                Some(version) => format!("{}@{version}", wish.kind),
                None => wish.kind.clone(),
            },
        );
        if wish.channel != DISTRO {
            text("channel", wish.channel.clone());
        }
    }
    if !adopted {
        table.insert("cpus".into(), Value::Integer(record.cpus.into()));
    }
    if member.is_some_and(|member| member.protect) {
        table.insert("protect".into(), Value::Boolean(true));
    }
    if let Some(tls) = &record.tls {
        table.insert("tls".into(), Value::Boolean(true));
        if tls.by_engine || !tls.hosts.is_empty() || !tls.listen.ip().is_loopback() {
            untold.push(format!(
                "not told here: on which addresses the TLS endpoint of {name} is"
            ));
        }
    }
    if record.cloud_init.is_some() {
        untold.push(format!(
            "not told here: the user data for cloud-init that {name} may have been made with"
        ));
    }
    let list =
        |values: &[String]| Value::Array(values.iter().cloned().map(Value::String).collect());
    let mounts: Vec<String> = record
        .mounts
        .iter()
        .map(|mount| {
            let only = if mount.read_only { ":ro" } else { "" };
            format!("{}:{}{only}", mount.host.display(), mount.guest)
        })
        .collect();
    let settings = &record.settings;
    for (key, values) in [
        ("mounts", &mounts),
        ("registry-mirrors", &settings.registry_mirrors),
        ("insecure-registries", &settings.insecure_registries),
    ] {
        if !values.is_empty() {
            table.insert(key.into(), list(values));
        }
    }
    for (key, values) in [
        ("labels", &record.labels),
        ("options", &record.options),
        ("engine-labels", &settings.labels),
        ("engine-env", &settings.environment),
    ] {
        if !values.is_empty() {
            let values = values
                .iter()
                .map(|(key, value)| (key.clone(), Value::String(value.clone())));
            table.insert(key.into(), Value::Table(values.collect()));
        }
    }
    let daemon = settings.daemon_json.as_deref().map(serde_json::from_str);
    if let Some(Ok(Json::Object(daemon))) = daemon {
        let (said, unsaid): (Vec<_>, Vec<_>) = daemon
            .into_iter()
            .map(|(key, value)| (key, toml_of(value)))
            .partition(|(_, value)| value.is_some());
        for (key, _) in unsaid {
            untold.push(format!(
                "TOML cannot say null: {key} in the daemon.json of {name}"
            ));
        }
        let said = said
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        table.insert("daemon".into(), Value::Table(said.collect()));
    }
    table
}

/// `None` for what TOML cannot say: null, and numbers that are too large.
fn toml_of(json: Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(value) => Value::Boolean(value),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Integer(integer),
            None if number.is_u64() => return None,
            None => Value::Float(number.as_f64()?),
        },
        Json::String(text) => Value::String(text),
        Json::Array(values) => {
            Value::Array(values.into_iter().map(toml_of).collect::<Option<_>>()?)
        }
        Json::Object(values) => {
            let values = values
                .into_iter()
                .map(|(key, value)| Some((key, toml_of(value)?)));
            Value::Table(values.collect::<Option<_>>()?)
        }
    })
}

/// Exactly, and as short as that can be.
fn size(bytes: u64) -> String {
    for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}
