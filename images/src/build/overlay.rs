//! What a recipe adds to the packages, as a folder that is laid over the root file system.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::recipe::RecipeFile;
use crate::{Error, Recipe, Result};

/// Writes the recipe's files, masks and wants into `folder`.
pub(crate) fn write(recipe: &Recipe, folder: &Path) -> Result<()> {
    fs::create_dir(folder).map_err(Error::io(folder))?;
    let later_wins: BTreeMap<&str, &RecipeFile> = recipe
        .files
        .iter()
        .map(|file| (file.path.as_str(), file))
        .collect();
    for file in later_wins.into_values() {
        let path = place(folder, &file.path)?;
        if let Some(target) = &file.link {
            symlink(target, &path).map_err(Error::io(&path))?;
            continue;
        }
        fs::write(&path, file.content.as_deref().unwrap_or_default()).map_err(Error::io(&path))?;
        let permissions = fs::Permissions::from_mode(file.permissions());
        fs::set_permissions(&path, permissions).map_err(Error::io(&path))?;
    }
    for unit in &recipe.mask {
        let path = place(folder, &format!("/etc/systemd/system/{unit}"))?;
        symlink("/dev/null", &path).map_err(Error::io(&path))?;
    }
    for generator in &recipe.mask_generators {
        let path = place(
            folder,
            &format!("/etc/systemd/system-generators/{generator}"),
        )?;
        symlink("/dev/null", &path).map_err(Error::io(&path))?;
    }
    for (wanting, wanted) in &recipe.wants {
        for unit in wanted {
            let path = place(
                folder,
                &format!("/etc/systemd/system/{wanting}.wants/{unit}"),
            )?;
            symlink(format!("/usr/lib/systemd/system/{unit}"), &path).map_err(Error::io(&path))?;
        }
    }
    if !recipe.modules_load.is_empty() {
        let path = place(folder, "/etc/modules-load.d/berth.conf")?;
        fs::write(&path, recipe.modules_load.join("\n") + "\n").map_err(Error::io(&path))?;
    }
    Ok(())
}

fn place(folder: &Path, path: &str) -> Result<PathBuf> {
    let path = folder.join(path.trim_start_matches('/'));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
    }
    Ok(path)
}
