//! Questions in plain HTTP and JSON, for what bollard's types are too strict or too talkative for: they refuse an answer
//! whole for one word that they do not know, and bollard logs answers, of which those about a swarm hold secrets.
//!
//! Paths are without a version, so the engine answers in the newest form that it has. Answers are bounded in time and
//! size like all others.

use futures_util::{Stream, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Duration, timeout};

use super::{ANSWER, ANSWER_LIMIT, Engine, send};
use crate::Result;

/// What a refusal says is read up to here, in bytes.
const REFUSAL: usize = 16 << 10;

impl Engine {
    /// What the engine answers to `GET path`.
    ///
    /// # Errors
    /// [`crate::Error::Engine`] if it does not answer, refuses in its own words, or answers in another form.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let body = self.request(Method::GET, path, None::<&()>, ANSWER).await?;
        self.read(&body)
    }

    /// The head of the engine's answer to `GET path`.
    ///
    /// # Errors
    /// [`crate::Error::Engine`] if it does not answer, or refuses in its own words.
    pub(super) async fn head(&self, path: &str) -> Result<HeaderMap> {
        let begun = self.begin(Method::GET, path, None::<&()>, ANSWER_LIMIT);
        let response = timeout(ANSWER, begun).await.map_err(|_| self.late())??;
        Ok(response.into_parts().0.headers)
    }

    /// What the engine answers to `POST path` with `body` as JSON.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let body = self.request(Method::POST, path, Some(body), ANSWER).await?;
        self.read(&body)
    }

    /// Has the engine do something whose answer says nothing, in `deadline`.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub(crate) async fn order(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        deadline: Duration,
    ) -> Result<()> {
        let done = self.request(method, path, body, deadline).await;
        done.map(drop)
    }

    /// The pieces of an answer to `GET path` that goes on, as they come.
    ///
    /// # Errors
    /// If the engine does not begin to answer.
    pub(crate) async fn stream(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Vec<u8>> + Send + Unpin + use<>> {
        let begun = self.begin(Method::GET, path, None::<&()>, u64::MAX);
        let response = timeout(ANSWER, begun).await.map_err(|_| self.late())??;
        let pieces = stream::unfold(response.into_body(), async |mut body: Incoming| {
            loop {
                let frame = body.frame().await?.ok()?;
                // What is no data is headers at the end.
                if let Ok(data) = frame.into_data() {
                    return Some((data.to_vec(), body));
                }
            }
        });
        Ok(Box::pin(pieces))
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        deadline: Duration,
    ) -> Result<Vec<u8>> {
        let whole = async {
            let response = self.begin(method, path, body, ANSWER_LIMIT).await?;
            let collected = response.into_body().collect().await;
            let collected =
                collected.map_err(|error| self.socket.failed("does not answer", &error))?;
            Ok(collected.to_bytes().to_vec())
        };
        timeout(deadline, whole).await.map_err(|_| self.late())?
    }

    /// The answer's beginning, if it is no refusal.
    async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        limit: u64,
    ) -> Result<Response<Incoming>> {
        let failed = |error: &dyn std::fmt::Display| self.socket.failed("cannot be asked", error);
        let text = match body {
            Some(body) => serde_json::to_string(body).map_err(|error| failed(&error))?,
            None => String::new(),
        };
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(text).map_err(|error| failed(&error))?;
        let sent = send(&self.socket, request, limit).await;
        let response = sent.map_err(|error| self.socket.failed("does not answer", &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let mut body = http_body_util::Limited::new(response.into_body(), REFUSAL);
        let mut words = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            words.extend(frame.into_data().unwrap_or_default());
        }
        Err(self.socket.failed("refuses", &refusal(status, &words)))
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T> {
        serde_json::from_slice(body).map_err(|error| {
            // Neither the answer nor a part of it is quoted: it may hold a secret.
            let at = format!("line {} column {}", error.line(), error.column());
            self.socket.failed("does not answer as an engine does", &at)
        })
    }

    fn late(&self) -> crate::Error {
        self.socket.failed("does not answer", &"it took too long")
    }
}

/// `{"message": …}`, or whatever else it says.
fn refusal(status: hyper::StatusCode, words: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Message {
        message: String,
    }
    let said = match serde_json::from_slice(words) {
        Ok(Message { message }) => message,
        Err(_) => String::from_utf8_lossy(words).into_owned(),
    };
    match said.trim() {
        "" => status.to_string(),
        said => said.chars().take(500).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_engines_words() {
        let status = hyper::StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(refusal(status, br#"{"message":"no swarm"}"#), "no swarm");
        assert_eq!(refusal(status, b"page not found\n"), "page not found");
        assert_eq!(refusal(status, b""), "503 Service Unavailable");
        assert_eq!(refusal(status, &[b'x'; 9000]).len(), 500);
    }
}
