use super::*;

async fn image(house: &House, name: &str) -> Image {
    house
        .store()
        .ensure(&house.catalog, &named(name), &Silent)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_disk_is_converted_once_and_goes_with_its_image() {
    let house = House::new(Fake::default());
    let image = image(&house, "debian-13").await;
    let calls = (0..10).map(|_| async {
        // A store of its own, as another process would have.
        let store = house.store();
        store.disk_as(&image, DiskFormat::Raw, &Silent).await
    });
    for path in futures_util::future::join_all(calls).await {
        assert_eq!(path.unwrap(), image.folder().join("disk.raw"));
    }
    assert_eq!(house.builder.conversions.load(Ordering::SeqCst), 1);
    assert_eq!(house.leftovers(), 0);

    let boot = house
        .store()
        .boot_image(&image, DiskFormat::Raw, &Silent)
        .await
        .unwrap();
    assert_eq!(
        fs::read_to_string(&boot.disk).unwrap(),
        "raw of disk debian-13 0"
    );
    assert_eq!(
        (boot.format, boot.virtual_size),
        (DiskFormat::Raw, 20 << 30)
    );
    assert!(boot.kernel.is_some() && boot.digest == image.digest.to_string());
    let mode = fs::metadata(&boot.disk).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o444);

    let store = house.store();
    let again = store.list().unwrap().remove(0);
    assert_eq!(again.digest, image.digest);
    assert!(again.size_on_disk > image.size_on_disk);
    store.verify(&image.digest).unwrap();
    store.remove(&named("debian-13"), &unused).unwrap();
    assert!(!boot.disk.exists());
    let gone = store.disk_as(&image, DiskFormat::Raw, &Silent).await;
    assert!(gone.is_err() && !image.folder().exists());
}

#[tokio::test]
async fn the_stored_format_needs_no_conversion() {
    let house = House::new(Fake::default());
    let image = image(&house, "debian-13").await;
    let disk = house
        .store()
        .disk_as(&image, DiskFormat::Qcow2, &Silent)
        .await
        .unwrap();
    assert_eq!(disk, image.boot_image().unwrap().disk);
    assert_eq!(house.builder.conversions.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_failed_or_cancelled_conversion_leaves_nothing() {
    let house = House::new(Fake::default());
    let image = image(&house, "debian-13").await;
    let raw = image.boot_image_as(DiskFormat::Raw).unwrap().disk;
    let store = house.store();
    let call = store.disk_as(&image, DiskFormat::Raw, &Silent);
    let cancelled = tokio::time::timeout(Duration::from_millis(20), call).await;
    assert!(cancelled.is_err() && !raw.exists());

    let failing = Fake {
        fails: true,
        ..Fake::default()
    };
    let failing = Store::with_builder(house.folder.path(), Arc::new(failing)).unwrap();
    let failed = failing.disk_as(&image, DiskFormat::Raw, &Silent).await;
    assert!(failed.is_err() && !raw.exists());
    assert_eq!(house.leftovers(), 0);
    store
        .disk_as(&image, DiskFormat::Raw, &Silent)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_kernel_is_an_image_that_no_machine_is_made_of() {
    let house = House::new(Fake::default());
    let image = image(&house, "uml-kernel").await;
    let store = house.store();
    assert_eq!(image.virtual_size, 0);
    assert_eq!(image.kernel.as_ref().unwrap().limits, ["one CPU"]);
    assert_eq!(image.driver_kernel().unwrap().folder, image.folder());
    let mode = |name: &str| {
        let metadata = fs::metadata(image.folder().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("linux"), mode("modules.img")), (0o555, 0o444));
    store.verify(&image.digest).unwrap();

    let refused = image.boot_image().unwrap_err().to_string();
    assert_eq!(
        refused,
        "the image uml-kernel is a kernel, not a guest's disk"
    );
    let raw = store.disk_as(&image, DiskFormat::Raw, &Silent).await;
    assert!(matches!(raw, Err(Error::WrongKind { .. })));
    let shown = serde_json::to_value(&store.list().unwrap()[0]).unwrap();
    assert_eq!(shown["kernel"]["lacks"][0], "smp");

    store.remove(&named("uml-kernel"), &unused).unwrap();
    assert!(store.list().unwrap().is_empty());
}

#[tokio::test]
async fn a_disk_is_no_kernel() {
    let house = House::new(Fake::default());
    let image = image(&house, "debian-13").await;
    let refused = image.driver_kernel().unwrap_err().to_string();
    assert_eq!(
        refused,
        "the image debian-13 is a guest's disk, not a kernel"
    );
    let shown = serde_json::to_value(&image).unwrap();
    assert!(shown.get("kernel").is_none());
}
