//! What berth brings with it: made by build.rs from `catalog.toml` and `recipes/`.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

pub(crate) const CATALOG: &str = include_str!("../catalog.toml");

/// The embedded file that recipes call `name`.
pub(crate) fn file(name: &str) -> Option<&'static [u8]> {
    FILES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, bytes)| *bytes)
}
