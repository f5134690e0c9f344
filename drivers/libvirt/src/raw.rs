//! Calls of libvirt's that the crate `virt` has no safe words for.

#![allow(
    unsafe_code,
    reason = "these are calls into a C library; each says why it may be made"
)]

use std::ffi::{CStr, CString};

use nix::libc;
use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

/// The XML in a domain's managed save, by which it goes on (`virDomainManagedSaveGetXMLDesc`).
///
/// # Errors
/// If it has none, or the hypervisor does not answer.
pub(crate) fn saved_xml(domain: &Domain) -> Result<String, Error> {
    let flags = sys::VIR_DOMAIN_SAVE_IMAGE_XML_SECURE;
    // SAFETY: the domain's pointer is valid for as long as `domain` is borrowed.
    let text = unsafe { sys::virDomainManagedSaveGetXMLDesc(domain.as_ptr(), flags) };
    if text.is_null() {
        return Err(Error::last_error());
    }
    // SAFETY: what the call returns is a string that ends in a zero, and is its caller's.
    let xml = unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned();
    // SAFETY: libvirt says that its caller frees it, and nothing refers to it any more.
    unsafe { libc::free(text.cast()) };
    Ok(xml)
}

/// Puts other XML into a domain's managed save (`virDomainManagedSaveDefineXML`).
///
/// # Errors
/// If it has none, or the hypervisor does not take it.
pub(crate) fn change_saved_xml(domain: &Domain, xml: &str) -> Result<(), Error> {
    let xml = terminated(xml);
    // SAFETY: both pointers are valid during the call, which keeps neither.
    let outcome = unsafe { sys::virDomainManagedSaveDefineXML(domain.as_ptr(), xml.as_ptr(), 0) };
    done(outcome)
}

/// Has a running domain's disk be copied into the disk that `xml` describes, and what is written meanwhile as well
/// (`virDomainBlockCopy`).
///
/// # Errors
/// If that cannot be begun.
pub(crate) fn begin_block_copy(
    domain: &Domain,
    disk: &str,
    xml: &str,
    flags: sys::virDomainBlockCopyFlags,
) -> Result<(), Error> {
    let (disk, xml) = (terminated(disk), terminated(xml));
    // SAFETY: the pointers are valid during the call, which keeps none; no parameters are given, and none are read.
    let outcome = unsafe {
        sys::virDomainBlockCopy(
            domain.as_ptr(),
            disk.as_ptr(),
            xml.as_ptr(),
            std::ptr::null_mut(),
            0,
            flags,
        )
    };
    done(outcome)
}

/// Ends what is done to a running domain's disk (`virDomainBlockJobAbort`). A copy that has caught up stays as it is now.
///
/// # Errors
/// If nothing is done to it.
pub(crate) fn end_block_job(domain: &Domain, disk: &str) -> Result<(), Error> {
    let disk = terminated(disk);
    // SAFETY: both pointers are valid during the call, which keeps neither.
    let outcome = unsafe { sys::virDomainBlockJobAbort(domain.as_ptr(), disk.as_ptr(), 0) };
    done(outcome)
}

/// The text up to its first zero; XML has none, and names of disks are the driver's own.
fn terminated(text: &str) -> CString {
    let text = text.split('\0').next().unwrap_or_default();
    CString::new(text).unwrap_or_default()
}

fn done(outcome: libc::c_int) -> Result<(), Error> {
    match outcome {
        -1 => Err(Error::last_error()),
        _ => Ok(()),
    }
}
