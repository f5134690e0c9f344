//! Machines that a fleet file declares.

use berth_driver_api::Progress;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::create::found;
use super::making::carry_out;
use super::{Berth, Record, Request, Result};

/// Which fleet a machine is of, in its record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The fleet's name.
    pub fleet: String,
    /// The group's name.
    pub group: String,
    /// Whether it is never removed or replaced for the file's sake, even when the file has it no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    /// The image that the file asked for when the machine was made: a path tells nothing of what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What a later berth wrote here.
    #[serde(flatten)]
    pub unknown: Table,
}

/// [`super::create()`] of a machine that is marked as a fleet's from its first moment on.
///
/// # Errors
/// As [`super::create()`].
pub async fn create_member(
    berth: &Berth,
    request: &Request,
    member: Member,
    progress: &dyn Progress,
) -> Result<Record> {
    let (_lock, mut record) = found(berth, request, progress).await?;
    record.member = Some(member);
    record.write(&berth.home)?;
    carry_out(berth, record, request.boot_deadline, progress).await
}

/// Marks a machine as a fleet's. The image that it was made of stays noted.
///
/// # Errors
/// [`super::Error::NoSuchMachine`], [`super::Error::Busy`], or what writing the record fails with.
pub async fn mark(
    berth: &Berth,
    name: &str,
    member: Member,
    progress: &dyn Progress,
) -> Result<()> {
    berth.record(name)?;
    let doing = format!("apply {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let mut record = berth.record(name)?;
    let made_of = record.member.take().and_then(|was| was.image);
    record.member = Some(Member {
        image: made_of,
        ..member
    });
    record.write(&berth.home)
}
