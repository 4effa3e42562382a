//! What a target answers: text 0.0.4 and OpenMetrics, read by position and line by line, which must come to the same.

use std::{collections::HashMap, sync::Arc};

use model::{BaseVector, ContextKey, Labels, MetricBatch, ModelError, SeriesTable, decode_batch};
use scrape::{CacheConfig, Format, Limits, ScrapeCache};

/// Between two bodies of an input. No exposition holds it: it is not UTF-8.
const SEPARATOR: u8 = 0xff;

/// Flags (1): 1 OpenMetrics, 2 timestamps are not honored, 4 staleness of those with timestamps is tracked, 8 few samples
/// and short labels only. Then the answers of consecutive scrapes. Each is scraped twice, so that the second time everything stands
/// where it stood.
pub fn exposition(data: &[u8]) {
    let [flags, bodies @ ..] = data else { return };
    let limits = if flags & 8 == 0 {
        Limits::default()
    } else {
        Limits { samples: 20, labels: 4, label_name_length: 12, label_value_length: 20, ..Limits::default() }
    };
    let target_labels = [("instance", "i:1"), ("job", "j")].into_iter().collect::<Labels>();
    let config = CacheConfig {
        honor_labels: false,
        honor_timestamps: flags & 2 == 0,
        track_timestamps_staleness: flags & 4 != 0,
        metric_relabel: Arc::from(Vec::new()),
        limits,
        target_labels,
    };
    let format = if flags & 1 == 0 { Format::Text004 } else { Format::OpenMetrics1 };
    let mut by_position = ScrapeCache::new(7, config.clone());
    let mut by_line = ScrapeCache::new(7, config).without_recognition();
    let mut now = 1_700_000_000_000;
    for body in bodies.split(|byte| *byte == SEPARATOR).take(8) {
        for _ in 0..2 {
            now += 15_000;
            let (fast, slow) = (by_position.ingest(body, format, now), by_line.ingest(body, format, now));
            assert_eq!(fast, slow, "the two ways of reading count differently: {:?}", String::from_utf8_lossy(body));
            if fast.is_err() {
                by_position.fail(now);
                by_line.fail(now);
            }
            let (fast, slow) = (samples(&by_position.batch(&[])), samples(&by_line.batch(&[])));
            assert_eq!(fast, slow, "the two ways of reading differ: {:?}", String::from_utf8_lossy(body));
        }
    }
}

/// Labels, milliseconds, bits of the value; in label order, those of one series in the order of the batch.
fn samples(batch: &MetricBatch<'_>) -> Vec<(String, i64, u64)> {
    let mut payload = Vec::new();
    batch.encode(&mut payload);
    let contexts: HashMap<ContextKey, bytes::Bytes> = batch.contexts().collect();
    let context = |key: &ContextKey| contexts.get(key).ok_or(ModelError::MissingContext { key: *key });
    let chunks = decode_batch(&payload, &mut |key| BaseVector::decode(context(key)?).map(Arc::new))
        .expect("a batch of one's own can be read");
    let mut samples = Vec::new();
    for chunk in &chunks {
        let table = context(&chunk.table).and_then(|bytes| SeriesTable::decode(bytes)).expect("and so can its tables");
        assert_eq!(table.series(), chunk.series as usize);
        for sample in chunk.samples() {
            let labels: Vec<String> =
                table.labels(sample.series as usize).map(|(name, value)| format!("{name}={value:?}")).collect();
            assert!(labels.iter().any(|label| label.starts_with("__name__=")), "a sample without a name");
            samples.push((labels.join(","), sample.timestamp_ms, sample.value.to_bits()));
        }
    }
    assert_eq!(samples.len(), batch.items() as usize);
    samples.sort_by(|a, b| a.0.cmp(&b.0));
    samples
}
