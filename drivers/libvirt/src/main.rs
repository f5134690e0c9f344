//! `berth-driver-libvirt`: berth starts it, and speaks with it over standard input and output.

use std::process::ExitCode;

use berth_driver_api::plugin;
use berth_driver_libvirt::Libvirt;

/// Calls of libvirt's wait for its daemon, each in a thread. More at once than this wait in line.
const MOST_THREADS: usize = 64;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(MOST_THREADS)
        .enable_all()
        .build();
    let served = runtime.and_then(|runtime| {
        let served = runtime.block_on(plugin::serve(Libvirt::new()));
        // A call that still waits for a daemon is not waited for.
        runtime.shutdown_background();
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
