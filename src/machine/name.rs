//! What a machine may be called.

use super::{Error, Result};
use crate::store::WAITING;

/// The name of the machine that `berth up` makes when it is told no other.
pub const DEFAULT_NAME: &str = "berth";

/// Checks a name that the user gives a machine: one by [`check_form`] that no machine of a pool could have.
///
/// # Errors
/// [`Error::BadName`] with the rule that is broken.
pub fn check_name(name: &str) -> Result<()> {
    check_form(name)?;
    match name.starts_with(WAITING) {
        true => Err(Error::BadName {
            name: name.to_owned(),
            reason: format!("machines that wait in pools have names with {WAITING}"),
        }),
        false => Ok(()),
    }
}

/// Checks the form of a machine's name, whoever gave it: a DNS label (RFC 1123) of 2 to 63 characters in lower case;
/// `default` is docker's own.
///
/// # Errors
/// [`Error::BadName`] with the rule that is broken.
pub fn check_form(name: &str) -> Result<()> {
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
    fn a_waiting_machine_has_a_name_that_the_user_cannot_give() {
        assert!(check_form("wt--ci-3f2a9c").is_ok());
        assert!(check_name("wt--ci-3f2a9c").is_err());
    }

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
            "wt--ci-3f2a9c",
            &long,
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
