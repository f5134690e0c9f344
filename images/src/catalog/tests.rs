//! Catalogs of what berth brings and of what a user adds.

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
