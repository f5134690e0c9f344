//! The recipes and cloud images that berth brings and those of the user's folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use toml::Value;

use crate::{CloudImage, Error, Recipe, Reference, Result, cloud, embedded};
use source::{Source, finish, finish_cloud, parse, resolve, toml_files};

mod source;

/// Every recipe and cloud image by name, and which of them is meant when none is named.
#[derive(Debug, Clone)]
pub struct Catalog {
    default: String,
    aliases: BTreeMap<String, String>,
    recipes: BTreeMap<String, Recipe>,
    cloud_images: BTreeMap<String, CloudImage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogFile {
    default: Option<String>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

impl Catalog {
    /// Berth's recipes and cloud images (`family = "cloud"`), and those of `user_folder` (`*.toml`), which add to them or
    /// replace them. A `catalog.toml` there changes the default and adds aliases; `keys/` there holds signers' keys. A folder that does not exist is an empty one.
    ///
    /// # Errors
    /// [`Error::Recipe`] naming the file that is wrong.
    pub fn load(user_folder: Option<&Path>) -> Result<Self> {
        let mut sources = BTreeMap::new();
        for (name, text) in embedded::RECIPES {
            let label = format!("built-in {name}");
            let source = Source {
                table: parse(&label, text)?,
                label,
                folder: None,
            };
            sources.insert((*name).to_owned(), source);
        }
        let mut catalog = Catalog {
            default: String::new(),
            aliases: BTreeMap::new(),
            recipes: BTreeMap::new(),
            cloud_images: BTreeMap::new(),
        };
        catalog.apply("built-in catalog", embedded::CATALOG)?;
        if let Some(folder) = user_folder {
            for path in toml_files(folder)? {
                let label = path.display().to_string();
                let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                if name == "catalog" {
                    catalog.apply(&label, &text)?;
                    continue;
                }
                if !matches!(name.parse::<Reference>(), Ok(Reference::Name(n)) if !n.contains(':'))
                {
                    return Err(Error::recipe(
                        label,
                        "the file's name cannot be an image's name",
                    ));
                }
                let source = Source {
                    table: parse(&label, &text)?,
                    label,
                    folder: Some(folder.join("files")),
                };
                sources.insert(name.into_owned(), source);
            }
        }
        for (name, source) in &sources {
            let table = resolve(name, &sources, &mut Vec::new())?;
            if table.get("family").and_then(Value::as_str) == Some(cloud::FAMILY) {
                // Without addresses it is only there to be extended.
                if table.contains_key("urls") {
                    let image = finish_cloud(name, source, user_folder, table)?;
                    catalog.cloud_images.insert(name.clone(), image);
                }
                continue;
            }
            // Without a suite it is only there to be extended.
            if table.contains_key("suite") {
                let recipe = finish(name, &source.label, table)?;
                catalog.recipes.insert(name.clone(), recipe);
            }
        }
        catalog.check_names()?;
        Ok(catalog)
    }

    /// The name of the image that is meant when none is named.
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// All recipes, by name.
    pub fn recipes(&self) -> impl Iterator<Item = &Recipe> {
        self.recipes.values()
    }

    /// The recipe called `name`, or which has `name` as an alias.
    pub fn recipe(&self, name: &str) -> Option<&Recipe> {
        let name = self.aliases.get(name).map_or(name, String::as_str);
        self.recipes.get(name)
    }

    /// All cloud images, by name.
    pub fn cloud_images(&self) -> impl Iterator<Item = &CloudImage> {
        self.cloud_images.values()
    }

    /// The cloud image called `name`, or which has `name` as an alias.
    pub fn cloud_image(&self, name: &str) -> Option<&CloudImage> {
        let name = self.aliases.get(name).map_or(name, String::as_str);
        self.cloud_images.get(name)
    }

    /// Names of recipes and cloud images, and aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.recipes
            .keys()
            .chain(self.cloud_images.keys())
            .chain(self.aliases.keys())
            .map(String::as_str)
    }

    fn apply(&mut self, label: &str, text: &str) -> Result<()> {
        let file: CatalogFile =
            toml::from_str(text).map_err(|error| Error::recipe(label, error.to_string().trim()))?;
        if let Some(default) = file.default {
            self.default = default;
        }
        self.aliases.extend(file.aliases);
        Ok(())
    }

    fn check_names(&self) -> Result<()> {
        for (what, name) in self
            .aliases
            .iter()
            .map(|(alias, name)| (format!("the alias {alias}"), name))
            .chain([("the default".to_owned(), &self.default)])
        {
            if self.recipe(name).is_none() && self.cloud_image(name).is_none() {
                return Err(Error::recipe(
                    "catalog.toml",
                    format!("{what} means {name}, which is no image"),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
