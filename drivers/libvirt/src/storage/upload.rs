//! Filling volumes by libvirt's stream.

use std::io::Read;

use berth_driver_api::{Error, Progress, Result};
use virt::storage_vol::StorageVol;
use virt::stream::Stream;

use super::Storage;
use crate::failure::failed;
use crate::hypervisor::{Hypervisor, blocking};
use crate::volume;

/// What is sent to a hypervisor at once (bytes).
const PIECE: usize = 1 << 20;

impl Storage<'_> {
    /// Makes the volume anew and fills it.
    pub(super) async fn upload(
        &self,
        name: &str,
        mut source: impl Read,
        length: u64,
        progress: &dyn Progress,
    ) -> Result<String> {
        let what = format!("uploading the volume {name}");
        self.delete(name).await?;
        let path = self.make(&volume::plain(name, length, self.owner))?;
        let volume = blocking(|| self.find(name))?
            .ok_or_else(|| Error::failed(&what, "it was removed meanwhile"))?;
        let mut upload = Upload::begin(self.hypervisor, &volume, length).map_err(failed(&what))?;
        let mut piece = vec![0; PIECE];
        let mut done = 0;
        loop {
            let count = blocking(|| source.read(&mut piece))
                .map_err(|error| Error::failed(&what, error))?;
            if count == 0 {
                break;
            }
            blocking(|| upload.send(&piece[..count])).map_err(failed(&what))?;
            done += count as u64;
            progress.bytes(done, Some(length));
            // Here the upload can be given up.
            tokio::task::yield_now().await;
        }
        blocking(|| upload.finish()).map_err(failed(&what))?;
        Ok(path)
    }
}

/// An upload under way; dropped, it is broken off.
struct Upload(Option<Stream>);

impl Upload {
    fn begin(
        hypervisor: &Hypervisor,
        volume: &StorageVol,
        length: u64,
    ) -> Result<Upload, virt::error::Error> {
        blocking(|| {
            let stream = Stream::new(&hypervisor.connection, 0)?;
            volume.upload(&stream, 0, length, 0)?;
            Ok(Upload(Some(stream)))
        })
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), virt::error::Error> {
        while let (Some(stream), false) = (&self.0, bytes.is_empty()) {
            let sent = stream.send(bytes)?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), virt::error::Error> {
        self.0.take().map_or(Ok(()), Stream::finish)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            // The volume is without its mark of completeness, and is made anew next time.
            let _ = blocking(|| stream.abort());
        }
    }
}
