//! Reads what [`LogBatch`](super::LogBatch) wrote. Takes any bytes: never panics, never unpacks more than
//! [`MAX_LOG_BATCH`](super::MAX_LOG_BATCH).

use super::{LogEntries, MAX_LOG_BATCH, MAX_LOG_LABELS, MAX_LOG_STREAMS, SourceMark, VERSION};
use crate::{Labels, ModelError, wire::Cursor};

const PART: &str = "a log batch";

/// A batch, its streams still packed.
#[derive(Debug)]
pub struct LogBatchView<'a> {
    pub streams: Vec<LogStream<'a>>,
    pub marks: Vec<SourceMark>,
}

/// A label set and its entries.
#[derive(Debug, Clone)]
pub struct LogStream<'a> {
    pub labels: Labels,
    /// Entries.
    pub count: u32,
    /// The earliest and the latest timestamp, nanoseconds since the epoch.
    pub first_ns: i64,
    pub last_ns: i64,
    /// Bytes of the entries unpacked.
    pub raw_len: usize,
    /// The elements of the snappy block that holds the entries: without its length, so that blocks can be joined.
    pub elements: &'a [u8],
    block: &'a [u8],
    gaps: &'a [u8],
}

impl<'a> LogBatchView<'a> {
    /// Reads the heads of all streams.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let (marks, mut cursor) = marks(bytes)?;
        let count = cursor.count_of_rest()?.min(MAX_LOG_STREAMS);
        let mut streams = Vec::new();
        let mut left = MAX_LOG_BATCH;
        for _ in 0..count {
            let stream = stream(&mut cursor)?;
            left = left.checked_sub(stream.raw_len).ok_or(ModelError::TooLarge {
                part: PART,
                found: stream.raw_len as u64,
                limit: MAX_LOG_BATCH as u64,
            })?;
            streams.push(stream);
        }
        if !cursor.is_empty() {
            return Err(cursor.corrupt("bytes after its end"));
        }
        Ok(Self { streams, marks })
    }

    /// Lines in all streams.
    pub fn items(&self) -> u64 {
        self.streams.iter().map(|stream| u64::from(stream.count)).sum()
    }
}

/// The marks alone: they stand first, so this looks at no line.
pub fn read_marks(bytes: &[u8]) -> Result<Vec<SourceMark>, ModelError> {
    marks(bytes).map(|(marks, _)| marks)
}

fn marks(bytes: &[u8]) -> Result<(Vec<SourceMark>, Cursor<'_>), ModelError> {
    let mut cursor = Cursor::new(bytes, PART);
    let version = cursor.byte()?;
    if version != VERSION {
        return Err(ModelError::Version { part: PART, found: version });
    }
    let count = cursor.count_of_rest()?;
    let mut marks = Vec::new();
    for _ in 0..count {
        marks.push(SourceMark::get(&mut cursor)?);
    }
    Ok((marks, cursor))
}

fn stream<'a>(cursor: &mut Cursor<'a>) -> Result<LogStream<'a>, ModelError> {
    let pairs = cursor.count(MAX_LOG_LABELS)?;
    let mut labels = Labels::new();
    for _ in 0..pairs {
        let mut text = || -> Result<&'a str, ModelError> {
            let len = cursor.count_of_rest()?;
            str::from_utf8(cursor.take(len)?).map_err(|_| cursor.corrupt("a label that is not UTF-8"))
        };
        let (name, value) = (text()?, text()?);
        labels.set(name, value);
    }
    let count = u32::try_from(cursor.varint()?).map_err(|_| cursor.corrupt("a stream of too many entries"))?;
    let first_ns = cursor.signed()?;
    let last_ns = first_ns.wrapping_add(cursor.signed()?);
    let len = cursor.count_of_rest()?;
    let gaps = cursor.take(len)?;
    let len = cursor.count_of_rest()?;
    let block = cursor.take(len)?;
    let raw_len = snap::raw::decompress_len(block).map_err(|_| cursor.corrupt("a stream that does not unpack"))?;
    let mut elements = Cursor::new(block, PART);
    elements.varint()?;
    let elements = elements.rest();
    // The shortest element that stands for the most bytes is a copy of three bytes for 64.
    let most = elements.len().saturating_mul(22);
    if raw_len > most || raw_len > MAX_LOG_BATCH {
        return Err(ModelError::TooLarge { part: PART, found: raw_len as u64, limit: most.min(MAX_LOG_BATCH) as u64 });
    }
    // An entry takes at least its tag and its length.
    if count as usize > raw_len / 2 {
        return Err(cursor.corrupt("more entries than bytes for them"));
    }
    Ok(LogStream { labels, count, first_ns, last_ns, raw_len, elements, block, gaps })
}

impl LogStream<'_> {
    /// Unpacks the entries into `out`, replacing what is there. Walk them with [`LogEntries::new`].
    pub fn unpack(&self, out: &mut Vec<u8>) -> Result<(), ModelError> {
        out.clear();
        out.resize(self.raw_len, 0);
        let broken = |_| ModelError::Corrupt { part: PART, reason: "a stream that does not unpack" };
        let len = snap::raw::Decoder::new().decompress(self.block, out).map_err(broken)?;
        out.truncate(len);
        Ok(())
    }

    /// The place of each entry in the order in which the lines of all streams of the batch came: strictly rising, one for
    /// each entry. `None` when there is one stream only.
    pub fn places(&self) -> Option<impl Iterator<Item = u64>> {
        let mut cursor = Cursor::new(self.gaps, PART);
        let mut next = 0u64;
        (!self.gaps.is_empty()).then(|| {
            std::iter::from_fn(move || {
                let gap = if cursor.is_empty() { None } else { cursor.varint().ok() }?;
                let place = next.saturating_add(gap);
                next = place.saturating_add(1);
                Some(place)
            })
        })
    }

    /// Whether the entries are what the head says: as many, and each readable. `raw` is what `unpack` gave.
    pub fn check(&self, raw: &[u8]) -> Result<(), ModelError> {
        let mut count = 0u32;
        for entry in LogEntries::new(raw) {
            entry?;
            count = count.saturating_add(1);
        }
        if count == self.count {
            Ok(())
        } else {
            Err(ModelError::Corrupt { part: PART, reason: "a stream's head states another number of entries" })
        }
    }
}
