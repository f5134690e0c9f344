//! What a registry sends, read no further than it may go.

use futures_util::StreamExt;
use reqwest::Response;

use super::{Failed, Problem};
use crate::fetch::words;

/// All of a body that is no longer than `most` bytes.
pub(super) async fn bounded(response: Response, most: usize) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::new();
    let mut body = response.bytes_stream();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| Problem::Unreached(words(&error)))?;
        if bytes.len() + piece.len() > most {
            return Err(Problem::Answer(format!(
                "sends more than the {most} bytes that there are"
            ))
            .into());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
