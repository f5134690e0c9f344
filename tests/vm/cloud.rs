//! A disk as distributors publish them, for cloud-init.

use std::fs;
use std::path::PathBuf;

use super::{BOOT, Host};

/// Debian with Debian's cloud-init. Nothing of berth's hands anything over: machines made of it get no credentials.
const RECIPE: &str = "extends = \"debian-13\"\ndescription = \"with cloud-init\"\npackages = [\"cloud-init\", \"sudo\"]\n";

/// Its name in the image store, where it stays as the other images of the tests do.
const NAME: &str = "test-cloud-init";

/// Builds it, if no other test did, and tells where its disk is.
pub fn cloud_disk(host: &Host) -> PathBuf {
    let recipes = host.home().join(".config/berth/recipes");
    fs::create_dir_all(&recipes).unwrap();
    fs::write(recipes.join(NAME).with_extension("toml"), RECIPE).unwrap();
    let digest = host.berth("image build").arg(NAME).deadline(BOOT).text();
    host.images()
        .join(digest.replace(':', "-"))
        .join("disk.qcow2")
}
