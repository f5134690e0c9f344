//! What berth brings with it: made by build.rs from `catalog.toml`, `recipes/` and `keys/`.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

pub(crate) const CATALOG: &str = include_str!("../catalog.toml");

/// The embedded file that recipes call `name`.
pub(crate) fn file(name: &str) -> Option<&'static [u8]> {
    named(FILES, name)
}

/// The embedded public key that cloud images call `name`.
pub(crate) fn key(name: &str) -> Option<&'static [u8]> {
    named(KEYS, name)
}

fn named(files: &[(&str, &'static [u8])], name: &str) -> Option<&'static [u8]> {
    let found = files.iter().find(|(known, _)| *known == name);
    found.map(|(_, bytes)| *bytes)
}
