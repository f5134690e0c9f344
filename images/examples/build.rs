//! Builds an image by hand: `cargo run -p berth-images --example build -- STORE REFERENCE`.

use berth_driver_api::Progress;
use berth_images::{Catalog, Store};

struct Lines(std::time::Instant);

impl Progress for Lines {
    fn phase(&self, title: &str) {
        eprintln!("{:6.1} {title}", self.0.elapsed().as_secs_f32());
    }
    fn bytes(&self, _done: u64, _total: Option<u64>) {}
    fn note(&self, line: &str) {
        eprintln!("{line}");
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(reference)) = (arguments.next(), arguments.next()) else {
        return Err("usage: build STORE REFERENCE".into());
    };
    let store = Store::open(folder.as_ref())?;
    let catalog = Catalog::load(None)?;
    let reference = reference.parse()?;
    let lines = Lines(std::time::Instant::now());
    let image = tokio::select! {
        image = store.ensure(&catalog, &reference, &lines) => image?,
        _ = tokio::signal::ctrl_c() => return Err("interrupted".into()),
    };
    println!("{image:#?}");
    Ok(())
}
