//! Doors for the fuzz targets: a remote-write body, taken from bytes. Nobody else's interface.

use crate::remote_write;

/// What a body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteCounts {
    pub series: u64,
    pub samples: u64,
    pub metadata: u64,
    /// Samples when each series is asked for its own.
    pub seen_again: u64,
}

/// A body with at most `limit` bytes after decompression; `None` if it is refused.
pub fn write_request(body: &[u8], limit: usize) -> Option<WriteCounts> {
    raw_write_request(&remote_write::decompress(body, limit).ok()?)
}

/// The same of what is not compressed. Each series is looked at as its receiver does.
pub fn raw_write_request(raw: &[u8]) -> Option<WriteCounts> {
    let mut seen_again = 0;
    let counts = remote_write::walk(raw, |series| {
        let _ = series.problem();
        seen_again += series.samples().count() as u64;
    });
    let counts = counts.ok()?;
    Some(WriteCounts { series: counts.series, samples: counts.samples, metadata: counts.metadata, seen_again })
}
