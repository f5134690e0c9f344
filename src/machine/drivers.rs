//! The drivers that this program has, by name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use berth_driver_api::Driver;
use berth_driver_api::plugin::Plugin;
use berth_driver_api::process;
use berth_driver_qemu::Qemu;
use berth_driver_ssh::Ssh;
use berth_driver_uml::Uml;
use berth_driver_virtualbox::VirtualBox;
use berth_images::Store;
use tokio::sync::Mutex;

use super::{Error, Result};
use crate::store::Home;

/// Built-in drivers and plugins. A driver is made when it is first asked for, and once.
pub struct Drivers {
    cache: PathBuf,
    images: PathBuf,
    plugins: PathBuf,
    made: Mutex<HashMap<String, Arc<dyn Driver>>>,
}

impl Drivers {
    /// The drivers of this home. Starts nothing.
    pub fn new(home: &Home) -> Self {
        Drivers {
            cache: home.cache(),
            images: home.images().to_owned(),
            plugins: home.plugins(),
            made: Mutex::default(),
        }
    }

    /// The driver `name`; one plugin process serves everybody who asks.
    ///
    /// # Errors
    /// [`Error::NoSuchDriver`] with the names that there are; [`Error::Plugin`] if the plugin is broken.
    pub async fn get(&self, name: &str) -> Result<Arc<dyn Driver>> {
        let mut made = self.made.lock().await;
        if let Some(driver) = made.get(name) {
            return Ok(driver.clone());
        }
        let driver: Arc<dyn Driver> = match name {
            "qemu" => Arc::new(Qemu::new(self.cache.clone())),
            "ssh" => Arc::new(Ssh::new()),
            "uml" => Arc::new(Uml::new(self.stored_kernel("uml-kernel"))),
            "virtualbox" => Arc::new(VirtualBox::new()),
            _ => Arc::new(
                Plugin::start(name, &self.plugin(name)?)
                    .await
                    .map_err(Error::Plugin)?,
            ),
        };
        made.insert(name.to_owned(), driver.clone());
        Ok(driver)
    }

    /// The names of all drivers, built-in ones first.
    pub fn names(&self) -> Vec<String> {
        let mut names = ["qemu", "uml", "virtualbox", "ssh"]
            .map(str::to_owned)
            .to_vec();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut plugins: Vec<String> = std::env::split_paths(&path)
            .chain([self.plugins.clone()])
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flatten()
            .filter_map(|entry| {
                let file = entry.ok()?.file_name().into_string().ok()?;
                file.strip_prefix("berth-driver-").map(str::to_owned)
            })
            // Build folders keep `NAME.d` beside programs.
            .filter(|name| !name.contains('.'))
            .collect();
        plugins.sort();
        plugins.dedup();
        names.extend(plugins);
        names
    }

    /// The folder of a driver's own kernel, if it is stored already: then a probe can try it.
    fn stored_kernel(&self, name: &str) -> Option<PathBuf> {
        if !self.images.exists() {
            return None;
        }
        let store = Store::open(&self.images).ok()?;
        let image = store.get(&name.parse().ok()?).ok()??;
        Some(image.folder().to_owned())
    }

    fn plugin(&self, name: &str) -> Result<PathBuf> {
        let safe = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let program = format!("berth-driver-{name}");
        let in_folder = self.plugins.join(&program);
        let found = match safe {
            true if in_folder.is_file() => Some(in_folder),
            true => process::find(&program),
            false => None,
        };
        found.ok_or_else(|| Error::NoSuchDriver {
            name: name.chars().take(80).collect(),
            known: self.names(),
        })
    }
}
