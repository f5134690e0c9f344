//! In what a machine differs from what it is to be.

use std::collections::{BTreeMap, BTreeSet};

use berth_driver_api::{Size, State};
use serde::Serialize;
use serde_json::Value;

use crate::fleet::file::{Declared, Wish};
use crate::machine::{DISTRO, EngineSettings, EngineWish, Mount, Record, Seen, show_size};

/// What of a machine differs, and so what mends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The hypervisor has it no more.
    Machine,
    /// The driver.
    Driver,
    /// CPUs, memory or disk, where they stay what they are.
    Size,
    /// CPUs, memory or a larger disk, where the driver can change them.
    Resize,
    /// The image, or what cloud-init was given.
    Image,
    /// A driver's option.
    Option,
    /// Whether it may be removed or replaced.
    Protect,
    /// A label.
    Label,
    /// A mount that it is to have, or is not.
    Mount,
    /// The TLS endpoint.
    Tls,
    /// The engine's kind, channel or pin.
    Engine,
    /// The version of the engine that runs.
    Version,
    /// Whether an engine answers.
    Answer,
    /// What the engine is told.
    Setting,
    /// What is there by its record and is not at work.
    Work,
    /// Whether a machine is in its group's swarm, and which of them decide.
    Swarm,
}

impl Part {
    /// Whether only another machine in its place can be otherwise.
    pub fn replaces(self) -> bool {
        use Part::{Driver, Image, Machine, Option, Size};
        matches!(self, Machine | Driver | Size | Image | Option)
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// What it concerns.
    pub part: Part,
    /// What it is called, such as `label role`.
    pub what: String,
    /// What is there; null for nothing.
    pub now: Option<String>,
    /// What is to be; null for nothing.
    pub then: Option<String>,
}

/// What counts of a machine's driver.
#[derive(Debug, Default)]
pub(super) struct DriverFacts {
    /// The values of its options where none are given.
    pub(super) defaults: BTreeMap<String, String>,
    /// Whether it can give a machine another size.
    pub(super) resizes: bool,
}

/// All differences, in a fixed order.
pub(super) fn compare(
    declared: &Declared,
    record: &Record,
    seen: &Seen,
    driver: &DriverFacts,
) -> Vec<Difference> {
    let mut found = Found::default();
    let wish = &declared.wish;
    if seen.state == Some(State::Missing) && seen.unfinished.is_none() {
        found.note(
            Part::Machine,
            "machine",
            Some("gone from its hypervisor".into()),
            Some("there".into()),
        );
    }
    of_making(&mut found, wish, record, driver);
    of_size(&mut found, wish, record, seen, driver);
    let protect = record.member.as_ref().is_some_and(|member| member.protect);
    found.add(
        Part::Protect,
        "protect",
        Some(protect.to_string()),
        Some(declared.protect.to_string()),
    );
    found.each(Part::Label, "label ", &record.labels, &wish.labels);
    found.each(
        Part::Mount,
        "mount ",
        &mounts(&record.mounts),
        &mounts(&wish.mounts),
    );
    if let Some(tls) = wish.tls {
        let word = |on: bool| Some(if on { "on" } else { "off" }.to_owned());
        found.add(
            Part::Tls,
            "TLS endpoint",
            word(record.tls.is_some()),
            word(tls),
        );
    }
    of_engine(&mut found, wish, record, seen);
    of_settings(&mut found, &record.settings, &wish.settings);
    for path in &seen.lacking {
        found.note(
            Part::Setting,
            &format!("{path} in the machine"),
            Some("changed there".into()),
            Some("as recorded".into()),
        );
    }
    for (guest, why) in &seen.unmounted {
        // One that is to go need not be mended first.
        if wish.mounts.iter().any(|mount| mount.guest == *guest) {
            found.note(
                Part::Work,
                &format!("mount {guest}"),
                Some(why.clone()),
                Some("mounted".into()),
            );
        }
    }
    if seen.supervisor_gone {
        found.note(
            Part::Work,
            "supervisor",
            Some("gone".into()),
            Some("running".into()),
        );
    }
    found.0
}

/// What is settled when a machine is made.
fn of_making(found: &mut Found, wish: &Wish, record: &Record, driver: &DriverFacts) {
    found.wished(
        Part::Driver,
        "driver",
        record.driver.clone(),
        wish.driver.clone(),
    );
    let asked = record
        .member
        .as_ref()
        .and_then(|member| member.image.as_ref());
    if let (Some(image), Some(wanted)) = (&record.image, &wish.image)
        && [Some(&image.reference), Some(&image.digest), asked]
            .iter()
            .all(|is| *is != Some(wanted))
    {
        found.note(
            Part::Image,
            "image",
            Some(asked.unwrap_or(&image.reference).clone()),
            Some(wanted.clone()),
        );
    }
    for (key, wanted) in &wish.options {
        let is = record.options.get(key).or_else(|| driver.defaults.get(key));
        found.add(
            Part::Option,
            &format!("option {key}"),
            is.cloned(),
            Some(wanted.clone()),
        );
    }
}

/// By the machine's own size where that is told, and by its record else. An adopted host is as large as it is.
fn of_size(found: &mut Found, wish: &Wish, record: &Record, seen: &Seen, driver: &DriverFacts) {
    if record.image.is_none() {
        return;
    }
    let part = if driver.resizes {
        Part::Resize
    } else {
        Part::Size
    };
    let told = Size {
        cpus: record.cpus,
        memory: record.memory,
        disk: record.disk,
    };
    let is = seen.size.unwrap_or(told);
    // What it is now, and what it would be started with: either counts.
    let differing = |is: u64, told: u64, wanted: Option<u64>| {
        let wanted = wanted?;
        let other = [is, told].into_iter().find(|size| *size != wanted)?;
        Some((other, wanted))
    };
    let (cpus, wanted) = (u64::from(is.cpus), wish.cpus.map(u64::from));
    if let Some((is, wanted)) = differing(cpus, told.cpus.into(), wanted) {
        let (is, wanted) = (is.to_string(), wanted.to_string());
        found.note(part, "cpus", Some(is), Some(wanted));
    }
    // Hypervisors count whole mebibytes.
    let whole = |bytes: u64| bytes >> 20 << 20;
    let wanted = wish.memory.map(whole);
    if let Some((is, wanted)) = differing(whole(is.memory), whole(told.memory), wanted) {
        let (is, wanted) = (show_size(is), show_size(wanted));
        found.note(part, "memory", Some(is), Some(wanted));
    }
    // One that somebody grew behind berth's back is no reason to lose what is on it.
    let disk = is.disk.min(told.disk);
    if let Some(wanted) = wish.disk.filter(|wanted| *wanted != disk) {
        let part = if wanted < disk { Part::Size } else { part };
        found.note(part, "disk", Some(show_size(disk)), Some(show_size(wanted)));
    }
}

fn of_engine(found: &mut Found, wish: &Wish, record: &Record, seen: &Seen) {
    let wanted = wish.engine.as_ref().unwrap_or(&record.engine);
    let shown = Some(show_engine(wanted));
    if record.engine != *wanted {
        found.note(
            Part::Engine,
            "engine",
            Some(show_engine(&record.engine)),
            shown.clone(),
        );
    } else if record.installed.is_none() && wanted.kind != "none" && seen.unfinished.is_none() {
        found.note(
            Part::Engine,
            "engine",
            Some("not installed".into()),
            shown.clone(),
        );
    }
    let version = match &seen.engine {
        Some(Err(why)) => {
            found.note(
                Part::Answer,
                "engine in the machine",
                Some(why.clone()),
                shown,
            );
            return;
        }
        Some(Ok(version)) => Some(version.clone()),
        None => record
            .installed
            .as_ref()
            .map(|installed| installed.version.clone()),
    };
    let pinned = wanted
        .version
        .as_deref()
        .filter(|version| *version != "latest");
    let same_kind = record.engine.kind == wanted.kind;
    if let (Some(version), Some(pinned), true) = (version, pinned, same_kind)
        && !is_of(&version, pinned)
    {
        found.note(
            Part::Version,
            "engine's version",
            Some(version),
            Some(pinned.to_owned()),
        );
    }
}

fn of_settings(found: &mut Found, is: &EngineSettings, wanted: &EngineSettings) {
    let json = |settings: &EngineSettings| {
        let text = settings.daemon_json.as_deref().unwrap_or("{}");
        let daemon = match serde_json::from_str(text) {
            Ok(Value::Object(daemon)) => daemon,
            _ => serde_json::Map::new(),
        };
        daemon
            .into_iter()
            .map(|(key, value)| (key, value.to_string()))
            .collect()
    };
    found.each(Part::Setting, "daemon.json ", &json(is), &json(wanted));
    for (what, is, wanted) in [
        (
            "registry mirrors",
            &is.registry_mirrors,
            &wanted.registry_mirrors,
        ),
        (
            "insecure registries",
            &is.insecure_registries,
            &wanted.insecure_registries,
        ),
    ] {
        let list = |list: &[String]| (!list.is_empty()).then(|| list.join(", "));
        found.add(Part::Setting, what, list(is), list(wanted));
    }
    found.each(Part::Setting, "engine's label ", &is.labels, &wanted.labels);
    let variables: BTreeSet<&String> = is
        .environment
        .keys()
        .chain(wanted.environment.keys())
        .collect();
    for name in variables {
        let (now, then) = (is.environment.get(name), wanted.environment.get(name));
        if now != then {
            // Values may be secret.
            let hidden =
                |value: Option<&String>, word: &str| value.map(|_| format!("*** ({word})"));
            found.note(
                Part::Setting,
                &format!("engine's variable {name}"),
                hidden(now, "old"),
                hidden(then, "new"),
            );
        }
    }
}

/// `docker@28 from upstream`
pub(super) fn show_engine(wish: &EngineWish) -> String {
    let mut text = wish.kind.clone();
    if let Some(version) = &wish.version {
        text += &format!("@{version}");
    }
    if wish.channel != DISTRO {
        text += &format!(" from {}", wish.channel);
    }
    text
}

fn mounts(mounts: &[Mount]) -> BTreeMap<String, String> {
    let show = |mount: &Mount| {
        let only = if mount.read_only { " (ro)" } else { "" };
        (
            mount.guest.clone(),
            format!("{}{only}", mount.host.display()),
        )
    };
    mounts.iter().map(show).collect()
}

/// Whether an engine's version is the pinned one, or begins with it. A pin may be a package's version too, with an
/// epoch before and the packager's own number after it.
fn is_of(version: &str, pinned: &str) -> bool {
    let own = |text: &str| -> String {
        let text = text.split_once(':').map_or(text, |(_, rest)| rest);
        text.chars()
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect()
    };
    let (version, pinned) = (own(version), own(pinned));
    version == pinned
        || version
            .strip_prefix(&pinned)
            .is_some_and(|rest| rest.starts_with('.'))
}

#[derive(Default)]
struct Found(Vec<Difference>);

impl Found {
    fn note(&mut self, part: Part, what: &str, now: Option<String>, then: Option<String>) {
        self.0.push(Difference {
            part,
            what: what.to_owned(),
            now,
            then,
        });
    }

    fn add(&mut self, part: Part, what: &str, now: Option<String>, then: Option<String>) {
        if now != then {
            self.note(part, what, now, then);
        }
    }

    /// What may be as it is if nothing is wished.
    fn wished(&mut self, part: Part, what: &str, now: String, then: Option<String>) {
        if then.is_some() {
            self.add(part, what, Some(now), then);
        }
    }

    fn each(
        &mut self,
        part: Part,
        what: &str,
        now: &BTreeMap<String, String>,
        then: &BTreeMap<String, String>,
    ) {
        let keys: BTreeSet<&String> = now.keys().chain(then.keys()).collect();
        for key in keys {
            self.add(
                part,
                &format!("{what}{key}"),
                now.get(key).cloned(),
                then.get(key).cloned(),
            );
        }
    }
}

#[cfg(test)]
mod tests;
