//! What a machine may be called.

use super::{Error, Result};

/// The name of the machine that `berth up` makes when it is told no other.
pub const DEFAULT_NAME: &str = "berth";

/// Checks a machine's name: a DNS label (RFC 1123) of 2 to 63 characters in lower case; `default` is docker's own.
///
/// # Errors
/// [`Error::BadName`] with the rule that is broken.
pub fn check_name(name: &str) -> Result<()> {
    let refuse = |reason: &str| {
        Err(Error::BadName {
            name: name.chars().take(80).collect(),
            reason: reason.to_owned(),
        })
    };
    if name.len() < 2 || name.len() > 63 {
        return refuse("a name has 2 to 63 characters");
    }
    if !name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return refuse("a name has only lower-case letters a-z, digits and hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        return refuse("a name neither starts nor ends with a hyphen");
    }
    if name == "default" {
        return refuse("docker keeps this name for its own context");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["m1", "web-1", "0a", &"x".repeat(63)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let long = "x".repeat(300);
        for bad in [
            "",
            "a",
            "..",
            "-x",
            "x-",
            "a/b",
            "a.b",
            "Web",
            "maschinö",
            "default",
            "a b",
            "a\n",
            &long,
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
