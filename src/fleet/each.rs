//! The same work on many machines, a bounded number at a time.

use futures_util::StreamExt;
use futures_util::stream;

/// Does `work` for every name, `parallel` at once, and returns the outcomes in the order of the names.
pub async fn for_each<T, F: Future<Output = T>>(
    names: &[String],
    parallel: usize,
    work: impl Fn(String) -> F,
) -> Vec<(String, T)> {
    let work = &work;
    stream::iter(names.iter().cloned())
        .map(|name| async move { (name.clone(), work(name).await) })
        .buffered(parallel.max(1))
        .collect()
        .await
}
