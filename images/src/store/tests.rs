use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use berth_driver_api::{DiskFormat, Silent};

use super::*;
use crate::build::direct::UNPACKED;
use crate::image::{DISK, INITRD};
use crate::{Built, Family, KernelInfo, Made};

/// Disks in other formats, and kernels.
mod forms;

/// Makes tiny images, and counts.
#[derive(Default)]
struct Fake {
    builds: AtomicUsize,
    conversions: AtomicUsize,
    fails: bool,
    hangs: bool,
}

#[async_trait]
impl Builder for Fake {
    async fn build(
        &self,
        recipe: &Recipe,
        _arch: &str,
        work: &Path,
        out: &Path,
        _progress: &dyn Progress,
    ) -> Result<Built> {
        let count = self.builds.fetch_add(1, Ordering::SeqCst);
        fs::write(work.join("scratch"), "x").unwrap();
        if recipe.family == Family::Uml {
            return Ok(kernel(out));
        }
        fs::write(out.join(DISK), format!("disk {} {count}", recipe.name)).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        if self.hangs {
            std::future::pending::<()>().await;
        }
        if self.fails {
            return Err(Error::tool("mmdebstrap", "no"));
        }
        fs::write(out.join(UNPACKED), "kernel").unwrap();
        fs::write(out.join(INITRD), "initrd").unwrap();
        Ok(Built {
            os: "Debian 13.1".into(),
            made: Made::Disk {
                virtual_size: 20 << 30,
                cmdline: "rw".into(),
                engine_version: Some("26.1.5".into()),
            },
        })
    }

    async fn convert(&self, from: (&Path, DiskFormat), to: (&Path, DiskFormat)) -> Result<()> {
        self.conversions.fetch_add(1, Ordering::SeqCst);
        let content = fs::read_to_string(from.0).unwrap();
        fs::write(to.0, format!("{} of {content}", to.1.name())).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        if self.fails {
            return Err(Error::tool("qemu-img", "no"));
        }
        Ok(())
    }
}

fn kernel(out: &Path) -> Built {
    let linux = out.join("linux");
    fs::write(&linux, "program").unwrap();
    fs::set_permissions(&linux, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(out.join("modules.img"), "modules").unwrap();
    Built {
        os: "User Mode Linux 7.2.7".into(),
        made: Made::Kernel(KernelInfo {
            version: "7.2.7".into(),
            has: vec!["vxlan".into()],
            lacks: vec!["smp".into()],
            limits: vec!["one CPU".into()],
        }),
    }
}

struct House {
    folder: tempfile::TempDir,
    builder: Arc<Fake>,
    catalog: Catalog,
}

impl House {
    fn new(builder: Fake) -> Self {
        House {
            folder: tempfile::tempdir().unwrap(),
            builder: Arc::new(builder),
            catalog: Catalog::load(None).unwrap(),
        }
    }

    fn store(&self) -> Store {
        Store::with_builder(self.folder.path(), self.builder.clone()).unwrap()
    }

    fn builds(&self) -> usize {
        self.builder.builds.load(Ordering::SeqCst)
    }

    fn leftovers(&self) -> usize {
        let entries = fs::read_dir(self.folder.path().join("tmp")).unwrap();
        entries
            .filter(|e| e.as_ref().unwrap().path().is_dir())
            .count()
    }
}

fn named(name: &str) -> Reference {
    name.parse().unwrap()
}

fn unused(_: &Digest) -> Vec<String> {
    Vec::new()
}

#[tokio::test]
async fn twenty_callers_share_one_build() {
    let house = House::new(Fake::default());
    let calls = (0..20).map(|_| async {
        // A store of its own, as another process would have.
        let image = house
            .store()
            .ensure(&house.catalog, &named("debian-13"), &Silent)
            .await;
        image.unwrap().digest
    });
    let digests = futures_util::future::join_all(calls).await;
    assert_eq!(house.builds(), 1);
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    assert_eq!(house.leftovers(), 0);
}

#[tokio::test]
async fn a_built_image_is_found_whole_and_read_only() {
    let house = House::new(Fake::default());
    let store = house.store();
    let to_build = |name: &str| {
        let recipe = store.to_build(&house.catalog, &named(name)).unwrap();
        recipe.map(|recipe| recipe.name.as_str())
    };
    assert_eq!(to_build("debian-13-docker"), Some("debian-13-docker"));
    assert_eq!(to_build("debian-13-cloud"), None);
    let image = store
        .ensure(&house.catalog, &named("debian-13-docker"), &Silent)
        .await
        .unwrap();
    assert_eq!(image.reference, "debian-13-docker");
    assert_eq!(to_build("debian-13-docker"), None);
    assert_eq!(
        image.engine.as_ref().unwrap().version.as_deref(),
        Some("26.1.5")
    );
    let boot = image.boot_image().unwrap();
    assert!(boot.kernel.unwrap().is_file() && boot.initrd.unwrap().is_file());
    assert!(boot.disk.is_absolute() && boot.digest.starts_with("sha256:"));
    assert!(fs::metadata(&boot.disk).unwrap().permissions().readonly());
    let by_digest = Reference::Digest(image.digest.clone());
    assert_eq!(store.get(&by_digest).unwrap().unwrap().digest, image.digest);
    store.verify(&image.digest).unwrap();
}

#[tokio::test]
async fn an_alias_and_its_recipe_are_one_image() {
    let house = House::new(Fake::default());
    let store = house.store();
    store
        .ensure(&house.catalog, &named("trixie"), &Silent)
        .await
        .unwrap();
    store
        .ensure(&house.catalog, &named("debian-13"), &Silent)
        .await
        .unwrap();
    assert_eq!(house.builds(), 1);
    assert_eq!(store.list().unwrap()[0].names, ["debian-13", "trixie"]);
}

#[tokio::test]
async fn a_changed_recipe_is_built_anew_and_a_restored_one_is_found() {
    let house = House::new(Fake::default());
    let recipes = tempfile::tempdir().unwrap();
    let changed = "extends = \"debian\"\nsuite = \"trixie\"\npackages = [\"vim\"]\n";
    fs::write(recipes.path().join("debian-13.toml"), changed).unwrap();
    let other = Catalog::load(Some(recipes.path())).unwrap();
    let store = house.store();
    let first = store
        .ensure(&house.catalog, &named("debian-13"), &Silent)
        .await
        .unwrap();
    let second = store
        .ensure(&other, &named("debian-13"), &Silent)
        .await
        .unwrap();
    assert_ne!(first.digest, second.digest);
    let third = store
        .ensure(&house.catalog, &named("debian-13"), &Silent)
        .await
        .unwrap();
    assert_eq!((third.digest, house.builds()), (first.digest, 2));
}

#[tokio::test]
async fn a_failed_build_leaves_nothing() {
    let house = House::new(Fake {
        fails: true,
        ..Fake::default()
    });
    let store = house.store();
    assert!(
        store
            .ensure(&house.catalog, &named("debian-13"), &Silent)
            .await
            .is_err()
    );
    assert!(store.list().unwrap().is_empty() && store.get(&named("debian-13")).unwrap().is_none());
    assert_eq!(house.leftovers(), 0);
}

#[tokio::test]
async fn a_cancelled_build_is_never_listed_and_the_next_caller_can_build() {
    let house = House::new(Fake {
        hangs: true,
        ..Fake::default()
    });
    let store = house.store();
    let reference = named("debian-13");
    let call = store.ensure(&house.catalog, &reference, &Silent);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), call)
            .await
            .is_err()
    );
    assert_eq!((house.builds(), house.leftovers()), (1, 0));
    assert!(store.list().unwrap().is_empty());

    let next = Store::with_builder(house.folder.path(), Arc::new(Fake::default())).unwrap();
    next.ensure(&house.catalog, &reference, &Silent)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_dead_builder_left_is_cleared_by_the_next() {
    let house = House::new(Fake::default());
    let store = house.store();
    let dead = house.folder.path().join("tmp/bdead");
    fs::create_dir_all(dead.join("out")).unwrap();
    fs::write(dead.join("out/disk.qcow2"), "half").unwrap();
    fs::set_permissions(dead.join("out"), fs::Permissions::from_mode(0o500)).unwrap();
    assert!(store.list().unwrap().is_empty());
    store
        .ensure(&house.catalog, &named("debian-13"), &Silent)
        .await
        .unwrap();
    assert!(!dead.exists());
}

