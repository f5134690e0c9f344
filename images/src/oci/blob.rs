//! Blobs that are large: sent in one piece, fetched on from where an earlier call broke off.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE,
};
use reqwest::{Body, Response, StatusCode, Url};
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::sync::Notify;
use tokio_util::io::ReaderStream;

use super::manifest::Blob;
use super::registry::Registry;
use super::{Failed, Problem};
use crate::fetch::{IDLE, Part, is_safe, range_of, words};
use crate::{Digest, Error};

/// Once it has all of a blob, a registry may have to bring it elsewhere before it answers.
const COMMIT: Duration = Duration::from_secs(600);

/// How often in a row a connection may break before anything came over it.
const MOST_FAILURES: u32 = 4;

/// How much of a body has left.
#[derive(Default)]
struct Sent {
    bytes: AtomicU64,
    more: Notify,
}

impl Registry {
    /// Sends the file at `path`, which is this blob. `far` is told how much has left, in bytes.
    pub(super) async fn upload(
        &self,
        blob: &Blob,
        path: &Path,
        far: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Failed> {
        self.persist(async || {
            let place = self.begin_upload().await?;
            self.send_all(blob, path, place, far).await
        })
        .await
    }

    /// Where the registry wants the blob.
    async fn begin_upload(&self) -> Result<Url, Failed> {
        let url = self.url("blobs/uploads/")?;
        let begin = || Ok(self.http.post(url.clone()).header(CONTENT_LENGTH, 0));
        let response = self.send(&url, begin).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(self.refused(response, 0).await);
        }
        let wrong = |what: &str| Problem::Answer(format!("has blobs sent to {what}"));
        let place = response.headers().get(LOCATION);
        let place = place
            .and_then(|place| place.to_str().ok())
            .unwrap_or_default();
        let place = response
            .url()
            .join(place)
            .map_err(|_| wrong("no address"))?;
        if is_safe(&self.base) && !is_safe(&place) {
            return Err(wrong("an address of plain HTTP").into());
        }
        Ok(place)
    }

    async fn send_all(
        &self,
        blob: &Blob,
        path: &Path,
        mut place: Url,
        far: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Failed> {
        place
            .query_pairs_mut()
            .append_pair("digest", &blob.digest.to_string());
        let sent = Arc::new(Sent::default());
        let put = || {
            let file = File::open(path).map_err(Error::io(path))?;
            let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 256 << 10);
            let count = sent.clone();
            count.bytes.store(0, Ordering::Relaxed);
            let body = stream.inspect_ok(move |piece| {
                count.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
                count.more.notify_one();
            });
            Ok(self
                .patient
                .put(place.clone())
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, blob.size)
                .body(Body::wrap_stream(body)))
        };
        let mut sending = std::pin::pin!(self.send(&place, put));
        let response = loop {
            let gone = sent.bytes.load(Ordering::Relaxed);
            far(gone);
            let limit = if gone < blob.size { IDLE } else { COMMIT };
            tokio::select! {
                response = &mut sending => break response?,
                () = sent.more.notified() => {}
                () = tokio::time::sleep(limit) => {
                    let words = format!("it took nothing for {} s", limit.as_secs());
                    return Err(Problem::Unreached(words).into());
                }
            }
        };
        match response.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
            // It forgot the upload that it had begun.
            StatusCode::NOT_FOUND => Err(Problem::Busy("404 to the blob's upload".into()).into()),
            _ => Err(self.refused(response, blob.size).await),
        }
    }

    /// Brings a blob into `part`, whole and with the digest that it has to have. `far` is told of every piece, in bytes.
    pub(super) async fn fetch(
        &self,
        blob: &Blob,
        part: &Part,
        far: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Failed> {
        let mut failures = 0;
        let mut continued = part.length()? > 0;
        far(part.length()?);
        loop {
            let before = part.length()?;
            let outcome = match before == blob.size {
                true => Ok(()),
                false => self.fetch_rest(blob, part, far).await,
            };
            match outcome {
                Ok(()) => {
                    let found = digest_of(part.path()).await?;
                    if found == blob.digest {
                        return Ok(());
                    }
                    part.forget()?;
                    if !continued {
                        let words = format!(
                            "the registry sends another file: it has {found}, not {}",
                            blob.digest
                        );
                        return Err(Problem::Wrong(words).into());
                    }
                    // What an earlier call left may be what is wrong.
                    continued = false;
                }
                Err(Failed::There(problem)) if problem.is_passing() => {
                    failures = match part.length()? > before {
                        true => 0,
                        false => failures + 1,
                    };
                    if failures == MOST_FAILURES {
                        return Err(problem.into());
                    }
                    continued = part.length()? > 0;
                    tracing::debug!("{}: {problem}; trying again", blob.digest);
                    tokio::time::sleep(Duration::from_millis(250 << failures)).await;
                }
                Err(other) => return Err(other),
            }
        }
    }

    async fn fetch_rest(
        &self,
        blob: &Blob,
        part: &Part,
        far: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Failed> {
        if part.length()? > blob.size {
            part.forget()?;
        }
        let have = part.length()?;
        let url = self.url(&format!("blobs/{}", blob.digest))?;
        let response = self
            .send(&url, || {
                // A blob's bytes are what its digest is of.
                let request = self
                    .http
                    .get(url.clone())
                    .header(ACCEPT_ENCODING, "identity");
                Ok(match have {
                    0 => request,
                    // A blob never changes: there is nothing for If-Range to tell.
                    _ => request.header(RANGE, format!("bytes={have}-")),
                })
            })
            .await?;
        let begin = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if begins_at(&response, have) => have,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
                part.forget()?;
                return Err(Problem::Busy(
                    "with another part of a blob than it was asked for".into(),
                )
                .into());
            }
            _ => return Err(self.refused(response, 0).await),
        };
        receive(response, blob, part, begin, far).await
    }
}

fn begins_at(response: &Response, have: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE);
    let range = range
        .and_then(|range| range.to_str().ok())
        .and_then(range_of);
    range.is_some_and(|(begin, _)| begin == have)
}

async fn receive(
    response: Response,
    blob: &Blob,
    part: &Part,
    begin: u64,
    far: &(dyn Fn(u64) + Sync),
) -> Result<(), Failed> {
    let mut file = BufWriter::with_capacity(256 << 10, part.append(begin).await?);
    let mut done = begin;
    let mut outcome = Ok(());
    let mut body = response.bytes_stream();
    while let Some(piece) = body.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                outcome = Err(Problem::Unreached(words(&error)));
                break;
            }
        };
        done += piece.len() as u64;
        if done > blob.size {
            part.forget()?;
            let words = format!(
                "the registry sends more than the {} bytes that the file has",
                blob.size
            );
            return Err(Problem::Wrong(words).into());
        }
        file.write_all(&piece)
            .await
            .map_err(Error::io(part.path()))?;
        far(piece.len() as u64);
    }
    // What has come stays, whatever comes next.
    file.flush().await.map_err(Error::io(part.path()))?;
    outcome?;
    match done == blob.size {
        true => Ok(()),
        false => {
            let words = format!("it ended after {done} of {} bytes", blob.size);
            Err(Problem::Unreached(words).into())
        }
    }
}

async fn digest_of(path: &Path) -> Result<Digest, Error> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || Digest::of_file(&path))
        .await
        .map_err(|error| Error::tool("sha256", error))?
}
