//! Gathers lines for one record of the queue. Reused from batch to batch: in steady state a line costs no allocation.

use std::borrow::Cow;

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

use super::{MAX_LOG_BATCH, MAX_LOG_LABELS, MAX_LOG_STREAMS, SourceMark, VERSION, entry};
use crate::{
    Labels, ModelError,
    wire::{put_len, put_varint, zigzag},
};

/// Lines by stream, and where their source stands after them.
pub struct LogBatch {
    /// Label sets in order of appearance; those at and after `used` are spare buffers.
    streams: Vec<Gathered>,
    used: usize,
    by_labels: HashTable<u32>,
    hasher: DefaultHashBuilder,
    marks: Vec<SourceMark>,
    items: u32,
    bytes: usize,
    packer: snap::raw::Encoder,
    packed: Vec<u8>,
}

#[derive(Default)]
struct Gathered {
    labels: Labels,
    hash: u64,
    entries: Vec<u8>,
    count: u32,
    first_ns: i64,
    last_ns: i64,
    /// The place of each entry among all entries of the batch, as gaps.
    gaps: Vec<u8>,
    next_place: u32,
}

/// A stream's buffer that grew beyond this is given back when the batch is cleared.
const KEEP: usize = 1 << 20;

impl std::fmt::Debug for LogBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogBatch({} lines, {} bytes, {} streams)", self.items, self.bytes, self.used)
    }
}

impl Default for LogBatch {
    fn default() -> Self {
        Self {
            streams: Vec::new(),
            used: 0,
            by_labels: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            marks: Vec::new(),
            items: 0,
            bytes: 0,
            packer: snap::raw::Encoder::new(),
            packed: Vec::new(),
        }
    }
}

impl LogBatch {
    pub fn new() -> Self {
        Self::default()
    }

    /// Empty again; buffers stay.
    pub fn clear(&mut self) {
        for stream in self.streams.iter_mut().take(self.used) {
            stream.entries.clear();
            stream.entries.shrink_to(KEEP);
            stream.gaps.clear();
            stream.gaps.shrink_to(KEEP);
            stream.count = 0;
            stream.next_place = 0;
        }
        // As many spare buffers as are likely to be used again.
        self.streams.truncate(self.used.max(8));
        self.used = 0;
        self.by_labels.clear();
        self.marks.clear();
        (self.items, self.bytes) = (0, 0);
    }

    /// The number of a label set in this batch; the same set has the same number. Errors: `SeriesTooLarge` for a set of more
    /// than [`MAX_LOG_LABELS`] labels; `TableFull` when no more sets fit: encode and clear first.
    pub fn stream(&mut self, labels: &Labels) -> Result<u32, ModelError> {
        if labels.len() > MAX_LOG_LABELS {
            let bytes = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
            return Err(ModelError::SeriesTooLarge { labels: labels.len(), bytes });
        }
        let hash = self.hasher.hash_one(labels);
        let streams = &self.streams;
        let same = |at: &u32| streams.get(*at as usize).is_some_and(|s| s.hash == hash && s.labels == *labels);
        if let Some(found) = self.by_labels.find(hash, same) {
            return Ok(*found);
        }
        let at = u32::try_from(self.used).ok().filter(|at| (*at as usize) < MAX_LOG_STREAMS);
        let at = at.ok_or(ModelError::TableFull)?;
        if self.used == self.streams.len() {
            self.streams.push(Gathered::default());
        }
        let slot = self.streams.get_mut(self.used).ok_or(ModelError::TableFull)?;
        // The same few sets come again and again: the spare buffer often holds the very one.
        if slot.labels != *labels {
            slot.labels = labels.clone();
        }
        slot.hash = hash;
        self.used += 1;
        let streams = &self.streams;
        self.by_labels.insert_unique(hash, at, |at| streams.get(*at as usize).map_or(0, |s| s.hash));
        Ok(at)
    }

