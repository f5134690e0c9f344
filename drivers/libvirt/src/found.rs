//! Finding machines again by their domains' marks, when this computer has lost its own files of them.

use std::collections::BTreeMap;

use berth_driver_api::record::KeptRecord;
use berth_driver_api::{Error, Found, LONGEST_NOTE, Machine, Result};
use virt::domain::Domain;
use virt::error::ErrorNumber;
use virt::sys;

use crate::failure::failed;
use crate::hypervisor::{Hypervisor, blocking, mark_of};
use crate::mark::{Mark, NAMESPACE, PREFIX};
use crate::record::Record;
use crate::state;

/// The note that the machine's domain has, if there is one.
///
/// # Errors
/// If the hypervisor does not answer, or the domain is another's.
pub(crate) fn note(hypervisor: &Hypervisor, machine: &Machine) -> Result<Option<String>> {
    let Some(domain) = hypervisor.domain(machine)? else {
        return Ok(None);
    };
    Ok(blocking(|| mark_of(&domain))?.and_then(|mark| mark.note))
}

/// Puts a note into the mark of the machine's domain.
///
/// # Errors
/// If it is too long, or the hypervisor does not take it.
pub(crate) fn keep_note(hypervisor: &Hypervisor, machine: &Machine, note: &str) -> Result<()> {
    let what = "keeping the machine's note";
    if note.len() > LONGEST_NOTE {
        return Err(Error::failed(what, "it is too long"));
    }
    let domain = hypervisor.existing(machine)?;
    let record = Record::existing(machine)?;
    let mark = Mark::of(machine, &record, Some(note.to_owned()));
    blocking(|| {
        let mut flags = sys::VIR_DOMAIN_AFFECT_CONFIG;
        if domain.is_active()? {
            flags |= sys::VIR_DOMAIN_AFFECT_LIVE;
        }
        domain.set_metadata(
            sys::VIR_DOMAIN_METADATA_ELEMENT as i32,
            Some(&mark.bare_element().to_string()),
            Some(PREFIX),
            Some(NAMESPACE),
            flags,
        )
    })
    .map(drop)
    .map_err(failed(what))
}

/// The machines of berth's that the hypervisor has.
///
/// # Errors
/// If it does not answer.
pub(crate) fn all(hypervisor: &Hypervisor) -> Result<Vec<Found>> {
    let domains = blocking(|| hypervisor.connection.list_all_domains(0))
        .map_err(failed("listing the hypervisor's domains"))?;
    let mut found = Vec::new();
    for domain in &domains {
        found.extend(look(hypervisor, domain)?);
    }
    Ok(found)
}

/// `None` if the domain is somebody else's, or was removed meanwhile.
fn look(hypervisor: &Hypervisor, domain: &Domain) -> Result<Option<Found>> {
    let Some(mark) = blocking(|| mark_of(domain))? else {
        return Ok(None);
    };
    let id = match blocking(|| domain.get_uuid()) {
        Ok(id) => id,
        Err(error) if error.code() == ErrorNumber::NoDomain => return Ok(None),
        Err(error) => return Err(failed("asking for a domain's UUID")(error)),
    };
    // A copy of a domain of berth's that was made by other means carries its mark, and is none.
    if mark.id != id {
        return Ok(None);
    }
    let mut files = BTreeMap::new();
    if let Some(record) = mark.record() {
        let record = Record {
            // Another computer may have another way to it.
            uri: hypervisor.uri.clone(),
            port: None,
            ..record
        };
        files.insert(Record::FILE.to_owned(), record.text()?);
    }
    Ok(Some(Found {
        id,
        name: mark.name,
        folder: mark.folder.into(),
        state: state::of(domain)?,
        note: mark.note,
        files,
    }))
}
