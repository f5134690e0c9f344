//! Machines that a hypervisor has and this computer no longer knows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::State;

/// No note is longer than this (bytes): it lies among a hypervisor's own data.
pub const LONGEST_NOTE: usize = 64 << 10;

/// A machine of berth's, as its hypervisor tells of it. Others may have written there: none of it is taken on trust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// The machine's id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The folder of its files on the computer that made it.
    pub folder: PathBuf,
    /// What it does now.
    pub state: State,
    /// What [`crate::Driver::keep_note`] was given last; none if its create never got that far.
    #[serde(default)]
    pub note: Option<String>,
    /// The driver's own files in the machine's folder, by name: with them there, [`crate::Driver::create`] makes of the
    /// machine what a berth can drive again, and leaves its disk as it is.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}