    /// Whether a line of `bytes` (with its metadata) still fits. An empty batch takes one of [`MAX_LOG_BATCH`] bytes.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.bytes.saturating_add(bytes).saturating_add(64) <= MAX_LOG_BATCH && self.items < u32::MAX
    }

    /// Adds a line to a stream that [`stream`](Self::stream) numbered. Bytes that are no UTF-8 become U+FFFD, since no
    /// receiver takes them. Errors: the line does not fit ([`has_room`](Self::has_room)); the number is not of this batch.
    pub fn push(
        &mut self,
        stream: u32,
        timestamp_ns: i64,
        line: &[u8],
        metadata: &[(&str, &str)],
    ) -> Result<(), ModelError> {
        // Checking alone is several times faster than replacing, and nearly every line is text.
        let text = str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed);
        let meta: usize = metadata.iter().map(|(name, value)| name.len() + value.len() + 16).sum();
        // Replacement may make it three times as long.
        let bytes = text.len() + meta;
        if !self.has_room(bytes) {
            return Err(ModelError::TooLarge {
                part: "a log batch",
                found: (self.bytes + bytes) as u64,
                limit: MAX_LOG_BATCH as u64,
            });
        }
        let place = self.items;
        let Some(slot) = self.streams.get_mut(stream as usize).filter(|_| (stream as usize) < self.used) else {
            return Err(ModelError::Corrupt { part: "a log batch", reason: "a line for an unknown stream" });
        };
        let before = slot.entries.len();
        let text: &str = match &text {
            Cow::Borrowed(text) => text,
            Cow::Owned(text) => text,
        };
        entry::put(&mut slot.entries, timestamp_ns, text, metadata);
        if slot.count == 0 {
            (slot.first_ns, slot.last_ns) = (timestamp_ns, timestamp_ns);
        }
        slot.first_ns = slot.first_ns.min(timestamp_ns);
        slot.last_ns = slot.last_ns.max(timestamp_ns);
        put_varint(&mut slot.gaps, u64::from(place - slot.next_place));
        slot.next_place = place + 1;
        slot.count += 1;
        self.items += 1;
        self.bytes += slot.entries.len() - before;
        Ok(())
    }

    /// Where a source stands after the lines of this batch. A later mark of the same key replaces the earlier one.
    pub fn mark(&mut self, mark: SourceMark) {
        match self.marks.iter_mut().find(|known| known.key == mark.key) {
            Some(known) => *known = mark,
            None => self.marks.push(mark),
        }
    }

    /// Lines.
    pub fn items(&self) -> u32 {
        self.items
    }

    /// Bytes of the entries before compression.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Label sets that have lines or were asked for.
    pub fn streams(&self) -> usize {
        self.used
    }

    /// Appends the batch, version 1: version; marks; streams, each with labels, count, time range, places of its entries
    /// if there are several streams, and its entries as a snappy block.
    pub fn encode(&mut self, out: &mut Vec<u8>) -> Result<(), ModelError> {
        out.push(VERSION);
        put_len(out, self.marks.len());
        for mark in &self.marks {
            mark.put(out);
        }
        let filled = || self.streams.iter().take(self.used).filter(|stream| stream.count > 0);
        let several = filled().count() > 1;
        put_len(out, filled().count());
        for stream in self.streams.iter().take(self.used).filter(|stream| stream.count > 0) {
            put_len(out, stream.labels.len());
            for (name, value) in stream.labels.iter() {
                for text in [name, value] {
                    put_len(out, text.len());
                    out.extend_from_slice(text.as_bytes());
                }
            }
            put_varint(out, u64::from(stream.count));
            put_varint(out, zigzag(stream.first_ns));
            put_varint(out, zigzag(stream.last_ns.wrapping_sub(stream.first_ns)));
            if several {
                put_len(out, stream.gaps.len());
                out.extend_from_slice(&stream.gaps);
            } else {
                put_len(out, 0);
            }
            self.packed.resize(snap::raw::max_compress_len(stream.entries.len()), 0);
            let len = self
                .packer
                .compress(&stream.entries, &mut self.packed)
                .map_err(|_| ModelError::Corrupt { part: "a log batch", reason: "it does not compress" })?;
            put_len(out, len);
            out.extend_from_slice(self.packed.get(..len).unwrap_or_default());
        }
        if self.packed.len() > KEEP {
            self.packed = Vec::new();
        }
        Ok(())
    }
}
