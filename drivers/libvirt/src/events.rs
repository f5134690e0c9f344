//! Hypervisors' word that one of their domains has changed, by libvirt's event loop in a thread of its own.

#![allow(
    unsafe_code,
    reason = "libvirt calls back into this program; each place says why it may"
)]

use std::ffi::c_void;
use std::sync::OnceLock;
use std::time::Duration;

use nix::libc::c_int;
use tokio::sync::watch;
use virt::connect::Connect;
use virt::{event, sys};

/// What a connection tells those who wait.
type Sender = watch::Sender<()>;

/// How long nobody looks for himself where he is told of changes, and where he is not.
const TOLD: Duration = Duration::from_secs(30);
const NOT_TOLD: Duration = Duration::from_secs(2);

/// Has libvirt tell of events on every connection that is opened from now on.
pub(crate) fn begin() {
    static BEGUN: OnceLock<()> = OnceLock::new();
    BEGUN.get_or_init(|| {
        let run = || while event::event_run_default_impl().is_ok() {};
        let begun = event::event_register_default_impl().is_ok()
            && std::thread::Builder::new()
                .name("libvirt-events".into())
                .spawn(run)
                .is_ok();
        if !begun {
            // Whoever waits looks for himself.
            tracing::warn!("libvirt's event loop does not run");
        }
    });
}

/// What a connection tells of its domains, and of its own end.
pub(crate) struct Events {
    changes: watch::Receiver<()>,
    /// libvirt's number for the callback, if there is one.
    callback: Option<c_int>,
}

impl Events {
    /// Asks to be told. A hypervisor that does not tell is looked at in turns.
    pub(crate) fn of(connection: &Connect) -> Events {
        let (sender, changes) = watch::channel(());
        type Changed = unsafe extern "C" fn(
            sys::virConnectPtr,
            sys::virDomainPtr,
            c_int,
            c_int,
            *mut c_void,
        ) -> c_int;
        type Generic = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);
        // SAFETY: for events of a domain's life libvirt calls what it is given here as the former, as its macro
        // VIR_DOMAIN_EVENT_CALLBACK presumes.
        let changed = unsafe { std::mem::transmute::<Changed, Generic>(changed) };
        let opaque = Box::into_raw(Box::new(sender.clone())).cast();
        // SAFETY: the connection is valid during the call, and `opaque` until libvirt calls `forget` with it, after the
        // last event.
        let callback = unsafe {
            sys::virConnectDomainEventRegisterAny(
                connection.as_ptr(),
                std::ptr::null_mut(),
                sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE as c_int,
                Some(changed),
                opaque,
                Some(forget),
            )
        };
        if callback < 0 {
            // SAFETY: libvirt did not take it, and so nobody else has it.
            unsafe { forget(opaque) };
        }
        let opaque = Box::into_raw(Box::new(sender)).cast();
        // SAFETY: as above.
        let taken = unsafe {
            sys::virConnectRegisterCloseCallback(
                connection.as_ptr(),
                Some(closed),
                opaque,
                Some(forget),
            )
        };
        if taken < 0 {
            // SAFETY: as above.
            unsafe { forget(opaque) };
        }
        Events {
            changes,
            callback: (callback >= 0).then_some(callback),
        }
    }

    /// The changes from now on.
    pub(crate) fn changes(&self) -> Changes {
        let mut changes = self.changes.clone();
        changes.mark_unchanged();
        Changes {
            changes,
            at_latest: self.callback.map_or(NOT_TOLD, |_| TOLD),
        }
    }

    /// Has the connection, which is given up, tell nothing any more.
    pub(crate) fn end(&self, connection: &Connect) {
        if let Some(callback) = self.callback {
            // SAFETY: the connection is valid during the call. That the other end may be gone is no matter.
            unsafe { sys::virConnectDomainEventDeregisterAny(connection.as_ptr(), callback) };
        }
        // SAFETY: as above; without a callback it is an error and nothing else.
        unsafe { sys::virConnectUnregisterCloseCallback(connection.as_ptr(), Some(closed)) };
    }
}

/// Changes of a hypervisor's domains.
pub(crate) struct Changes {
    changes: watch::Receiver<()>,
    at_latest: Duration,
}

impl Changes {
    /// Returns when a domain may have changed since this was made or last returned, or it is time to look again.
    pub(crate) async fn next(&mut self) {
        // An error says that the connection is given up: another one is to be asked.
        let _ = tokio::time::timeout(self.at_latest, self.changes.changed()).await;
    }
}

/// Called when a domain was defined, started, stopped, held or removed.
unsafe extern "C" fn changed(
    _: sys::virConnectPtr,
    _: sys::virDomainPtr,
    _event: c_int,
    _detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: it is what was registered, and not yet forgotten.
    tell(unsafe { &*opaque.cast::<Sender>() });
    0
}

/// Called when the connection has ended.
unsafe extern "C" fn closed(_: sys::virConnectPtr, _reason: c_int, opaque: *mut c_void) {
    // SAFETY: it is what was registered, and not yet forgotten.
    tell(unsafe { &*opaque.cast::<Sender>() });
}

fn tell(sender: &Sender) {
    sender.send_replace(());
}

/// Called once, when nothing is told any more.
unsafe extern "C" fn forget(opaque: *mut c_void) {
    // SAFETY: it was made by `Box::into_raw` of a box of this type, and nobody uses it after this.
    drop(unsafe { Box::from_raw(opaque.cast::<Sender>()) });
}
