//! Downloads over HTTP: bounded in size, time and redirects, hashed as they come, and continued where they broke off.

use std::path::Path;
use std::time::Duration;

use berth_driver_api::Progress;
use futures_util::StreamExt;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, IF_RANGE, RANGE};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Response, StatusCode, Url};
use tokio::io::{AsyncWriteExt, BufWriter};

use crate::checksum::{Algorithm, Checksum, Hasher};
use crate::{Error, Result};

mod address;
mod part;

pub use address::is_url;
pub(crate) use address::{is_safe, parse, shown};
pub(crate) use part::{Part, clear_old, discard, old};

/// Checksum files and signatures are a few kilobytes.
const LARGEST_TEXT: usize = 1 << 20;

/// No distributor's disk comes near this size (bytes), packed as they are.
const LARGEST_FILE: u64 = 64 << 30;

/// A mirror or two, and a move to HTTPS.
const MOST_REDIRECTS: usize = 8;

const CONNECT: Duration = Duration::from_secs(20);

/// How long a server may send nothing.
pub(crate) const IDLE: Duration = Duration::from_secs(45);

/// A text, from its request to its end.
const TEXT: Duration = Duration::from_secs(120);

/// A disk, through all interruptions.
const FILE: Duration = Duration::from_secs(6 * 60 * 60);

/// How often in a row a connection may break before anything came over it.
const MOST_FAILURES: u32 = 4;

/// A client that follows no redirect from where nobody can change what comes to where anybody on the way can.
pub(crate) struct Client {
    http: reqwest::Client,
}

/// What speaks HTTP: `idle` is how long a server may send nothing, `direct` without the proxy that the environment may
/// name.
pub(crate) fn http(idle: Option<Duration>, direct: bool) -> Result<reqwest::Client> {
    // Fails if there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .redirect(Policy::custom(redirect));
    if let Some(idle) = idle {
        builder = builder.read_timeout(idle);
    }
    if direct {
        builder = builder.no_proxy();
    }
    let built = builder.build();
    built.map_err(|error| failed("https", words(&error)))
}

/// How an attempt ended that did not bring the whole file.
enum Broken {
    /// What has come is kept, and another attempt may bring more.
    Passing(String),
    Final(Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Broken::Final(error)
    }
}

impl Client {
    pub(crate) fn new() -> Result<Self> {
        Client::with_patience(IDLE)
    }

    /// `idle` is how long a server may send nothing.
    fn with_patience(idle: Duration) -> Result<Self> {
        Ok(Client {
            http: http(Some(idle), false)?,
        })
    }

    /// A small file, and the address that it came from in the end.
    pub(crate) async fn text(&self, url: &Url) -> Result<(Vec<u8>, Url)> {
        let work = async {
            let response = self.http.get(url.clone()).send().await;
            let response = response.map_err(|error| failed(url, words(&error)))?;
            if response.status() != StatusCode::OK {
                return Err(failed(url, answer(response.status())));
            }
            let came_from = response.url().clone();
            let mut text = Vec::new();
            let mut body = response.bytes_stream();
            while let Some(bytes) = body.next().await {
                text.extend_from_slice(&bytes.map_err(|error| failed(url, words(&error)))?);
                if text.len() > LARGEST_TEXT {
                    return Err(failed(
                        url,
                        "it is longer than 1 MiB, which no such file is",
                    ));
                }
            }
            Ok((text, came_from))
        };
        tokio::time::timeout(TEXT, work)
            .await
            .unwrap_or_else(|_| Err(failed(url, "it took longer than two minutes")))
    }

    /// Brings the file at `url` into `part`, from where an earlier call broke off, and returns its checksum.
    pub(crate) async fn file(
        &self,
        url: &Url,
        part: &mut Part,
        algorithm: Algorithm,
        progress: &dyn Progress,
    ) -> Result<Checksum> {
        tokio::time::timeout(FILE, self.persist(url, part, algorithm, progress))
            .await
            .unwrap_or_else(|_| Err(failed(url, "it took longer than six hours")))
    }

    async fn persist(
        &self,
        url: &Url,
        part: &mut Part,
        algorithm: Algorithm,
        progress: &dyn Progress,
    ) -> Result<Checksum> {
        let mut failures = 0;
        loop {
            let before = part.length()?;
            match self.attempt(url, part, algorithm, progress).await {
                Ok(checksum) => return Ok(checksum),
                Err(Broken::Final(error)) => return Err(error),
                Err(Broken::Passing(why)) => {
                    failures = if part.length()? > before {
                        0
                    } else {
                        failures + 1
                    };
                    if failures == MOST_FAILURES {
                        return Err(failed(url, why));
                    }
                    tracing::debug!("{}: {why}; trying again", shown(url));
                    tokio::time::sleep(Duration::from_millis(250 << failures)).await;
                }
            }
        }
    }

