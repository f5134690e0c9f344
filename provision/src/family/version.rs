//! Package versions: which of two is the newer, and which a user means.

use std::cmp::Ordering;

/// True if the package version `offered` is what the user calls `wanted`: the same, or one whose upstream part begins
/// with it, up to a boundary (`26.1` means `5:26.1.5-1`, not `26.10`). An epoch is not looked at unless it is written,
/// and a pre-release is not the release.
pub fn is_version(offered: &str, wanted: &str) -> bool {
    let begins = |offered: &str| {
        let rest = offered.strip_prefix(wanted);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '+', '-', '^']))
    };
    begins(offered) || begins(without_epoch(offered))
}

/// A package version without the number before its colon.
pub(crate) fn without_epoch(version: &str) -> &str {
    version.split_once(':').map_or(version, |(_, rest)| rest)
}

/// Sorts package versions, the newest first, each once.
pub(crate) fn newest_first(versions: &mut Vec<String>) {
    versions.sort_by(|a, b| compare(b, a));
    versions.dedup();
}

/// Compares two package versions as dpkg does, by deb-version(7); rpm, pacman and apk agree on all but oddities.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let epoch = |version: &str| match version.split_once(':') {
        Some((epoch, _)) => epoch.parse::<u64>().unwrap_or(0),
        None => 0,
    };
    let parts = |version| {
        let version = without_epoch(version);
        version.rsplit_once('-').unwrap_or((version, ""))
    };
    let ((a_upstream, a_revision), (b_upstream, b_revision)) = (parts(a), parts(b));
    epoch(a)
        .cmp(&epoch(b))
        .then_with(|| compare_parts(a_upstream.as_bytes(), b_upstream.as_bytes()))
        .then_with(|| compare_parts(a_revision.as_bytes(), b_revision.as_bytes()))
}

fn compare_parts(mut a: &[u8], mut b: &[u8]) -> Ordering {
    let digits = |part: &[u8]| part.iter().take_while(|c| c.is_ascii_digit()).count();
    while !a.is_empty() || !b.is_empty() {
        loop {
            let (x, y) = (rank(a.first()), rank(b.first()));
            if x != y {
                return x.cmp(&y);
            }
            if x == 0 {
                break;
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        let (x, rest_a) = a.split_at(digits(a));
        let (y, rest_b) = b.split_at(digits(b));
        let number = |digits: &[u8]| {
            let zeros = digits.iter().take_while(|c| **c == b'0').count();
            digits.get(zeros..).unwrap_or_default().to_vec()
        };
        let (x, y) = (number(x), number(y));
        let order = x.len().cmp(&y.len()).then_with(|| x.cmp(&y));
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

/// A tilde comes before the end, letters before everything else. Zero for the end and for digits.
fn rank(c: Option<&u8>) -> i32 {
    match c {
        None => 0,
        Some(c) if c.is_ascii_digit() => 0,
        Some(b'~') => -1,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_match_by_their_upstream_part() {
        assert!(is_version("26.1.5+dfsg1-9+b9", "26.1.5"));
        assert!(is_version("26.1.5+dfsg1-9+b9", "26.1.5+dfsg1-9+b9"));
        assert!(is_version("26.1.5+dfsg1-9+b9", "26.1"));
        assert!(is_version("26.1.5+dfsg1-9+b9", "26"));
        assert!(is_version("5:28.5.2-1~debian.13~trixie", "28.5.2"));
        assert!(is_version("5:28.5.2-1~debian.13~trixie", "5:28.5"));
        assert!(is_version("26.1.5-r0", "26.1.5"));
        assert!(!is_version("26.1.50-1", "26.1.5"));
        assert!(!is_version("26.10.0-1", "26.1"));
        assert!(!is_version("26.1.5-1", "26.1.4"));
        assert!(!is_version("26.1.5~rc1-1", "26.1.5"));
        assert!(!is_version("26.1.5-1", "6.1.5"));
    }

    #[test]
    fn newer_ones_come_first() {
        let mut versions: Vec<String> = [
            "5:27.0.1~rc.1-1~debian",
            "5:9.0.0-1~debian",
            "28.0.0-1",
            "5:27.0.1-1~debian",
            "5:27.0.10-1~debian",
            "5:27.0.1-1~debian",
        ]
        .map(Into::into)
        .to_vec();
        newest_first(&mut versions);
        assert_eq!(
            versions,
            [
                "5:27.0.10-1~debian",
                "5:27.0.1-1~debian",
                "5:27.0.1~rc.1-1~debian",
                "5:9.0.0-1~debian",
                "28.0.0-1",
            ]
        );
    }

    #[test]
    fn dpkg_orders_them_the_same_way() {
        let versions = [
            "1.0",
            "1.0-1",
            "1.0~rc1",
            "1.0~~",
            "1.0a",
            "1.0+b1",
            "01.0",
            "1.00",
            "1.0.",
            "2:0.9",
            "1.0-r0",
            "1.0^git",
            "10.0",
            "9.0",
            "1.0-1~deb13u1",
            "1.0-1+deb13u1",
            "1.0+dfsg1-9+b9",
            "1.0~",
            "1.0-10",
            "1.0-9",
        ];
        for a in versions {
            for b in versions {
                for (word, order) in [("lt", Ordering::Less), ("gt", Ordering::Greater)] {
                    let asked = std::process::Command::new("dpkg")
                        .args(["--compare-versions", a, word, b])
                        .stderr(std::process::Stdio::null())
                        .status();
                    let Ok(status) = asked else {
                        eprintln!("SKIPPED: dpkg is not installed");
                        return;
                    };
                    assert_eq!(status.success(), compare(a, b) == order, "{a} {word} {b}");
                }
            }
        }
    }
}
