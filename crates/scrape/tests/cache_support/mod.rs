//! A target's cache, seen through the bytes it writes: every batch is encoded, decoded with nothing but the contexts
//! it named, and shown as labelled samples.

#![allow(dead_code)] // each test file uses its own part of it

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use model::{BaseVector, ContextKey, Labels, MetricBatch, ModelError, SeriesTable, decode_batch};
use relabel::Rule;
use scrape::{CacheConfig, Format, IngestError, Ingested, Limits, ScrapeCache};

/// Labels as `name{a="b"}`, milliseconds, value bits.
pub type Sample = (String, i64, u64);

pub const STALE: u64 = model::STALE_NAN_BITS;

pub fn config() -> CacheConfig {
    CacheConfig {
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        metric_relabel: Arc::from(Vec::<Rule>::new()),
        limits: Limits::default(),
        target_labels: Labels::new(),
    }
}

pub struct Target {
    pub cache: ScrapeCache,
    pub format: Format,
}

impl Target {
    pub fn new(config: CacheConfig) -> Self {
        Self { cache: ScrapeCache::new(7, config), format: Format::Text004 }
    }

    pub fn plain() -> Self {
        Self::new(config())
    }

    pub fn open_metrics() -> Self {
        Self { format: Format::OpenMetrics1, ..Self::plain() }
    }

    pub fn unrecognising(config: CacheConfig) -> Self {
        Self { cache: ScrapeCache::new(7, config).without_recognition(), format: Format::Text004 }
    }

    pub fn ingest(&mut self, body: impl AsRef<[u8]>, ts: i64) -> Result<Ingested, IngestError> {
        self.cache.ingest(body.as_ref(), self.format, ts)
    }

    /// A scrape as the loop does it: on an error, a failed scrape.
    pub fn scrape(&mut self, body: impl AsRef<[u8]>, ts: i64) -> (Result<Ingested, IngestError>, Vec<Sample>) {
        let outcome = self.ingest(body, ts);
        if outcome.is_err() {
            self.cache.fail(ts);
        }
        let samples = self.batch(&[]);
        (outcome, samples)
    }

    /// The samples of a body that must be right.
    pub fn samples(&mut self, body: impl AsRef<[u8]>, ts: i64) -> Vec<Sample> {
        let (outcome, samples) = self.scrape(body, ts);
        outcome.expect("the body is right");
        samples
    }

    /// In label order, samples of one series in the order of the batch.
    pub fn batch(&mut self, report: &[(&str, f64)]) -> Vec<Sample> {
        let mut samples = decode(&self.cache.batch(report));
        samples.sort_by(|a, b| a.0.cmp(&b.0));
        samples
    }

    pub fn families(&mut self) -> Vec<(String, String)> {
        let batch = self.cache.batch(&[]);
        let mut families = Vec::new();
        for chunk in &batch.chunks {
            let table = SeriesTable::decode(chunk.table.bytes()).expect("own bytes decode");
            for at in 0..table.series() {
                let family = table.family(at);
                let text = format!("{} {} {:?} {:?}", family.name, family.kind.name(), family.help, family.unit);
                families.push((show(table.labels(at)), text));
            }
        }
        families.sort();
        families
    }
}

pub fn decode(batch: &MetricBatch<'_>) -> Vec<Sample> {
    let mut payload = Vec::new();
    batch.encode(&mut payload);
    let contexts: HashMap<ContextKey, Bytes> = batch.contexts().collect();
    let context = |key: &ContextKey| contexts.get(key).ok_or(ModelError::MissingContext { key: *key });
    let chunks = decode_batch(&payload, &mut |key| BaseVector::decode(context(key)?).map(Arc::new)).expect("decodes");
    let mut samples = Vec::new();
    for chunk in &chunks {
        let table = SeriesTable::decode(context(&chunk.table).expect("the table is named")).expect("decodes");
        assert_eq!(table.series(), chunk.series as usize);
        samples.extend(
            chunk.samples().map(|s| (show(table.labels(s.series as usize)), s.timestamp_ms, s.value.to_bits())),
        );
    }
    assert_eq!(samples.len(), batch.items() as usize);
    samples
}

fn show<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut name = String::new();
    let mut text = String::new();
    for (label, value) in labels {
        if label == "__name__" {
            name = value.to_owned();
        } else {
            text.push_str(&format!("{}{label}={value:?}", if text.is_empty() { "" } else { "," }));
        }
    }
    format!("{name}{{{text}}}")
}

/// What a test expects: value as a number.
pub fn at(ts: i64, samples: &[(&str, f64)]) -> Vec<Sample> {
    let mut samples: Vec<_> =
        samples.iter().map(|(series, value)| ((*series).to_owned(), ts, value.to_bits())).collect();
    samples.sort_by(|a, b| a.0.cmp(&b.0));
    samples
}

pub fn stale() -> f64 {
    model::stale_marker()
}
