//! /etc/docker/daemon.json: what was asked for above what is there, berth's own settings beneath both.

use serde_json::{Map, Value, json};

/// Where Docker's settings are.
pub(crate) const DAEMON_JSON: &str = "/etc/docker/daemon.json";

/// Why a daemon.json cannot be extended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// Counted from 1; 0 if it concerns the whole file.
    pub(crate) line: usize,
    /// Counted from 1.
    pub(crate) column: usize,
    /// What is wrong there.
    pub(crate) detail: String,
    /// The line.
    pub(crate) excerpt: String,
}

impl Invalid {
    fn whole(detail: &str) -> Self {
        Invalid {
            line: 0,
            column: 0,
            detail: detail.to_owned(),
            excerpt: String::new(),
        }
    }
}

/// The file without what was wanted `before` and is no more, with `wanted` in it, and berth's settings where it has none; `None` if nothing is to be changed.
///
/// Containers outlive the daemon (`live-restore`), except in a swarm, where the daemon refuses to start with it.
/// Logs are kept short, unless the user logs by another driver, whose options these are not.
pub(crate) fn merge(
    existing: &[u8],
    before: &Map<String, Value>,
    wanted: &Map<String, Value>,
    in_swarm: bool,
) -> Result<Option<Vec<u8>>, Invalid> {
    let mut settings = parse(existing)?;
    let was = settings.clone();
    retract(&mut settings, before, wanted);
    impose(&mut settings, wanted);
    if !in_swarm {
        settings.entry("live-restore").or_insert(json!(true));
    }
    let driver = settings.entry("log-driver").or_insert(json!("json-file"));
    if driver == "json-file" {
        let options = settings.entry("log-opts").or_insert(json!({}));
        let Some(options) = options.as_object_mut() else {
            return Err(Invalid::whole("log-opts is not an object"));
        };
        options.entry("max-size").or_insert(json!("10m"));
        options.entry("max-file").or_insert(json!("3"));
    }
    if settings == was {
        return Ok(None);
    }
    let mut merged = format!("{:#}", Value::Object(settings)).into_bytes();
    merged.push(b'\n');
    Ok(Some(merged))
}

/// The wanted keys that a file does not have as they are wanted, as paths: `log-opts.max-size`.
pub(crate) fn lacking(existing: &[u8], wanted: &Map<String, Value>) -> Vec<String> {
    let settings = parse(existing).unwrap_or_default();
    let mut paths = Vec::new();
    compare(&settings, wanted, "", &mut paths);
    paths
}

/// Takes out what was wanted before and is as it was then, unless it is still wanted.
fn retract(
    settings: &mut Map<String, Value>,
    before: &Map<String, Value>,
    wanted: &Map<String, Value>,
) {
    let nothing = Map::new();
    for (key, old) in before {
        let new = wanted.get(key);
        let emptied = match (settings.get_mut(key), old) {
            (Some(Value::Object(there)), Value::Object(old)) => {
                retract(
                    there,
                    old,
                    new.and_then(Value::as_object).unwrap_or(&nothing),
                );
                there.is_empty()
            }
            (Some(Value::Array(there)), Value::Array(old)) => {
                let kept = new.and_then(Value::as_array);
                there.retain(|each| {
                    !old.contains(each) || kept.is_some_and(|kept| kept.contains(each))
                });
                there.is_empty()
            }
            (Some(there), old) => there == old,
            (None, _) => false,
        };
        if emptied && new.is_none() {
            settings.remove(key);
        }
    }
}

/// Puts what is wanted above what is there. Lists are added to: somebody may have added to them in the machine.
fn impose(settings: &mut Map<String, Value>, wanted: &Map<String, Value>) {
    for (key, value) in wanted {
        match (settings.get_mut(key), value) {
            (Some(Value::Object(there)), Value::Object(value)) => impose(there, value),
            (Some(Value::Array(there)), Value::Array(value)) => {
                for each in value {
                    if !there.contains(each) {
                        there.push(each.clone());
                    }
                }
            }
            _ => {
                settings.insert(key.clone(), value.clone());
            }
        }
    }
}

fn compare(
    settings: &Map<String, Value>,
    wanted: &Map<String, Value>,
    above: &str,
    paths: &mut Vec<String>,
) {
    for (key, value) in wanted {
        let path = format!("{above}{key}");
        let same = match (settings.get(key), value) {
            (Some(Value::Object(there)), Value::Object(value)) => {
                compare(there, value, &format!("{path}."), paths);
                true
            }
            (Some(Value::Array(there)), Value::Array(value)) => {
                value.iter().all(|each| there.contains(each))
            }
            (there, value) => there == Some(value),
        };
        if !same {
            paths.push(path);
        }
    }
}

fn parse(existing: &[u8]) -> Result<Map<String, Value>, Invalid> {
    let text = std::str::from_utf8(existing).map_err(|_| Invalid::whole("it is not UTF-8"))?;
    match text.trim() {
        "" => Ok(Map::new()),
        _ => read(text),
    }
}

