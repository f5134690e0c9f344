//! The recipes and cloud images that berth brings and those of the user's folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;
use toml::{Table, Value};

use crate::{CloudImage, Error, Recipe, Reference, Result, cloud, embedded};

/// Every recipe and cloud image by name, and which of them is meant when none is named.
#[derive(Debug, Clone)]
pub struct Catalog {
    default: String,
    aliases: BTreeMap<String, String>,
    recipes: BTreeMap<String, Recipe>,
    cloud_images: BTreeMap<String, CloudImage>,
}

/// A recipe file as read, before what it extends is merged in.
struct Source {
    label: String,
    table: Table,
    /// Where `files.source` is looked up before berth's own files.
    folder: Option<PathBuf>,
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

fn parse(label: &str, text: &str) -> Result<Table> {
    toml::from_str(text).map_err(|error| Error::recipe(label, error.to_string().trim()))
}

fn toml_files(folder: &Path) -> Result<Vec<PathBuf>> {
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
fn resolve(
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

fn finish(name: &str, label: &str, table: Table) -> Result<Recipe> {
    let mut recipe: Recipe = Value::Table(table)
        .try_into()
        .map_err(|error: toml::de::Error| Error::recipe(label, error.to_string().trim()))?;
    recipe.name = name.to_owned();
    recipe
        .check()
        .map_err(|detail| Error::recipe(label, detail))?;
    Ok(recipe)
}

fn finish_cloud(
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

#[cfg(test)]
mod tests {
    use super::*;

    fn user(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Catalog>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let catalog = Catalog::load(Some(folder.path()));
        (folder, catalog)
    }

    fn complaint(files: &[(&str, &str)]) -> String {
        user(files).1.unwrap_err().to_string()
    }

    #[test]
    fn berth_brings_its_recipes() {
        let catalog = Catalog::load(Some(Path::new("/nonexistent"))).unwrap();
        let names: Vec<&str> = catalog.recipes().map(|r| r.name.as_str()).collect();
        assert_eq!(
            names,
            ["debian-12", "debian-13", "debian-13-docker", "uml-kernel"]
        );
        assert_eq!(catalog.default_name(), "debian-13-docker");
        let docker = catalog.recipe("debian").unwrap();
        assert_eq!(docker.engine.as_ref().unwrap().kind, "docker");
        assert!(docker.packages.iter().any(|p| p == "openssh-server"));
        for recipe in catalog.recipes() {
            let anywhere = recipe.disk.is_some();
            assert_eq!(recipe.kernel.contains_key("aarch64"), anywhere);
            assert!(recipe.hash("x86_64").is_ok() && recipe.kernel.contains_key("x86_64"));
        }
    }

    #[test]
    fn a_users_image_is_one_file_and_overrides_berths_of_that_name() {
        let (_folder, catalog) = user(&[
            (
                "web.toml",
                "extends = \"debian-13-docker\"\ndescription = \"web\"\npackages = [\"nginx\"]\n",
            ),
            (
                "debian-12.toml",
                "extends = \"debian\"\nsuite = \"bookworm\"\nmirror = \"http://mirror.example/d\"\n",
            ),
            ("catalog.toml", "default = \"web\"\n"),
        ]);
        let catalog = catalog.unwrap();
        let web = catalog.recipe("web").unwrap();
        assert!(
            web.packages
                .ends_with(&["docker.io".into(), "docker-cli".into(), "nginx".into()])
        );
        assert_eq!(
            catalog.recipe("bookworm").unwrap().mirror,
            "http://mirror.example/d"
        );
        assert_eq!(catalog.default_name(), "web");
        let plain = Catalog::load(None).unwrap();
        let hash = |catalog: &Catalog, name| catalog.recipe(name).unwrap().hash("x86_64").unwrap();
        assert_ne!(hash(&catalog, "debian-12"), hash(&plain, "debian-12"));
        assert_eq!(hash(&catalog, "debian-13"), hash(&plain, "debian-13"));
    }

    #[test]
    fn berth_brings_cloud_images_and_a_user_adds_others() {
        let entry = "family = \"cloud\"\nos = \"Mine\"\nchecksums = \"SUMS\"\n\
                     [urls]\nx86_64 = [\"https://example.org/disk.img\"]\n";
        let newer = "extends = \"ubuntu-24.04\"\nos = \"Ubuntu 26.04\"\n";
        let (_folder, catalog) = user(&[("mine.toml", entry), ("ubuntu-26.04.toml", newer)]);
        let catalog = catalog.unwrap();
        for name in [
            "mine",
            "debian-13-cloud",
            "fedora-44",
            "rocky-9",
            "ubuntu-26.04",
        ] {
            let image = catalog.cloud_image(name).unwrap();
            assert!(image.urls.contains_key("x86_64"), "{name}");
            assert!(catalog.recipe(name).is_none() && catalog.names().any(|n| n == name));
        }
        assert_eq!(
            catalog.cloud_image("amazonlinux-2023").unwrap().user,
            "ec2-user"
        );
        assert!(
            !catalog
                .cloud_image("ubuntu-26.04")
                .unwrap()
                .key_file
                .is_empty()
        );
        for image in catalog.cloud_images() {
            let urls = image.urls.values().flatten();
            assert!(
                urls.clone().all(|url| url.starts_with("https://")),
                "{}",
                image.name
            );
        }
    }

    #[test]
    fn an_entry_that_nothing_would_vouch_for_is_refused() {
        for line in [
            "signature = \"SUMS.gpg\"",
            "signature = \"SUMS.gpg\"\nkey = \"7DB87C81\"\nkeyring = \"ubuntu-cloudimage.gpg\"",
            "signature = \"SUMS.gpg\"\nkey = \"D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81\"\nkeyring = \"none.gpg\"",
            "signature = \"SUMS.gpg\"\nkey = \"D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81\"\nkeyring = \"../x\"",
            "user = \"-root\"",
            "user = \"a b\"",
            "checksum = \"SUMS\"",
        ] {
            let text = format!(
                "family = \"cloud\"\nos = \"Mine\"\nchecksums = \"SUMS\"\n{line}\n\
                 [urls]\nx86_64 = [\"https://example.org/disk.img\"]\n"
            );
            assert!(complaint(&[("x.toml", &text)]).contains("x.toml"), "{line}");
        }
        for url in [
            "ftp://example.org/x",
            "https://example.org/*/x",
            "/etc/passwd",
        ] {
            let text = format!(
                "family = \"cloud\"\nos = \"Mine\"\nchecksums = \"SUMS\"\n[urls]\nx86_64 = [\"{url}\"]\n"
            );
            assert!(complaint(&[("x.toml", &text)]).contains(url), "{url}");
        }
    }

    #[test]
    fn a_users_file_is_found_beside_the_recipe_and_changes_its_hash() {
        let recipe = "extends = \"debian-13\"\n[[files]]\npath = \"/etc/x\"\nsource = \"x.conf\"\n";
        let hash = |text| {
            let (_folder, catalog) = user(&[("x.toml", recipe), ("files/x.conf", text)]);
            catalog
                .unwrap()
                .recipe("x")
                .unwrap()
                .hash("x86_64")
                .unwrap()
        };
        assert_ne!(hash("one"), hash("two"));
    }

    #[test]
    fn a_wrong_file_is_named() {
        assert!(complaint(&[("a.toml", "suite = ")]).contains("a.toml"));
        let unknown = complaint(&[("b.toml", "extends = \"debian-13\"\npakages = []\n")]);
        assert!(
            unknown.contains("b.toml") && unknown.contains("pakages"),
            "{unknown}"
        );
        let base = complaint(&[("c.toml", "extends = \"debian-99\"")]);
        assert!(
            base.contains("c.toml") && base.contains("debian-99"),
            "{base}"
        );
        let circle = complaint(&[("d.toml", "extends = \"e\""), ("e.toml", "extends = \"d\"")]);
        assert!(circle.contains("extends itself"), "{circle}");
        assert!(complaint(&[("UPPER.toml", "")]).contains("UPPER.toml"));
        assert!(complaint(&[("catalog.toml", "default = \"nope\"")]).contains("nope"));
    }

    #[test]
    fn a_recipe_cannot_write_outside_the_image() {
        for line in [
            "remove = [\"../x\"]",
            "remove = [\"/etc/x\"]",
            "remove = [\"x; rm -rf y\"]",
            "[[files]]\npath = \"/etc/../../x\"\ncontent = \"\"",
            "[[files]]\npath = \"etc/x\"\ncontent = \"\"",
            "[[files]]\npath = \"/etc/x\"",
            "[[files]]\npath = \"/etc/x\"\nsource = \"../secret\"",
            "mask = [\"../../x.service\"]",
            "packages = [\"--option\", \"a b\"]",
        ] {
            let text = format!("extends = \"debian-13\"\n{line}\n");
            assert!(user(&[("x.toml", &text)]).1.is_err(), "{line}");
        }
    }
}
