//! The way in for metrics: encode, compress if it pays, append.

use bytes::Bytes;
use model::{ContextKey, HistogramBatch, MetricBatch};
use queue::{Appender, Codec, Durability, Kind, LaneState, Receipt, Record};

use crate::{IntakeError, off_reactor};

/// Whether payloads are compressed.
///
/// Value columns are dense already. Measured on batches of 2,000 samples (counters, gauges, constants; bases 20 scrapes
/// old): 1.85 bytes a sample raw, 1.74 with zstd level 1, for 40 ns a sample on top of 10 ns for encoding. A tenth is not
/// reached, so the default is not to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Stored as encoded.
    #[default]
    Never,
    /// zstd level 1, kept where it makes the payload smaller by a tenth.
    WhereItHelps,
}

/// Hands batches of one lane to the queue. Clones share the lane.
#[derive(Debug, Clone)]
pub struct MetricIntake {
    appender: Appender,
    compression: Compression,
}

/// About a millisecond of encoding.
const LONG: u32 = 50_000;

impl MetricIntake {
    /// An intake into the appender's lane.
    pub fn new(appender: Appender) -> Self {
        Self { appender, compression: Compression::default() }
    }

    /// The same with another choice of compression.
    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    /// Encodes and appends. Resolves when the queue has taken the bytes over (they outlive this process from then on); the
    /// receipt resolves when they outlive a power cut, and may be dropped. Waits while the lane has no room.
    pub async fn append(&self, batch: &MetricBatch<'_>) -> Result<Receipt, IntakeError> {
        self.put(batch, Durability::Soon).await
    }

    /// The same for what somebody waits for: the receipt resolves after one fdatasync.
    pub async fn append_now(&self, batch: &MetricBatch<'_>) -> Result<Receipt, IntakeError> {
        self.put(batch, Durability::Now).await
    }

    /// As [`append_now`](Self::append_now), for native histograms.
    pub async fn append_histograms_now(&self, batch: &HistogramBatch<'_>) -> Result<Receipt, IntakeError> {
        let items = batch.items();
        let record = off_reactor(items > LONG / 16, || {
            let mut raw = Vec::new();
            batch.encode(&mut raw);
            // Neighbouring series have much in common, other than in columns of values.
            let packed = Self { compression: Compression::WhereItHelps, ..self.clone() };
            packed.record(batch.stream, items, raw, batch.contexts())
        })?;
        self.appender.append(record, Durability::Now).await.map_err(|source| IntakeError::Queue { items, source })
    }

    /// As [`append_now`](Self::append_now), for samples that only those destinations are to get that take no native histograms.
    pub async fn append_stand_ins_now(&self, batch: &MetricBatch<'_>) -> Result<Receipt, IntakeError> {
        let items = batch.items();
        let record = off_reactor(items > LONG, || {
            let mut raw = Vec::with_capacity(64 + items as usize * 3);
            batch.encode_stand_ins(&mut raw);
            self.record(batch.stream, items, raw, batch.contexts())
        })?;
        self.appender.append(record, Durability::Now).await.map_err(|source| IntakeError::Queue { items, source })
    }

    /// Whether the lane is full, or its disk refuses writes.
    pub fn is_stalled(&self) -> bool {
        matches!(self.appender.state(), LaneState::Full | LaneState::Failed)
    }

    async fn put(&self, batch: &MetricBatch<'_>, durability: Durability) -> Result<Receipt, IntakeError> {
        let items = batch.items();
        let record = off_reactor(items > LONG, || {
            let mut raw = Vec::with_capacity(64 + items as usize * 3);
            batch.encode(&mut raw);
            self.record(batch.stream, items, raw, batch.contexts())
        })?;
        self.appender.append(record, durability).await.map_err(|source| IntakeError::Queue { items, source })
    }

    fn record(
        &self,
        stream: u64,
        items: u32,
        raw: Vec<u8>,
        contexts: impl Iterator<Item = (ContextKey, Bytes)>,
    ) -> Result<Record, IntakeError> {
        let too_long =
            |_| IntakeError::Encode { items, why: format!("{} bytes are too long for one record", raw.len()) };
        let raw_len = u32::try_from(raw.len()).map_err(too_long)?;
        let (codec, payload) = self.compressed(raw);
        let contexts = contexts.map(|(key, bytes)| (queue::ContextKey(key.0), bytes)).collect();
        Ok(Record { kind: Kind::MetricBatch, codec, stream, items, raw_len, payload, contexts })
    }

    fn compressed(&self, raw: Vec<u8>) -> (Codec, Bytes) {
        if self.compression == Compression::WhereItHelps {
            // Compression into memory fails only for want of memory; the raw bytes are as good.
            match zstd::bulk::compress(&raw, 1) {
                Ok(small) if small.len() <= raw.len() / 10 * 9 => {
                    return (Codec::Zstd, Bytes::from(small));
                }
                _ => {}
            }
        }
        (Codec::None, Bytes::from(raw))
    }
}