fn read(text: &str) -> Result<Map<String, Value>, Invalid> {
    // Some editors put a byte order mark first; the daemon does not mind it.
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text).map_err(|error| {
        let line = text.lines().nth(error.line().saturating_sub(1));
        let excerpt = line.unwrap_or_default().chars().filter(|c| !c.is_control());
        let detail = error.to_string();
        let detail = detail.split(" at line ").next().unwrap_or_default();
        Invalid {
            line: error.line(),
            column: error.column(),
            detail: detail.to_owned(),
            excerpt: excerpt.take(120).collect(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(existing: &str) -> Value {
        serde_json::from_slice(
            &merge(existing.as_bytes(), &Map::new(), &Map::new(), false)
                .unwrap()
                .unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn an_empty_file_gets_all_settings() {
        let all = json!({
            "live-restore": true, "log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}
        });
        assert_eq!(merged(""), all);
        assert_eq!(merged(" \n"), all);
        assert_eq!(merged("{}"), all);
        let again = serde_json::to_vec(&all).unwrap();
        assert_eq!(merge(&again, &Map::new(), &Map::new(), false), Ok(None));
    }

    #[test]
    fn the_users_settings_win_and_keep_their_order() {
        let text = r#"{"registry-mirrors": ["http://m"], "live-restore": false, "bip": "10.0.0.1/24",
                       "log-opts": {"max-size": "1g"}}"#;
        let merged = merged(text);
        assert_eq!(merged["live-restore"], false);
        assert_eq!(
            merged["log-opts"],
            json!({"max-size": "1g", "max-file": "3"})
        );
        let keys: Vec<_> = merged.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "registry-mirrors",
                "live-restore",
                "bip",
                "log-opts",
                "log-driver"
            ]
        );
    }

    #[test]
    fn another_log_driver_gets_no_options_that_it_does_not_know() {
        let merged = merged(r#"{"log-driver": "journald"}"#);
        assert_eq!(
            merged,
            json!({"log-driver": "journald", "live-restore": true})
        );
    }

    #[test]
    fn a_swarm_gets_no_live_restore() {
        let merged = merge(b"", &Map::new(), &Map::new(), true).unwrap().unwrap();
        assert!(!String::from_utf8(merged).unwrap().contains("live-restore"));
    }

    #[test]
    fn invalid_json_says_where() {
        let invalid = merge(
            b"{\n  \"a\": 1,\n  \"b\": oops\n}",
            &Map::new(),
            &Map::new(),
            false,
        )
        .unwrap_err();
        assert_eq!(
            (invalid.line, invalid.excerpt.as_str()),
            (3, "  \"b\": oops")
        );
        assert!(merge(b"[1]", &Map::new(), &Map::new(), false).is_err());
        assert!(merge(b"{\"log-opts\": 1}", &Map::new(), &Map::new(), false).is_err());
        assert!(merge(b"\xff\xfe\x00", &Map::new(), &Map::new(), false).is_err());
        assert!(merge(b"{\"a\": 1,}", &Map::new(), &Map::new(), false).is_err());
        let deep = "[".repeat(100_000);
        assert!(merge(deep.as_bytes(), &Map::new(), &Map::new(), false).is_err());
    }

    #[test]
    fn what_was_asked_for_wins_and_what_was_added_by_hand_stays() {
        let wanted = json!({
            "registry-mirrors": ["https://mirror"], "live-restore": false, "log-opts": {"max-size": "1m"}
        });
        let wanted = wanted.as_object().unwrap();
        let there = br#"{"registry-mirrors": ["https://by-hand"], "bip": "10.0.0.1/24", "log-opts": {"labels": "x"}}"#;
        assert_eq!(
            lacking(there, wanted),
            ["registry-mirrors", "live-restore", "log-opts.max-size"]
        );
        let merged = merge(there, &Map::new(), wanted, false).unwrap().unwrap();
        let found: Value = serde_json::from_slice(&merged).unwrap();
        assert_eq!(
            found,
            json!({
                "registry-mirrors": ["https://by-hand", "https://mirror"], "bip": "10.0.0.1/24",
                "log-opts": {"labels": "x", "max-size": "1m", "max-file": "3"},
                "live-restore": false, "log-driver": "json-file"
            })
        );
        assert_eq!(merge(&merged, &Map::new(), wanted, false), Ok(None));
        assert!(lacking(&merged, wanted).is_empty());
        assert_eq!(lacking(b"oops", wanted).len(), 3);
    }

    #[test]
    fn what_is_wanted_no_more_is_taken_out_unless_somebody_changed_it() {
        let object = |value: Value| value.as_object().cloned().unwrap();
        let before = object(json!({
            "debug": true, "mtu": 1400, "registry-mirrors": ["https://a", "https://b"],
            "log-opts": {"max-size": "1m"}, "labels": ["x=1"]
        }));
        let wanted = object(json!({"registry-mirrors": ["https://b"]}));
        let there = json!({
            "debug": true, "mtu": 9000, "registry-mirrors": ["https://a", "https://b", "https://theirs"],
            "log-opts": {"max-size": "1m"}, "labels": ["x=1"], "shutdown-timeout": 7
        });
        let merged = merge(there.to_string().as_bytes(), &before, &wanted, false);
        let merged = merged.unwrap().unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&merged).unwrap(),
            json!({
                "mtu": 9000, "registry-mirrors": ["https://b", "https://theirs"], "shutdown-timeout": 7,
                "live-restore": true, "log-driver": "json-file",
                "log-opts": {"max-size": "10m", "max-file": "3"}
            })
        );
        assert_eq!(merge(&merged, &before, &wanted, false), Ok(None));
    }
}
