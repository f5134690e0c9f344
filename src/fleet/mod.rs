//! Many machines at once: which ones, and how many at a time.

mod each;
mod glob;
mod label;
mod select;

pub use each::for_each;
pub use label::LabelTest;
pub use select::{Selection, candidates, pick, select};
