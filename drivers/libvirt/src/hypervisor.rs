//! Connections to hypervisors: one each, made when it is first needed and again when it broke.
//!
//! libvirt's calls block. They are made in place, while tokio moves the thread's other work elsewhere
//! (`block_in_place`), so that they may borrow and are never left behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use berth_driver_api::{Error, Machine, Result};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::ErrorNumber;

use crate::domain::Kind;
use crate::events::{self, Changes, Events};
use crate::failure::failed;
use crate::mark::{Mark, NAMESPACE};
use crate::uri::Uri;

/// The connections of this process, by what they were asked for; `None` is libvirt's own choice.
#[derive(Default)]
pub(crate) struct Hypervisors {
    open: Mutex<HashMap<Option<Uri>, Arc<Place>>>,
}

/// Where the connection to one hypervisor is kept.
type Place = Mutex<Option<Arc<Hypervisor>>>;

/// A connection.
pub(crate) struct Hypervisor {
    pub(crate) connection: Connect,
    /// Where it leads.
    pub(crate) uri: Uri,
    capabilities: OnceLock<String>,
    events: Events,
}

impl Drop for Hypervisor {
    fn drop(&mut self) {
        self.events.end(&self.connection);
    }
}

impl Hypervisors {
    /// The hypervisor at `uri`.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub(crate) fn get(&self, uri: Option<&Uri>) -> Result<Arc<Hypervisor>> {
        let place = self.lock().entry(uri.cloned()).or_default().clone();
        blocking(|| {
            let kept = lock(&place).clone();
            if let Some(hypervisor) = kept.filter(|kept| kept.answers()) {
                return Ok(hypervisor);
            }
            // Whoever is first connects, and the others wait for that.
            let mut held = lock(&place);
            if let Some(hypervisor) = held.clone().filter(|held| held.answers()) {
                return Ok(hypervisor);
            }
            let hypervisor = Arc::new(Hypervisor::open(uri)?);
            *held = Some(hypervisor.clone());
            Ok(hypervisor)
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<Uri>, Arc<Place>>> {
        lock(&self.open)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a call that blocks.
pub(crate) fn blocking<T>(call: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(call)
}

impl Hypervisor {
    fn open(uri: Option<&Uri>) -> Result<Hypervisor> {
        // libvirt prints its errors unless it is told not to; here they are returned.
        virt::error::clear_error_callback();
        let what = match uri {
            Some(uri) => format!("connecting to {uri}"),
            None => "connecting to libvirt".to_owned(),
        };
        events::begin();
        let connection = Connect::open(uri.map(Uri::as_str)).map_err(failed(&what))?;
        let text = connection.get_uri().map_err(failed(&what))?;
        let uri = match uri {
            // What libvirt answers may lack what led there, such as the user's name.
            Some(uri) => uri.clone(),
            None => Uri::try_from(text.clone()).map_err(|reason| {
                Error::failed(
                    what,
                    format!("libvirt's own choice, {text}, {reason}; use -o uri=URI"),
                )
            })?,
        };
        Ok(Hypervisor {
            events: Events::of(&connection),
            connection,
            uri,
            capabilities: OnceLock::new(),
        })
    }

    /// A round trip: without one, nothing tells that the daemon was started anew meanwhile.
    fn answers(&self) -> bool {
        self.connection.get_lib_version().is_ok()
    }

    /// True where QEMU runs as the user on this computer: it reads the user's files, and the user what it writes.
    pub(crate) fn shares_files(&self) -> bool {
        match self.kind() {
            // It opens no file.
            Kind::Test => true,
            // To root, libvirt gives the system's daemon, whatever was asked for.
            Kind::Qemu => {
                self.uri.is_session() && !self.uri.is_remote() && !nix::unistd::geteuid().is_root()
            }
        }
    }

    /// The changes of its domains from now on.
    pub(crate) fn changes(&self) -> Changes {
        self.events.changes()
    }

    /// What it says of itself, as XML. It may look at its emulators first, which can take seconds: it is asked once.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) fn capabilities(&self) -> Result<&str> {
        if self.capabilities.get().is_none() {
            let said = blocking(|| self.connection.get_capabilities())
                .map_err(failed("asking the hypervisor what it can do"))?;
            // Whoever was faster was told the same.
            let _ = self.capabilities.set(said);
        }
        Ok(self.capabilities.get().map_or("", String::as_str))
    }

    /// Which of libvirt's drivers answers.
    pub(crate) fn kind(&self) -> Kind {
        match self.uri.hypervisor() {
            "test" => Kind::Test,
            _ => Kind::Qemu,
        }
    }

    /// The machine's domain, if there is one.
    ///
    /// # Errors
    /// If the hypervisor does not answer, or the domain is not the machine's.
    pub(crate) fn domain(&self, machine: &Machine) -> Result<Option<Domain>> {
        blocking(|| {
            let domain = match Domain::lookup_by_uuid(&self.connection, machine.id) {
                Ok(domain) => domain,
                Err(error) if error.code() == ErrorNumber::NoDomain => return Ok(None),
                Err(error) => return Err(failed("looking for the machine's domain")(error)),
            };
            let mark = mark_of(&domain)?;
            if mark.is_some_and(|mark| mark.id == machine.id) {
                return Ok(Some(domain));
            }
            let name = domain.get_name().unwrap_or_default();
            Err(Error::failed(
                format!("the domain {name:?} with the machine's id"),
                "it does not carry berth's mark, so it is another's and is not touched",
            ))
        })
    }

    /// As [`Hypervisor::domain`], for machines that must have one.
    ///
    /// # Errors
    /// As there, and [`Error::Missing`].
    pub(crate) fn existing(&self, machine: &Machine) -> Result<Domain> {
        self.domain(machine)?
            .ok_or_else(|| Error::Missing(machine.name.clone()))
    }
}

/// The mark of a domain that has one.
///
/// # Errors
/// If the hypervisor does not answer.
pub(crate) fn mark_of(domain: &Domain) -> Result<Option<Mark>> {
    let element = virt::sys::VIR_DOMAIN_METADATA_ELEMENT as i32;
    match domain.get_metadata(element, Some(NAMESPACE), 0) {
        Ok(xml) => Ok(Mark::read(&xml)),
        Err(error)
            if matches!(
                error.code(),
                ErrorNumber::NoDomainMetadata | ErrorNumber::NoDomain
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(failed("reading a domain's mark")(error)),
    }
}
