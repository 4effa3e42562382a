//! Doors for the fuzz targets: what comes from the far end, taken from bytes. Nobody else's interface.

use std::borrow::Cow;

use http::{HeaderMap, StatusCode};
use model::otlp::Signal;

use crate::{
    DestinationConfig,
    protocol::Protocol,
    replay::splice::Entries,
    traces::{Cargo, Limits, Piece, documents::texts, joined, pack},
    verdict::Verdict,
};

/// What an answer was taken to mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// `accepted`, `partial`, `retry`, `hold`, `unready`, `too_large` or `refused`.
    pub word: &'static str,
    /// What is told of it; empty for `accepted`.
    pub told: String,
    /// The time to wait that the answer asked for, in seconds.
    pub after_s: Option<u64>,
}

/// Judges an answer as `destination`'s protocol does.
pub fn judge(destination: &DestinationConfig, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Judged {
    let (word, told, after) = match Protocol::new(destination).judge(status, headers, body) {
        Verdict::Accepted => ("accepted", String::new(), None),
        Verdict::Partial { message, .. } => ("partial", message, None),
        Verdict::Retry { after, why, .. } => ("retry", why, after),
        Verdict::Hold { why } => ("hold", why, None),
        Verdict::Unready { why } => ("unready", why, None),
        Verdict::TooLarge { message } => ("too_large", message, None),
        Verdict::Refused { message, .. } => ("refused", message, None),
    };
    Judged { word, told, after_s: after.map(|after| after.as_secs()) }
}

/// Takes a replayed object apart: each entry's bytes, and the samples that were counted in it.
pub fn entries(object: &[u8]) -> Option<Vec<(Vec<u8>, u64)>> {
    let entries = Entries::read(object).ok()?;
    Some((0..entries.len()).map(|at| (entries.bytes(at, at + 1).to_vec(), entries.samples(at, at + 1))).collect())
}

/// Cuts a received request that was checked and has so many items, as an OTLP destination with these limits does. Items and
/// bytes of each part.
pub fn parts(signal: Signal, request: &[u8], count: u32, items: usize, bytes: usize) -> Vec<(u32, Vec<u8>)> {
    let whole = Piece { lot: 0, items: count, body: Cow::Borrowed(request) };
    let part = |cargo: Cargo<'_>| match cargo {
        Cargo::Pieces(pieces) => (pieces.iter().map(|piece| piece.items).sum(), joined(&pieces).into_owned()),
        Cargo::Spans(_) => (0, Vec::new()),
    };
    pack(vec![whole], signal, Limits { items, bytes }).map(part).collect()
}

/// The segment documents of a received request.
pub fn documents(request: &[u8]) -> Vec<String> {
    texts(request, &xray::Options::default())
}
