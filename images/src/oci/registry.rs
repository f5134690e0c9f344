//! One repository of a registry (OCI Distribution Specification 1.1): manifests, and blobs that are small.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::address::Version;
use super::auth::{Challenge, answer};
use super::body::bounded;
use super::credentials::{self, Credentials};
use super::manifest::ACCEPTED;
use super::{Access, Address, Failed, Problem, plain};
use crate::fetch::{self, IDLE, is_safe, words};
use crate::{Digest, Result};

/// What the specification lets clients expect of registries, and registries of clients.
const LARGEST_MANIFEST: usize = 4 << 20;

/// A manifest or a config, from its request to its end.
const TEXT: Duration = Duration::from_secs(120);

/// How often something is tried that may pass.
const TRIES: u32 = 3;

pub(super) struct Registry {
    pub(super) http: reqwest::Client,
    /// For what takes the registry long to answer: whoever uses it has a limit of their own.
    pub(super) patient: reqwest::Client,
    pub(super) base: Url,
    address: Address,
    logins: Vec<PathBuf>,
    /// `pull`, or `pull,push`.
    actions: &'static str,
    credentials: OnceCell<Option<Credentials>>,
    authorization: Mutex<Option<HeaderValue>>,
}

/// What a registry says of what it refuses.
#[derive(Deserialize)]
struct Refusal {
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Registry {
    /// The registry of `address`. Nothing is sent yet.
    pub(super) fn new(address: &Address, access: &Access, actions: &'static str) -> Result<Self> {
        let base = address.api(access.plain_http)?;
        // What goes to this computer itself goes through no proxy: it would read passwords.
        let direct = base.scheme() == "http" && is_safe(&base);
        Ok(Registry {
            http: fetch::http(Some(IDLE), direct)?,
            patient: fetch::http(None, direct)?,
            base,
            address: address.clone(),
            logins: access.logins.clone(),
            actions,
            credentials: OnceCell::new(),
            authorization: Mutex::default(),
        })
    }

    /// The manifest that the address means, and its digest.
    pub(super) async fn manifest(&self) -> Result<(Vec<u8>, Digest), Failed> {
        let version = match self.address.version() {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => digest.to_string(),
        };
        let url = self.url(&format!("manifests/{version}"))?;
        let text = self
            .text(&url, LARGEST_MANIFEST, |request| {
                request.header(ACCEPT, ACCEPTED)
            })
            .await?;
        let found = Digest::of(&text);
        match self.address.version() {
            Version::Digest(wanted) if *wanted != found => {
                let words =
                    format!("the registry sends another manifest: it has {found}, not {wanted}");
                Err(Problem::Wrong(words).into())
            }
            _ => Ok((text, found)),
        }
    }

    /// A small blob, which must have this digest and this size.
    pub(super) async fn small(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, Failed> {
        let wrong = |words: String| Failed::from(Problem::Wrong(words));
        let most = usize::try_from(size).unwrap_or(usize::MAX);
        if most > LARGEST_MANIFEST {
            return Err(wrong(format!("its config is said to be {size} bytes long")));
        }
        let url = self.url(&format!("blobs/{digest}"))?;
        let bytes = self.text(&url, most, |request| request).await?;
        let found = Digest::of(&bytes);
        match found == *digest {
            true => Ok(bytes),
            false => Err(wrong(format!(
                "the registry sends another config: it has {found}, not {digest}"
            ))),
        }
    }

    /// Makes the address' tag mean a manifest. The tag of an address with a digest is that digest.
    pub(super) async fn put_manifest(&self, bytes: &[u8], media_type: &str) -> Result<(), Failed> {
        let version = match self.address.version() {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => digest.to_string(),
        };
        let url = self.url(&format!("manifests/{version}"))?;
        self.persist(async || {
            let send = self.send(&url, || {
                let put = self.http.put(url.clone());
                Ok(put.header(CONTENT_TYPE, media_type).body(bytes.to_vec()))
            });
            let response = within(TEXT, send).await?;
            match response.status() {
                StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED => Ok(()),
                _ => Err(self.refused(response, bytes.len() as u64).await),
            }
        })
        .await
    }

    /// Whether the registry has a blob.
    pub(super) async fn has(&self, digest: &Digest) -> Result<bool, Failed> {
        let url = self.url(&format!("blobs/{digest}"))?;
        self.persist(async || {
            let send = self.send(&url, || Ok(self.http.request(Method::HEAD, url.clone())));
            let response = within(TEXT, send).await?;
            match response.status() {
                StatusCode::OK => Ok(true),
                StatusCode::NOT_FOUND => Ok(false),
                _ => Err(self.refused(response, 0).await),
            }
        })
        .await
    }

    /// Does what may fail for a while until it succeeds or has failed too often.
    pub(super) async fn persist<T>(
        &self,
        attempt: impl AsyncFn() -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let mut failures = 0;
        loop {
            match attempt().await {
                Err(Failed::There(problem)) if problem.is_passing() && failures + 1 < TRIES => {
                    failures += 1;
                    tracing::debug!("{}: {problem}; trying again", self.address);
                    tokio::time::sleep(Duration::from_millis(250 << failures)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Sends what `make` makes, and once more with what tells who asks if the registry wants to know. That goes to the
    /// registry alone: not to where it redirects, nor to where else it has uploads sent.
    pub(super) async fn send(
        &self,
        url: &Url,
        make: impl Fn() -> Result<RequestBuilder>,
    ) -> Result<Response, Failed> {
        let mut told = false;
        loop {
            let mut request = make()?;
            if self.is_own(url)
                && let Some(value) = self.authorization()
            {
                request = request.header(AUTHORIZATION, value);
            }
            let response = request.send().await.map_err(|error| {
                match error.is_redirect() || error.is_builder() {
                    true => Problem::Answer(format!("sends elsewhere: {}", words(&error))),
                    false => Problem::Unreached(words(&error)),
                }
            })?;
            let unknown = response.status() == StatusCode::UNAUTHORIZED;
            if !unknown || !self.is_own(response.url()) {
                return Ok(response);
            }
            if told {
                return Err(self.unauthorized().await?.into());
            }
            told = true;
            let Some(challenge) = Challenge::of(&response) else {
                return Err(self.unauthorized().await?.into());
            };
            let scope = format!("repository:{}:{}", self.address.repository(), self.actions);
            let known = self.credentials().await?;
            let value = answer(&self.http, &self.base, &challenge, known, &scope).await?;
            let Some(value) = value else {
                return Err(self.unauthorized().await?.into());
            };
            *self
                .authorization
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(value);
        }
    }

    /// What a refusal means. `size` is that of what was sent, in bytes.
    pub(super) async fn refused(&self, response: Response, size: u64) -> Failed {
        let status = response.status();
        let said = bounded(response, LARGEST_MANIFEST)
            .await
            .unwrap_or_default();
        let reason = serde_json::from_slice::<Refusal>(&said).ok();
        let reason = reason.and_then(|refusal| refusal.errors.into_iter().next());
        let answer = match reason {
            Some(Reason { code, message }) => {
                format!("{status} ({})", plain(&format!("{code}: {message}")))
            }
            None => status.to_string(),
        };
        let problem = match status {
            StatusCode::UNAUTHORIZED => match self.unauthorized().await {
                Ok(problem) => problem,
                Err(failed) => return failed,
            },
            StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED => Problem::Denied(answer),
            StatusCode::NOT_FOUND => Problem::NotFound,
            StatusCode::PAYLOAD_TOO_LARGE => Problem::TooLarge(size),
            _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Problem::Busy(answer)
            }
            _ => Problem::Answer(format!("answers {answer}")),
        };
        problem.into()
    }

    /// An address in the repository.
    pub(super) fn url(&self, path: &str) -> Result<Url, Failed> {
        let joined = self.base.join(path);
        Ok(joined.map_err(|_| Problem::Answer("has no such address".into()))?)
    }

    async fn text(
        &self,
        url: &Url,
        most: usize,
        more: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Vec<u8>, Failed> {
        self.persist(async || {
            let work = async {
                let response = self
                    .send(url, || Ok(more(self.http.get(url.clone()))))
                    .await?;
                match response.status() {
                    StatusCode::OK => bounded(response, most).await,
                    _ => Err(self.refused(response, 0).await),
                }
            };
            within(TEXT, work).await
        })
        .await
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    fn authorization(&self) -> Option<HeaderValue> {
        let held = self.authorization.lock();
        held.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn credentials(&self) -> Result<Option<&Credentials>, Problem> {
        let find = || credentials::find(&self.logins, &self.address);
        Ok(self.credentials.get_or_try_init(find).await?.as_ref())
    }

    async fn unauthorized(&self) -> Result<Problem, Failed> {
        Ok(Problem::Unauthorized {
            registry: self.address.registry().to_owned(),
            known: self.credentials().await?.is_some(),
        })
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    let late = |_| {
        Failed::from(Problem::Unreached(format!(
            "no answer within {} s",
            limit.as_secs()
        )))
    };
    tokio::time::timeout(limit, work).await.map_err(late)?
}
