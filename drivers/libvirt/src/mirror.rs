//! The disk of a machine that runs, copied as it is at one moment: QEMU copies it, and what the guest writes meanwhile as
//! well, until the two are the same.

use std::time::Duration;

use berth_driver_api::{Error, Result};
use roxmltree::Document;
use virt::domain::Domain;
use virt::sys;

use crate::domain::DISK;
use crate::failure::failed;
use crate::hypervisor::blocking;
use crate::raw;
use crate::xml::Element;

const WHAT: &str = "copying the disk";

/// Copies the machine's disk into the file `target`, which stands on what that stands on.
///
/// # Errors
/// If the hypervisor cannot.
pub(crate) async fn copy(domain: &Domain, target: &str) -> Result<()> {
    // Of a try that was given up.
    let _ = blocking(|| raw::end_block_job(domain, DISK));
    let disk = Element::new("disk")
        .with("type", "file")
        .child(
            Element::new("driver")
                .with("name", "qemu")
                .with("type", "qcow2"),
        )
        .child(Element::new("source").with("file", target))
        .to_string();
    let flags = sys::VIR_DOMAIN_BLOCK_COPY_SHALLOW
        | sys::VIR_DOMAIN_BLOCK_COPY_REUSE_EXT
        | sys::VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB;
    blocking(|| raw::begin_block_copy(domain, DISK, &disk, flags)).map_err(failed(WHAT))?;
    let mut copying = Copying(Some(domain));
    let mut pause = Duration::from_millis(50);
    loop {
        let xml = blocking(|| domain.get_xml_desc(0)).map_err(failed(WHAT))?;
        match caught_up(&xml) {
            Some(true) => break,
            Some(false) => {}
            None => return Err(Error::failed(WHAT, "QEMU gave it up")),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(1));
    }
    copying.0 = None;
    // From here on the copy stays as it is.
    blocking(|| raw::end_block_job(domain, DISK)).map_err(failed(WHAT))
}

/// A copy under way; dropped, it is broken off.
struct Copying<'a>(Option<&'a Domain>);

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        if let Some(domain) = self.0 {
            // It may have ended by itself.
            let _ = blocking(|| raw::end_block_job(domain, DISK));
        }
    }
}

/// Whether the copy is what the disk is now, from the XML of the domain; `None` if there is no copy under way.
fn caught_up(xml: &str) -> Option<bool> {
    let document = Document::parse(xml).ok()?;
    let mirror = document
        .descendants()
        .find(|node| node.has_tag_name("mirror"))?;
    Some(mirror.attribute("ready") == Some("yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_done_when_it_has_caught_up() {
        let domain =
            |mirror: &str| format!("<domain><devices><disk>{mirror}</disk></devices></domain>");
        assert_eq!(caught_up(&domain("<mirror job='copy'/>")), Some(false));
        let ready = domain("<mirror job='copy' ready='yes'/>");
        assert_eq!(caught_up(&ready), Some(true));
        assert_eq!(caught_up(&domain("")), None);
        assert_eq!(caught_up("<"), None);
    }
}