#[tokio::test]
async fn an_image_in_use_stays_until_its_machines_are_gone() {
    let house = House::new(Fake::default());
    let store = house.store();
    let image = store
        .ensure(&house.catalog, &named("debian-13"), &Silent)
        .await
        .unwrap();
    let used = |_: &Digest| vec!["web".to_owned(), "db".to_owned()];
    let refused = store
        .remove(&named("debian-13"), &used)
        .unwrap_err()
        .to_string();
    assert_eq!(refused, "the image debian-13 is in use by web, db");
    assert!(store.get(&named("debian-13")).unwrap().is_some());
    store.remove(&named("debian-13"), &unused).unwrap();
    assert!(!image.folder().exists() && store.list().unwrap().is_empty());
}

#[tokio::test]
async fn a_second_name_can_go_while_machines_use_the_first() {
    let house = House::new(Fake::default());
    let store = house.store();
    store
        .ensure(&house.catalog, &named("trixie"), &Silent)
        .await
        .unwrap();
    let used = |_: &Digest| vec!["web".to_owned()];
    store.remove(&named("trixie"), &used).unwrap();
    assert!(store.get(&named("debian-13")).unwrap().is_some());
}

#[tokio::test]
async fn an_unknown_image_names_the_nearest() {
    let house = House::new(Fake::default());
    let error = house
        .store()
        .ensure(&house.catalog, &named("debain-13"), &Silent)
        .await;
    let Err(Error::UnknownImage { nearest, known, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(nearest[0], "debian-13");
    assert!(known.contains(&"debian-12".to_owned()));
    assert_eq!(house.builds(), 0);
}

#[tokio::test]
async fn damage_is_found() {
    let house = House::new(Fake::default());
    let store = house.store();
    let image = store
        .ensure(&house.catalog, &named("debian-13"), &Silent)
        .await
        .unwrap();
    let disk = image.boot_image().unwrap().disk;
    fs::set_permissions(&disk, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&disk, "other").unwrap();
    let error = store.verify(&image.digest).unwrap_err().to_string();
    assert!(error.contains("disk.qcow2"), "{error}");
    fs::remove_file(&disk).unwrap();
    assert!(store.list().unwrap().is_empty());
}

#[tokio::test]
async fn importing_keeps_one_copy_and_refuses_text() {
    let house = House::new(Fake::default());
    let store = house.store();
    let text = house.folder.path().join("notes.qcow2");
    fs::write(&text, "not a disk").unwrap();
    let refused = store.import(&text, None, None, &Silent).await;
    assert!(matches!(refused, Err(Error::NotADisk { path, .. }) if path == text));
    assert!(store.list().unwrap().is_empty());
    assert_eq!(house.leftovers(), 0);
}
