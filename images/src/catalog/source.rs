//! The files that recipes and cloud images are read from: what they extend, the files that they name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use toml::{Table, Value};

use crate::{CloudImage, Error, Recipe, Result, embedded};

/// A recipe file as read, before what it extends is merged in.
pub(super) struct Source {
    pub(super) label: String,
    pub(super) table: Table,
    /// Where `files.source` is looked up before berth's own files.
    pub(super) folder: Option<PathBuf>,
}

pub(super) fn parse(label: &str, text: &str) -> Result<Table> {
    toml::from_str(text).map_err(|error| Error::recipe(label, error.to_string().trim()))
}

pub(super) fn toml_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io(folder))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(folder))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The recipe's table with what it extends under it, and every `files.source` replaced by its content.
pub(super) fn resolve(
    name: &str,
    sources: &BTreeMap<String, Source>,
    path: &mut Vec<String>,
) -> Result<Table> {
    let Some(source) = sources.get(name) else {
        return Err(Error::recipe(name, "no such recipe"));
    };
    path.push(name.to_owned());
    let mut table = source.table.clone();
    inline_files(source, &mut table)?;
    match table.remove("extends") {
        None => Ok(table),
        Some(Value::String(base)) => {
            if path.contains(&base) {
                let circle = format!("extends itself: {} → {base}", path.join(" → "));
                return Err(Error::recipe(&source.label, circle));
            }
            if !sources.contains_key(&base) {
                let missing = format!("extends {base:?}, which is no recipe");
                return Err(Error::recipe(&source.label, missing));
            }
            let mut merged = resolve(&base, sources, path)?;
            merge(&mut merged, table);
            Ok(merged)
        }
        Some(_) => Err(Error::recipe(
            &source.label,
            "extends is not the name of a recipe",
        )),
    }
}

/// Tables are merged, lists are appended to, anything else is replaced.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (Some(Value::Array(below)), Value::Array(above)) => below.extend(above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn inline_files(source: &Source, table: &mut Table) -> Result<()> {
    let Some(Value::Array(files)) = table.get_mut("files") else {
        return Ok(());
    };
    for file in files.iter_mut().filter_map(Value::as_table_mut) {
        let Some(Value::String(name)) = file.get("source") else {
            continue;
        };
        let content = read_source(source, name)?;
        file.remove("source");
        file.insert("content".into(), Value::String(content));
    }
    Ok(())
}

fn read_source(source: &Source, name: &str) -> Result<String> {
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        let detail = format!("source = {name:?} is not the name of a file in files/");
        return Err(Error::recipe(&source.label, detail));
    }
    let own = source.folder.as_ref().map(|folder| folder.join(name));
    let bytes = match own {
        Some(path) if path.exists() => fs::read(&path).map_err(Error::io(&path))?,
        _ => embedded::file(name)
            .ok_or_else(|| Error::recipe(&source.label, format!("there is no file files/{name}")))?
            .to_vec(),
    };
    String::from_utf8(bytes)
        .map_err(|_| Error::recipe(&source.label, format!("files/{name} is not text")))
}

pub(super) fn finish(name: &str, label: &str, table: Table) -> Result<Recipe> {
    let mut recipe: Recipe = Value::Table(table)
        .try_into()
        .map_err(|error: toml::de::Error| Error::recipe(label, error.to_string().trim()))?;
    recipe.name = name.to_owned();
    recipe
        .check()
        .map_err(|detail| Error::recipe(label, detail))?;
    Ok(recipe)
}

pub(super) fn finish_cloud(
    name: &str,
    source: &Source,
    user_folder: Option<&Path>,
    table: Table,
) -> Result<CloudImage> {
    let label = &source.label;
    let mut image: CloudImage = Value::Table(table)
        .try_into()
        .map_err(|error: toml::de::Error| Error::recipe(label, error.to_string().trim()))?;
    image.name = name.to_owned();
    image
        .check()
        .map_err(|detail| Error::recipe(label, detail))?;
    if let Some(key) = &image.keyring {
        if key.starts_with('.') || key.contains('/') {
            let detail = format!("keyring = {key:?} is not the name of a file in keys/");
            return Err(Error::recipe(label, detail));
        }
        let own = user_folder.map(|folder| folder.join("keys").join(key));
        image.key_file = match own {
            Some(path) if path.exists() => fs::read(&path).map_err(Error::io(&path))?,
            _ => embedded::key(key)
                .ok_or_else(|| Error::recipe(label, format!("there is no file keys/{key}")))?
                .to_vec(),
        };
    }
    Ok(image)
}
