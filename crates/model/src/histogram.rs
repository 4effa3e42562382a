//! Native histograms on their way into the queue, and samples that stand in for them where they are not taken.
//!
//! A histogram is what remote write sends: `prometheus.Histogram` (`prompb/types.proto`) without its timestamp (field 15), as
//! protobuf. Nothing here looks inside. Layout, version 2, after the version byte: the form (1), then the chunks as in version 1
//! (see `batch`). Form 1: in the place of the value column, for each present series a varint length and the histogram. Form 2:
//! samples for destinations that do not take native histograms. A reader of version 1 refuses such a payload whole, by its version.

use bytes::Bytes;

use crate::{
    ContextKey, EncodedTable, MetricBatch,
    batch::{FLAG_EACH, FLAG_NO_BASE},
    wire::{put_len, put_varint, zigzag},
};

pub(crate) const VERSION: u8 = 2;
pub(crate) const HISTOGRAMS: u8 = 1;
pub(crate) const STAND_INS: u8 = 2;

/// Native histograms of one stream, a chunk for each series table.
#[derive(Debug, Clone, Default)]
pub struct HistogramBatch<'a> {
    /// As of [`MetricBatch`].
    pub stream: u64,
    pub chunks: Vec<HistogramChunk<'a>>,
}

/// Native histograms of all series of one table.
#[derive(Debug, Clone, Copy)]
pub struct HistogramChunk<'a> {
    pub table: &'a EncodedTable,
    /// Milliseconds since the Unix epoch, one for each series.
    pub timestamps: &'a [i64],
    /// One for each series; see the file's head.
    pub histograms: &'a [Vec<u8>],
}

impl HistogramChunk<'_> {
    fn items(&self) -> usize {
        self.timestamps.len().min(self.histograms.len()).min(self.table.series() as usize)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let items = self.items();
        out.extend_from_slice(&self.table.key().0);
        out.push(FLAG_EACH | FLAG_NO_BASE);
        put_len(out, items);
        let mut previous = 0i64;
        for time in self.timestamps.iter().take(items) {
            put_varint(out, zigzag(time.wrapping_sub(previous)));
            previous = *time;
        }
        for histogram in self.histograms.iter().take(items) {
            put_len(out, histogram.len());
            out.extend_from_slice(histogram);
        }
    }
}

impl HistogramBatch<'_> {
    /// Histograms in the batch.
    pub fn items(&self) -> u32 {
        let items = self.chunks.iter().map(HistogramChunk::items).sum::<usize>();
        u32::try_from(items).unwrap_or(u32::MAX)
    }

    /// Appends the payload. Chunks without a histogram are left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[VERSION, HISTOGRAMS]);
        let chunks = || self.chunks.iter().filter(|chunk| chunk.items() > 0);
        put_len(out, chunks().count());
        for chunk in chunks() {
            chunk.encode(out);
        }
    }

    /// Everything the payload names.
    pub fn contexts(&self) -> impl Iterator<Item = (ContextKey, Bytes)> + '_ {
        let chunks = self.chunks.iter().filter(|chunk| chunk.items() > 0);
        chunks.map(|chunk| (chunk.table.key(), chunk.table.bytes().clone()))
    }
}

impl MetricBatch<'_> {
    /// Appends the payload of samples that are for destinations only that do not take native histograms.
    pub fn encode_stand_ins(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[VERSION, STAND_INS]);
        self.encode_chunks(out);
    }
}

/// Whom the samples of a chunk are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Every destination.
    All,
    /// Those that do not take native histograms.
    WithoutHistograms,
    /// Those that do: the chunk holds such.
    WithHistograms,
}

/// Native histograms as they were read: one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedHistograms {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
}

impl EncodedHistograms {
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { bytes: Vec::new(), ends: Vec::with_capacity(count) }
    }

    /// None: together they are more than any payload.
    pub(crate) fn push(&mut self, histogram: &[u8]) -> Option<()> {
        let end = self.bytes.len().checked_add(histogram.len())?;
        self.ends.push(u32::try_from(end).ok()?);
        self.bytes.extend_from_slice(histogram);
        Some(())
    }

    /// The histogram of the chunk's sample `at`: `prometheus.Histogram` without its timestamp.
    #[inline]
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)? as usize;
        let begin = match at.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.bytes.get(begin..end)
    }
}
