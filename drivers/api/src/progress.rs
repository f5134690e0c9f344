//! How long work reports itself.

/// Where long work says what it is doing. Calls are cheap and never block.
pub trait Progress: Send + Sync {
    /// A new phase begins, and the one before it ends: `Booting`, `Installing the engine`.
    fn phase(&self, title: &str);

    /// How far the phase has come, in bytes.
    fn bytes(&self, done: u64, total: Option<u64>);

    /// Something worth telling that is not a phase; kept on screen.
    fn note(&self, line: &str);
}

/// Reports nothing.
pub struct Silent;

impl Progress for Silent {
    fn phase(&self, _title: &str) {}
    fn bytes(&self, _done: u64, _total: Option<u64>) {}
    fn note(&self, _line: &str) {}
}
