//! From what is written to the machines that it means.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::error::Wrong;
use super::names::names;
use super::schema::{At, Document, Group, OF_GROUPS_ONLY, SwarmOf};
use super::wish::wish;
use super::{Declared, DeclaredSwarm};
use crate::fleet::swarm::{check_managers, default_managers};
use crate::machine::check_name;

/// The machines of all groups, each checked, and the groups' swarms.
pub(super) fn expand(
    document: &Document,
    folder: &Path,
) -> Result<(Vec<Declared>, Vec<DeclaredSwarm>), Wrong> {
    let fleet = &document.fleet;
    check_word("a fleet's name", fleet, fleet.span())?;
    check_defaults(&document.defaults)?;
    let (mut machines, mut swarms) = (Vec::new(), Vec::<DeclaredSwarm>::new());
    let mut owners: HashMap<String, String> = HashMap::new();
    for (name, own) in &document.groups {
        let (group, span) = (name.get_ref(), name.span());
        check_word("a group's name", group, span.clone())?;
        let whole = inherited(document, own)?;
        // A group without machines is checked as well: it is there to be extended.
        let wish = wish(&whole, folder, span.clone())?;
        let named = names(group, own, span)?;
        if let Some(wish) = whole.swarm.as_ref().filter(|_| !named.is_empty()) {
            let swarm = swarm(group, wish, &named)?;
            if swarms.iter().any(|other| other.name == swarm.name) {
                let reason = format!("another group's swarm is {} already", swarm.name);
                return Err(Wrong::at(wish.span(), reason));
            }
            swarms.push(swarm);
        }
        for (name, at) in named {
            if let Some(owner) = owners.insert(name.clone(), group.clone()) {
                let reason = match owner == *group {
                    true => format!("{name} is named twice"),
                    false => format!("{name} is in group {owner} already"),
                };
                return Err(Wrong::at(at, reason));
            }
            machines.push(Declared {
                name,
                group: group.clone(),
                protect: whole.protect.unwrap_or_default(),
                wish: wish.clone(),
            });
        }
    }
    if let Some(swarm) = swarms.iter().find(|swarm| owners.contains_key(&swarm.name)) {
        let group = document
            .groups
            .keys()
            .find(|name| *name.get_ref() == swarm.group);
        let reason = format!(
            "a machine has the swarm's name {}: give the swarm another",
            swarm.name
        );
        return Err(Wrong::at(group.map_or(0..0, |name| name.span()), reason));
    }
    Ok((machines, swarms))
}

fn swarm(
    group: &str,
    wish: &At<SwarmOf>,
    named: &[(String, Range<usize>)],
) -> Result<DeclaredSwarm, Wrong> {
    let wrong = |reason: String| Wrong::at(wish.span(), reason);
    let name = wish.name.clone().unwrap_or_else(|| group.to_owned());
    check_name(&name).map_err(|error| wrong(format!("the swarm's name: {error}")))?;
    let managers = wish
        .managers
        .unwrap_or_else(|| default_managers(named.len()));
    check_managers(managers, named.len()).map_err(|error| wrong(error.to_string()))?;
    Ok(DeclaredSwarm {
        name,
        group: group.to_owned(),
        managers,
        machines: named.iter().map(|(name, _)| name.clone()).collect(),
    })
}

fn check_defaults(defaults: &Group) -> Result<(), Wrong> {
    let spans = [
        defaults.extends.as_ref().map(|value| value.span()),
        defaults.name.as_ref().map(|value| value.span()),
        defaults
            .names
            .as_ref()
            .and_then(|names| names.first())
            .map(|name| name.span()),
        defaults.count.as_ref().map(|value| value.span()),
    ];
    for (key, span) in OF_GROUPS_ONLY.iter().zip(spans) {
        if let Some(span) = span {
            return Err(Wrong::at(
                span,
                format!("{key} is said of a group, not of all"),
            ));
        }
    }
    Ok(())
}

/// A group with all that it has from the groups it extends and from the defaults.
fn inherited(document: &Document, own: &Group) -> Result<Group, Wrong> {
    let mut whole = own.clone();
    let mut next = own.extends.clone();
    let mut seen = Vec::new();
    while let Some(base) = next {
        let found = document
            .groups
            .iter()
            .find(|(name, _)| *name.get_ref() == **base);
        let Some((name, group)) = found else {
            let known: Vec<String> = document
                .groups
                .keys()
                .map(|name| name.get_ref().clone())
                .collect();
            return Err(Wrong::unknown(base.span(), "group", &base, &known));
        };
        if seen.contains(&name.get_ref()) || std::ptr::eq(group, own) {
            let reason = format!("{} extends itself in the end", name.get_ref());
            return Err(Wrong::at(base.span(), reason));
        }
        seen.push(name.get_ref());
        whole.inherit(group);
        next = group.extends.clone();
    }
    whole.inherit(&document.defaults);
    Ok(whole)
}

impl Group {
    /// Takes what it does not say itself from `base`: of tables each key, of all else the whole.
    fn inherit(&mut self, base: &Group) {
        macro_rules! whole {
            ($($key:ident)*) => { $(if self.$key.is_none() { self.$key.clone_from(&base.$key); })* };
        }
        macro_rules! each {
            ($($key:ident)*) => { $(
                for (name, value) in &base.$key {
                    self.$key.entry(name.clone()).or_insert_with(|| value.clone());
                }
            )* };
        }
        whole!(protect driver cpus memory disk image digest cloud_init engine channel tls mounts swarm);
        whole!(registry_mirrors insecure_registries);
        each!(labels options engine_labels engine_env);
        match (&mut self.daemon, &base.daemon) {
            (Some(own), Some(base)) => {
                let own = own.0.get_mut();
                for (key, value) in base.iter() {
                    if !own.contains_key(key) {
                        own.insert(key.clone(), value.clone());
                    }
                }
            }
            (own @ None, base) => own.clone_from(base),
            (Some(_), None) => {}
        }
    }
}

/// Names of fleets and groups are typed by people and printed: short and plain.
fn check_word(what: &str, word: &str, span: Range<usize>) -> Result<(), Wrong> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !word.is_empty() && word.len() <= 63 && word.chars().all(good) {
        true => Ok(()),
        false => Err(Wrong::at(
            span,
            format!("{what} has 1 to 63 letters, digits, dots, hyphens and underscores"),
        )),
    }
}
