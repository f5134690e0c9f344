//! How a registry is told who asks: it says what it wants in `WWW-Authenticate`, and gets a password or a token.
//!
//! RFC 7617 for passwords; tokens as in distribution.github.io/distribution/spec/auth/token/ and /oauth/.

use reqwest::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use super::credentials::Credentials;
use super::{Failed, Problem, plain};
use crate::fetch::{is_safe, words};

/// A token with what is around it.
const LARGEST: usize = 1 << 20;

/// What a registry wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

impl Challenge {
    /// Of an answer of the status 401.
    pub(super) fn of(response: &Response) -> Option<Challenge> {
        let all = response.headers().get_all(WWW_AUTHENTICATE);
        let texts = all.iter().filter_map(|value| value.to_str().ok());
        let mut challenges: Vec<Challenge> = texts.filter_map(parse).collect();
        // A password is not sent where a token would do.
        challenges.sort_by_key(|challenge| *challenge == Challenge::Basic);
        challenges.into_iter().next()
    }
}

fn parse(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    let mut rest = rest.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = Some(value.to_owned()),
            _ => {}
        }
        rest = after.trim_start_matches([',', ' ']);
    }
    realm.map(|realm| Challenge::Bearer { realm, service })
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// What goes into `Authorization` for a `challenge` of the registry at `base`; `None` if nothing that is known would do.
/// `scope` is what the token is for.
pub(super) async fn answer(
    http: &reqwest::Client,
    base: &Url,
    challenge: &Challenge,
    credentials: Option<&Credentials>,
    scope: &str,
) -> Result<Option<HeaderValue>, Failed> {
    let (realm, service) = match (challenge, credentials) {
        (_, Some(Credentials::Bearer(token))) => {
            return header(&format!("Bearer {token}")).map(Some);
        }
        (Challenge::Basic, Some(Credentials::Password { user, password })) => {
            return header(&basic(user, password)).map(Some);
        }
        (Challenge::Basic, _) => return Ok(None),
        (Challenge::Bearer { realm, service }, _) => (realm, service),
    };
    let wrong = |what: &str| Problem::Answer(format!("sends for a token to {what}"));
    let mut realm = Url::parse(realm).map_err(|_| wrong("no address"))?;
    if !matches!(realm.scheme(), "http" | "https") {
        return Err(wrong("no address").into());
    }
    if is_safe(base) && !is_safe(&realm) {
        return Err(
            wrong("an address of plain HTTP, where passwords can be read on the way").into(),
        );
    }
    let mut wanted = vec![("scope", scope)];
    wanted.extend(service.as_deref().map(|service| ("service", service)));
    let request = match credentials {
        Some(Credentials::Identity(token)) => {
            wanted.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "berth"),
                ("refresh_token", token),
            ]);
            let form = http.post(realm).body(encoded(&wanted));
            form.header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        }
        other => {
            realm.query_pairs_mut().extend_pairs(&wanted);
            match other {
                Some(Credentials::Password { user, password }) => http.get(realm).header(
                    reqwest::header::AUTHORIZATION,
                    header(&basic(user, password))?,
                ),
                _ => http.get(realm),
            }
        }
    };
    let response = request.send().await;
    let response = response.map_err(|error| Problem::Unreached(words(&error)))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
            return Ok(None);
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(Problem::Busy(format!("{status} when asked for a token")).into());
        }
        status => {
            return Err(Problem::Answer(format!("answers {status} when asked for a token")).into());
        }
    }
    let text = super::body::bounded(response, LARGEST).await?;
    let broken = || Problem::Answer("sends something else than a token".into());
    let token: Token = serde_json::from_slice(&text).map_err(|_| broken())?;
    let token = token.token.or(token.access_token).ok_or_else(broken)?;
    header(&format!("Bearer {token}")).map(Some)
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
}

/// Marked, so that it is never printed.
fn header(text: &str) -> Result<HeaderValue, Failed> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Problem::Answer(format!(
            "uses a token that is none ({} bytes)",
            plain(text).len()
        ))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// As forms are sent (WHATWG URL, application/x-www-form-urlencoded).
fn encoded(pairs: &[(&str, &str)]) -> String {
    let Ok(mut url) = Url::parse("http://localhost/") else {
        return String::new();
    };
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_registries_want_is_understood() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                service: service.map(str::to_owned),
            })
        };
        assert_eq!(
            parse(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#
            ),
            bearer("https://auth.docker.io/token", Some("registry.docker.io"))
        );
        assert_eq!(
            parse("bearer realm=\"https://x/t\""),
            bearer("https://x/t", None)
        );
        assert_eq!(
            parse("Bearer service=a, realm=https://x/t"),
            bearer("https://x/t", Some("a"))
        );
        assert_eq!(parse("Basic realm=\"Registry\""), Some(Challenge::Basic));
        assert_eq!(parse("Bearer"), None);
        assert_eq!(parse("Bearer realm=\"open"), None);
        assert_eq!(parse("Negotiate"), None);
    }
}
