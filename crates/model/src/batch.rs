//! One scrape of one target on its way into the queue: columns borrowed from whoever holds them.
//!
//! Layout, version 1, after the version byte: varint chunk count; then per chunk: table key (16), flags (1), base key
//! (16, unless flag 4), varint series, presence bitmap (`ceil(series / 8)` bytes, if flag 1), timestamps (zigzag varint
//! of the common one; with flag 2 of the first, then of each difference), value column. Absent values are not stored. Version 2: see `histogram`.

use bytes::Bytes;

use crate::{
    BaseVector, ContextKey, EncodedTable, column,
    wire::{put_len, put_varint, zigzag},
};

pub(crate) const VERSION: u8 = 1;
pub(crate) const FLAG_BITMAP: u8 = 1;
pub(crate) const FLAG_EACH: u8 = 2;
pub(crate) const FLAG_NO_BASE: u8 = 4;

/// Samples of one stream (one target), a chunk for each series table.
#[derive(Debug, Clone, Default)]
pub struct MetricBatch<'a> {
    /// Unit of ordering: batches of one stream reach a destination in append order.
    pub stream: u64,
    pub chunks: Vec<MetricChunk<'a>>,
}

/// Samples of the series of one table.
#[derive(Debug, Clone, Copy)]
pub struct MetricChunk<'a> {
    pub table: &'a EncodedTable,
    pub base: &'a BaseVector,
    pub present: Presence<'a>,
    pub timestamps: Timestamps<'a>,
    /// One for each series of the table, whether present or not.
    pub values: &'a [f64],
}

/// Which series of the table have a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence<'a> {
    All,
    /// Series i is bit `i % 64` of word `i / 64`; bits past the last series are ignored, missing words are zero.
    Bits(&'a [u64]),
}

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timestamps<'a> {
    Common(i64),
    /// One for each series of the table, whether present or not.
    Each(&'a [i64]),
}

impl MetricChunk<'_> {
    fn series(&self) -> usize {
        self.values.len().min(self.table.series() as usize)
    }

    fn is_present(&self, index: usize) -> bool {
        match self.present {
            Presence::All => true,
            Presence::Bits(words) => words.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1),
        }
    }

    /// Samples in the chunk.
    pub fn items(&self) -> usize {
        let series = self.series();
        match self.present {
            Presence::All => series,
            Presence::Bits(words) => {
                let whole: usize = words.iter().take(series / 64).map(|word| word.count_ones() as usize).sum();
                let last = words.get(series / 64).map_or(0, |word| word & !(u64::MAX << (series % 64)));
                whole + last.count_ones() as usize
            }
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let series = self.series();
        let items = self.items();
        let all = items == series;
        let each = matches!(self.timestamps, Timestamps::Each(_));
        out.extend_from_slice(&self.table.key().0);
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        out.push(flag(!all, FLAG_BITMAP) | flag(each, FLAG_EACH) | flag(self.base.is_none(), FLAG_NO_BASE));
        if !self.base.is_none() {
            out.extend_from_slice(&self.base.key().0);
        }
        put_len(out, series);
        if !all {
            self.encode_bitmap(series, out);
        }
        match self.timestamps {
            Timestamps::Common(time) => put_varint(out, zigzag(time)),
            Timestamps::Each(times) => {
                let mut previous = 0i64;
                for (index, time) in times.iter().take(series).enumerate() {
                    if all || self.is_present(index) {
                        put_varint(out, zigzag(time.wrapping_sub(previous)));
                        previous = *time;
                    }
                }
            }
        }
        let bases = self.base.values();
        if all {
            column::encode(self.values.get(..series).unwrap_or_default(), bases, out);
        } else {
            let base = |index: usize| bases.get(index).copied().unwrap_or(0.0);
            let present = self.values.iter().enumerate().take(series).filter(|(index, _)| self.is_present(*index));
            let (values, bases): (Vec<f64>, Vec<f64>) = present.map(|(index, value)| (*value, base(index))).unzip();
            column::encode(&values, &bases, out);
        }
    }

    fn encode_bitmap(&self, series: usize, out: &mut Vec<u8>) {
        let start = out.len();
        if let Presence::Bits(words) = self.present {
            out.extend(words.iter().flat_map(|word| word.to_le_bytes()).take(series.div_ceil(8)));
        }
        out.resize(start + series.div_ceil(8), 0);
        if !series.is_multiple_of(8)
            && let Some(last) = out.last_mut()
        {
            *last &= !(u8::MAX << (series % 8));
        }
    }

    /// Estimated bytes a sample of this chunk takes, from every `step`-th value; for deciding when to renew a base.
    pub fn sampled_cost(&self, step: usize) -> f64 {
        let mut scale = column::Scale::default();
        let (mut bytes, mut seen) = (0usize, 0usize);
        for (index, value) in self.values.iter().enumerate().step_by(step.max(1)) {
            if self.is_present(index) {
                let base = self.base.values().get(index).copied().unwrap_or(0.0);
                bytes += column::cost(*value, base, &mut scale);
                seen += 1;
            }
        }
        if seen == 0 { 0.0 } else { bytes as f64 / seen as f64 + 0.25 }
    }
}

impl MetricBatch<'_> {
    /// Samples in the batch.
    pub fn items(&self) -> u32 {
        let items = self.chunks.iter().map(MetricChunk::items).sum::<usize>();
        u32::try_from(items).unwrap_or(u32::MAX)
    }

    /// Appends the payload. Chunks without a sample are left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        self.encode_chunks(out);
    }

    pub(crate) fn encode_chunks(&self, out: &mut Vec<u8>) {
        let chunks = || self.chunks.iter().filter(|chunk| chunk.items() > 0);
        put_len(out, chunks().count());
        for chunk in chunks() {
            chunk.encode(out);
        }
    }

    /// Everything the payload names: tables and bases. May name one twice.
    pub fn contexts(&self) -> impl Iterator<Item = (ContextKey, Bytes)> + '_ {
        self.chunks.iter().filter(|chunk| chunk.items() > 0).flat_map(|chunk| {
            let base = (!chunk.base.is_none()).then(|| (chunk.base.key(), chunk.base.bytes().clone()));
            std::iter::once((chunk.table.key(), chunk.table.bytes().clone())).chain(base)
        })
    }
}
