//! Many machines at once: which ones, and how many at a time.

pub mod apply;
mod broadcast;
mod capture;
mod crew;
mod each;
pub mod file;
mod fold;
mod glob;
mod label;
mod line;
pub mod plan;
mod remote;
pub mod rollout;
mod select;
pub mod swarm;

pub use broadcast::Broadcast;
pub use capture::{Capture, Captured};
pub use crew::{Bounds, Ended, Fate, Stop, crew, default_parallel};
pub use each::for_each;
pub use fold::fold;
pub use glob::{fits, is_pattern};
pub use label::LabelTest;
pub use line::run_line;
pub use remote::{Remote, variable};
pub use select::{Filters, Selection, candidates, pick, select};
