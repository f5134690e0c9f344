//! Addresses of downloads: what is taken, what is safe, and what may be shown.

use reqwest::Url;

use crate::{Error, Result};

/// True for what is downloaded rather than looked up.
pub fn is_url(reference: &str) -> bool {
    ["https://", "http://"]
        .iter()
        .any(|scheme| reference.starts_with(scheme))
}

/// Reads an address. One with a password in it is refused: it would be recorded.
///
/// # Errors
/// [`Error::InvalidReference`].
pub(crate) fn parse(url: &str) -> Result<Url> {
    let refused = |shown: &str, reason| Error::InvalidReference {
        reference: shown.to_owned(),
        reason,
    };
    let parsed = Url::parse(url).map_err(|_| refused(url, "it is not an address"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        let host = parsed.host_str().unwrap_or_default();
        return Err(refused(
            host,
            "an address with a password in it is not taken",
        ));
    }
    Ok(parsed)
}

/// True if nobody between could have changed what comes from there: HTTPS, or this computer itself.
pub(crate) fn is_safe(url: &Url) -> bool {
    let loopback = match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    };
    url.scheme() == "https" || loopback
}

/// The address without what may be secret: signed addresses carry a key after the question mark.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_between_can_change_is_safe() {
        let safe = |url: &str| is_safe(&Url::parse(url).unwrap());
        assert!(safe("https://example.org/x") && safe("http://127.0.0.1:8/x"));
        assert!(safe("http://[::1]/x") && safe("http://localhost/x"));
        assert!(!safe("http://example.org/x") && !safe("http://127.0.0.1.example.org/x"));
    }

    #[test]
    fn a_secret_in_an_address_is_neither_taken_nor_shown() {
        assert!(parse("https://me:secret@example.org/x").is_err());
        let signed = parse("https://example.org/x?key=secret#a").unwrap();
        assert_eq!(shown(&signed), "https://example.org/x");
    }
}