    async fn attempt(
        &self,
        url: &Url,
        part: &mut Part,
        algorithm: Algorithm,
        progress: &dyn Progress,
    ) -> Result<Checksum, Broken> {
        let mut request = self
            .http
            .get(url.clone())
            // The file's bytes are what the checksum is of.
            .header(ACCEPT_ENCODING, "identity");
        let have = match part.version() {
            Some(version) => {
                let have = part.length()?;
                request = request
                    .header(RANGE, format!("bytes={have}-"))
                    .header(IF_RANGE, version);
                have
            }
            None => 0,
        };
        let response = request.send().await.map_err(|error| {
            match error.is_redirect() || error.is_builder() {
                true => Broken::Final(failed(url, words(&error))),
                false => Broken::Passing(words(&error)),
            }
        })?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && have > 0 {
            return match rest_of(&response) {
                // It was whole already when it broke off.
                Some(total) if total == have => {
                    Ok(hashed(Hasher::new(algorithm), part.path()).await?.finish())
                }
                _ => {
                    part.forget()?;
                    Err(Broken::Passing(answer(response.status())))
                }
            };
        }
        let (begin, total) = span(url, &response, have)?;
        if total > LARGEST_FILE {
            let detail = format!("it is {} GiB long, and berth takes 64", total >> 30);
            return Err(failed(url, detail).into());
        }
        let mut hasher = Hasher::new(algorithm);
        if begin == 0 {
            part.begin(&response)?;
        } else {
            hasher = hashed(hasher, part.path()).await?;
        }
        let file = part.append(begin).await?;
        receive(
            response,
            file,
            begin,
            total,
            &mut hasher,
            part.path(),
            progress,
        )
        .await?;
        Ok(hasher.finish())
    }
}

/// Where in the file the body begins, and how long the file is.
fn span(url: &Url, response: &Response, have: u64) -> Result<(u64, u64), Broken> {
    let status = response.status();
    match status {
        StatusCode::OK => match response.content_length() {
            Some(length) => Ok((0, length)),
            None => Err(failed(url, "the server does not say how long it is").into()),
        },
        StatusCode::PARTIAL_CONTENT if have > 0 => {
            let range = response.headers().get(CONTENT_RANGE);
            let range = range.and_then(|range| range.to_str().ok()).unwrap_or("");
            match range_of(range) {
                Some((begin, total)) if begin == have && total >= have => Ok((begin, total)),
                _ => Err(failed(url, format!("asked for the rest, it sends {range:?}")).into()),
            }
        }
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(Broken::Passing(answer(status)))
        }
        _ => Err(failed(url, answer(status)).into()),
    }
}

/// The file's length, where a server has nothing beyond what was asked for: `bytes */10`.
fn rest_of(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes */")?.parse().ok()
}

/// `bytes 5-9/10`: where it begins, and how long the whole is.
pub(crate) fn range_of(text: &str) -> Option<(u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

async fn receive(
    response: Response,
    file: tokio::fs::File,
    begin: u64,
    total: u64,
    hasher: &mut Hasher,
    path: &Path,
    progress: &dyn Progress,
) -> Result<(), Broken> {
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let mut done = begin;
    let mut broken = None;
    let response_url = response.url().clone();
    let mut body = response.bytes_stream();
    while let Some(bytes) = body.next().await {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                broken = Some(words(&error));
                break;
            }
        };
        done += bytes.len() as u64;
        if done > total {
            let detail = format!("it sends more than the {total} bytes that it spoke of");
            return Err(failed(response_url, detail).into());
        }
        hasher.update(&bytes);
        file.write_all(&bytes).await.map_err(Error::io(path))?;
        progress.bytes(done, Some(total));
    }
    // What has come stays, whatever comes next.
    file.flush().await.map_err(Error::io(path))?;
    match broken {
        Some(why) => Err(Broken::Passing(why)),
        None if done != total => Err(Broken::Passing(format!(
            "it ended after {done} of {total} bytes"
        ))),
        None => Ok(()),
    }
}

async fn hashed(mut hasher: Hasher, path: &Path) -> Result<Hasher> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || hasher.update_with(&path).map(|()| hasher))
        .await
        .map_err(|error| Error::tool("sha256", error))?
}

fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let from = attempt.previous().last();
    if attempt.previous().len() > MOST_REDIRECTS {
        return attempt.error(format!("it redirects more than {MOST_REDIRECTS} times"));
    }
    if from.is_some_and(is_safe) && !is_safe(attempt.url()) {
        return attempt.error("it redirects to plain HTTP");
    }
    attempt.follow()
}

fn answer(status: StatusCode) -> String {
    format!("the server answers {status}")
}

/// The innermost cause is what tells.
pub(crate) fn words(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match (error.is_timeout(), error.is_connect()) {
        (true, true) => format!("no connection within {} s", CONNECT.as_secs()),
        (true, false) => "the server was silent for too long".into(),
        (false, _) => cause.to_string(),
    }
}

fn failed(url: impl std::fmt::Display, detail: impl std::fmt::Display) -> Error {
    let url = url.to_string();
    Error::Download {
        url: url.split(['?', '#']).next().unwrap_or_default().to_owned(),
        detail: detail.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_falls_silent_is_left() {
        use berth_driver_api::Silent;
        use tokio::io::AsyncReadExt;

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
                stream.write_all(head).await.unwrap();
                held.push(stream);
            }
        });
        let store = tempfile::tempdir().unwrap();
        for folder in ["tmp", "locks"] {
            std::fs::create_dir(store.path().join(folder)).unwrap();
        }
        let url = parse(&format!("http://{address}/disk.img")).unwrap();
        let mut part = Part::of(store.path(), &url).await.unwrap();
        let client = Client::with_patience(Duration::from_millis(50)).unwrap();
        let outcome = client
            .file(&url, &mut part, Algorithm::Sha256, &Silent)
            .await;
        let told = outcome.unwrap_err().to_string();
        assert!(told.contains("silent"), "{told}");
        assert_eq!(std::fs::read(part.path()).unwrap(), b"only this");
        server.abort();
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(range_of("bytes 5-9/10"), Some((5, 10)));
        for bad in ["", "bytes */10", "bytes 5-9/*", "5-9/10", "bytes 5/10"] {
            assert_eq!(range_of(bad), None, "{bad}");
        }
    }
}
