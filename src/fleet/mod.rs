//! Many machines at once: which ones, and how many at a time.

mod each;
mod select;

pub use each::for_each;
pub use select::{Selection, candidates, pick, select};
