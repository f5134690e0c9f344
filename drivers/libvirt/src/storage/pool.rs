//! Storage pools: found, made active, and the default one made.

use std::path::PathBuf;

use berth_driver_api::{Error, Result};
use virt::error::ErrorNumber;
use virt::storage_pool::StoragePool;

use crate::failure::failed;
use crate::hypervisor::{Hypervisor, blocking};
use crate::options::{DEFAULT_POOL, PoolName};
use crate::xml::Element;

/// Where libvirt's other tools put the pool `default` of the system.
const SYSTEM_IMAGES: &str = "/var/lib/libvirt/images";

/// The pool `name`, active; `None` if there is none.
///
/// # Errors
/// If the hypervisor does not answer, or cannot activate it.
pub(super) fn find_pool(hypervisor: &Hypervisor, name: &PoolName) -> Result<Option<StoragePool>> {
    let what = format!("the storage pool {}", name.as_str());
    let pool = match StoragePool::lookup_by_name(&hypervisor.connection, name.as_str()) {
        Ok(pool) => pool,
        Err(error) if error.code() == ErrorNumber::NoStoragePool => return Ok(None),
        Err(error) => return Err(failed(what)(error)),
    };
    if !pool.is_active().map_err(failed(&what))? {
        pool.create(0).map_err(failed(&what))?;
    }
    Ok(Some(pool))
}

/// Refuses a pool that is not there and that will not be made.
///
/// # Errors
/// If so, or if the hypervisor does not answer.
pub(crate) fn check_pool(hypervisor: &Hypervisor, name: &PoolName) -> Result<()> {
    if name.as_str() == DEFAULT_POOL {
        return Ok(());
    }
    blocking(|| StoragePool::lookup_by_name(&hypervisor.connection, name.as_str()))
        .map(drop)
        .map_err(failed(format!("the storage pool {}", name.as_str())))
}

/// Makes the pool `default` as libvirt's other tools do when they find none.
pub(super) fn make_default_pool(hypervisor: &Hypervisor) -> Result<StoragePool> {
    let what = "making the storage pool default";
    let folder = match (hypervisor.uri.is_session(), hypervisor.uri.is_remote()) {
        (true, true) => {
            let reason = "where is not known of another computer's session; make one there: `virsh pool-define-as`";
            return Err(Error::failed(what, reason));
        }
        (true, false) if hypervisor.shares_files() => data_folder()?.join("libvirt/images"),
        _ => PathBuf::from(SYSTEM_IMAGES),
    };
    let xml = Element::new("pool")
        .with("type", "dir")
        .child(Element::new("name").text(DEFAULT_POOL))
        .child(Element::new("target").child(Element::new("path").text(folder.display())));
    let pool = StoragePool::define_xml(&hypervisor.connection, &xml.to_string(), 0)
        .map_err(failed(what))?;
    pool.build(0).map_err(failed(what))?;
    pool.create(0).map_err(failed(what))?;
    pool.set_autostart(true).map_err(failed(what))?;
    Ok(pool)
}

/// `$XDG_DATA_HOME`, as libvirt finds it.
fn data_folder() -> Result<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    from("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(from("HOME")?).join(".local/share")))
        .ok_or_else(|| Error::failed("making the storage pool default", "HOME is not set"))
}
