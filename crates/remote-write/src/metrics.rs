//! A destination's counters, under the names that Grafana Agent's dashboards ask for.
//!
//! It registers and holds cells; the worker moves them. Labels: `remote_name` (the destination's name) and `url`, without
//! user name, password and query.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Labels of every series here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RemoteLabels {
    /// The entry of `metrics.configs` it belongs to, as Grafana Agent's dashboards select.
    pub instance_group_name: String,
    pub remote_name: String,
    pub url: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    instance_group_name: String,
    remote_name: String,
    url: String,
    reason: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// All destinations' metrics; registered once per process.
#[derive(Debug, Clone)]
pub struct RemoteStorageMetrics {
    instance: String,
    samples: Family<RemoteLabels, Counter>,
    failed: Family<RemoteLabels, Counter>,
    retried: Family<RemoteLabels, Counter>,
    dropped: Family<ReasonLabels, Counter>,
    rejected: Family<ReasonLabels, Counter>,
    enqueue_retries: Family<RemoteLabels, Counter>,
    metadata: Family<RemoteLabels, Counter>,
    metadata_failed: Family<RemoteLabels, Counter>,
    bytes: Family<RemoteLabels, Counter>,
    metadata_bytes: Family<RemoteLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    pending: Family<RemoteLabels, Gauge>,
    shards: Family<RemoteLabels, Gauge>,
    shards_max: Family<RemoteLabels, Gauge>,
    shards_min: Family<RemoteLabels, Gauge>,
    shards_desired: Family<RemoteLabels, Gauge>,
    shard_capacity: Family<RemoteLabels, Gauge>,
    max_samples: Family<RemoteLabels, Gauge>,
    held: Family<RemoteLabels, Gauge>,
    highest: Seconds,
    highest_ms: Arc<AtomicI64>,
    queue_highest: Family<RemoteLabels, Seconds>,
    queue_highest_sent: Family<RemoteLabels, Seconds>,
    duration: Family<RemoteLabels, Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    instance_group_name: String,
    remote_name: String,
    url: String,
    /// The answer's status, or `error` when none came.
    status: String,
}

impl Default for RemoteStorageMetrics {
    fn default() -> Self {
        let buckets = || {
            Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0])
        };
        Self {
            instance: String::new(),
            samples: Family::default(),
            failed: Family::default(),
            retried: Family::default(),
            dropped: Family::default(),
            rejected: Family::default(),
            enqueue_retries: Family::default(),
            metadata: Family::default(),
            metadata_failed: Family::default(),
            bytes: Family::default(),
            metadata_bytes: Family::default(),
            requests: Family::default(),
            pending: Family::default(),
            shards: Family::default(),
            shards_max: Family::default(),
            shards_min: Family::default(),
            shards_desired: Family::default(),
            shard_capacity: Family::default(),
            max_samples: Family::default(),
            held: Family::default(),
            highest: Seconds::default(),
            highest_ms: Arc::new(AtomicI64::new(i64::MIN)),
            queue_highest: Family::default(),
            queue_highest_sent: Family::default(),
            duration: Family::new_with_constructor(buckets),
        }
    }
}

impl RemoteStorageMetrics {
    /// Registers everything under `prometheus_remote_storage_`.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        let r = registry.sub_registry_with_prefix("prometheus_remote_storage");
        // Counters get their `_total` from the text encoder.
        r.register("samples", "Samples sent, each counted once per attempt's success or refusal", all.samples.clone());
        r.register("samples_failed", "Samples that the far end refused for good", all.failed.clone());
        r.register("samples_retried", "Samples in attempts that have to be repeated", all.retried.clone());
        r.register("samples_dropped", "Samples not sent, by reason", all.dropped.clone());
        r.register("samples_rejected", "Samples lost at this destination, by reason", all.rejected.clone());
        // Dashboards ask for it. Nothing is enqueued in memory here, so it stays 0.
        r.register("enqueue_retries", "Always 0: the queue is on disk", all.enqueue_retries.clone());
        r.register("metadata", "Metric family descriptions sent", all.metadata.clone());
        r.register("metadata_failed", "Metric family descriptions that could not be sent", all.metadata_failed.clone());
        r.register("bytes", "Compressed bytes of samples sent", all.bytes.clone());
        r.register("metadata_bytes", "Compressed bytes of descriptions sent", all.metadata_bytes.clone());
        r.register("requests", "Attempts by status of the answer", all.requests.clone());
        r.register("samples_pending", "Samples claimed from the queue and not settled", all.pending.clone());
        r.register("shards", "Shards that may send now", all.shards.clone());
        r.register("shards_max", "Shards at most", all.shards_max.clone());
        r.register("shards_min", "Shards at least", all.shards_min.clone());
        r.register("shards_desired", "Shards wanted", all.shards_desired.clone());
        r.register("shard_capacity", "Samples one shard may hold in requests", all.shard_capacity.clone());
        r.register("max_samples_per_send", "Samples in one request at most", all.max_samples.clone());
        r.register(
            "held",
            "1 while the destination refuses us as configured and its data waits on disk",
            all.held.clone(),
        );
        r.register(
            "highest_timestamp_in_seconds",
            "Newest timestamp that reached any destination's queue",
            all.highest.clone(),
        );
        r.register(
            "queue_highest_timestamp_seconds",
            "Newest timestamp taken from the queue",
            all.queue_highest.clone(),
        );
        r.register(
            "queue_highest_sent_timestamp_seconds",
            "Newest timestamp delivered",
            all.queue_highest_sent.clone(),
        );
        r.register("sent_batch_duration_seconds", "Time of one attempt", all.duration.clone());
        all
    }

    /// Registers what log destinations move of it, under `sigpost_log_destination_`.
    pub(crate) fn register_logs(registry: &mut Registry) -> Self {
        let all = Self::default();
        let r = registry.sub_registry_with_prefix("sigpost_log_destination");
        r.register("entries", "Log lines sent, each counted once, taken or refused", all.samples.clone());
        r.register("entries_failed", "Log lines that the far end refused for good", all.failed.clone());
        r.register("entries_retried", "Log lines in attempts that have to be repeated", all.retried.clone());
        r.register("entries_dropped", "Log lines not sent, by reason", all.dropped.clone());
        r.register("entries_rejected", "Log lines lost at this destination, by reason", all.rejected.clone());
        r.register("entries_pending", "Log lines claimed from the queue and not settled", all.pending.clone());
        r.register("bytes", "Bytes of requests that were taken, as sent", all.bytes.clone());
        r.register("requests", "Attempts by status of the answer", all.requests.clone());
        r.register("shards", "Requests that may be under way at once", all.shards.clone());
        r.register(
            "held",
            "1 while the destination refuses us as configured and its data waits on disk",
            all.held.clone(),
        );
        r.register(
            "queue_highest_timestamp_seconds",
            "Newest timestamp taken from the queue",
            all.queue_highest.clone(),
        );
        r.register(
            "queue_highest_sent_timestamp_seconds",
            "Newest timestamp delivered",
            all.queue_highest_sent.clone(),
        );
        all
    }

    /// Registers what OTLP destinations move of it, under `sigpost_otlp_destination_`.
    pub(crate) fn register_otlp(registry: &mut Registry) -> Self {
        let all = Self::default();
        let r = registry.sub_registry_with_prefix("sigpost_otlp_destination");
        // Spans, data points and log records.
        r.register("items", "Items sent, each counted once, taken or refused", all.samples.clone());
        r.register("items_failed", "Items that the far end refused for good", all.failed.clone());
        r.register("items_retried", "Items in attempts that have to be repeated", all.retried.clone());
        r.register("items_dropped", "Items not sent, by reason", all.dropped.clone());
        r.register("items_rejected", "Items lost at this destination, by reason", all.rejected.clone());
        r.register("items_pending", "Items claimed from the queue and not settled", all.pending.clone());
        r.register("bytes", "Bytes of requests that were taken, as sent", all.bytes.clone());
        r.register("requests", "Attempts by status of the answer", all.requests.clone());
        r.register("shards", "Requests that may be under way at once", all.shards.clone());
        r.register(
            "held",
            "1 while the destination refuses us as configured and its data waits on disk",
            all.held.clone(),
        );
        r.register("queue_highest_timestamp_seconds", "Newest receipt taken from the queue", all.queue_highest.clone());
        r.register("queue_highest_sent_timestamp_seconds", "Newest receipt delivered", all.queue_highest_sent.clone());
        all
    }

    /// The same metrics, for the destinations of one entry of `metrics.configs`.
    #[must_use]
    pub fn for_instance(&self, name: &str) -> Self {
        Self { instance: name.to_owned(), ..self.clone() }
    }

    pub(crate) fn labels(&self, remote_name: &str, url: &str) -> RemoteLabels {
        let (remote_name, url) = (remote_name.to_owned(), url.to_owned());
        RemoteLabels { instance_group_name: self.instance.clone(), remote_name, url }
    }

    /// The cells of one destination.
    pub(crate) fn of(&self, labels: RemoteLabels) -> DestinationMetrics {
        drop(self.enqueue_retries.get_or_create(&labels));
        DestinationMetrics {
            samples: self.samples.get_or_create_owned(&labels),
            failed: self.failed.get_or_create_owned(&labels),
            retried: self.retried.get_or_create_owned(&labels),
            metadata: self.metadata.get_or_create_owned(&labels),
            metadata_failed: self.metadata_failed.get_or_create_owned(&labels),
            bytes: self.bytes.get_or_create_owned(&labels),
            metadata_bytes: self.metadata_bytes.get_or_create_owned(&labels),
            pending: self.pending.get_or_create_owned(&labels),
            shards: self.shards.get_or_create_owned(&labels),
            shards_max: self.shards_max.get_or_create_owned(&labels),
            shards_min: self.shards_min.get_or_create_owned(&labels),
            shards_desired: self.shards_desired.get_or_create_owned(&labels),
            shard_capacity: self.shard_capacity.get_or_create_owned(&labels),
            max_samples: self.max_samples.get_or_create_owned(&labels),
            held: self.held.get_or_create_owned(&labels),
            queue_highest: Newest::new(self.queue_highest.get_or_create_owned(&labels)),
            queue_highest_sent: Newest::new(self.queue_highest_sent.get_or_create_owned(&labels)),
            duration: self.duration.get_or_create_owned(&labels),
            highest: Newest { gauge: self.highest.clone(), at_ms: Arc::clone(&self.highest_ms) },
            all: self.clone(),
            labels,
            answers: Arc::default(),
        }
    }
}

/// A gauge in seconds that only grows.
#[derive(Debug, Clone)]
pub(crate) struct Newest {
    gauge: Seconds,
    at_ms: Arc<AtomicI64>,
}

impl Newest {
    fn new(gauge: Seconds) -> Self {
        Self { gauge, at_ms: Arc::new(AtomicI64::new(i64::MIN)) }
    }

    /// Notes a timestamp in milliseconds.
    pub(crate) fn note(&self, ms: i64) {
        if self.at_ms.fetch_max(ms, Ordering::Relaxed) < ms {
            self.gauge.set(ms as f64 / 1000.0);
        }
    }
}

/// See [`RemoteStorageMetrics`].
#[derive(Debug, Clone)]
pub(crate) struct DestinationMetrics {
    pub(crate) samples: Counter,
    pub(crate) failed: Counter,
    pub(crate) retried: Counter,
    pub(crate) metadata: Counter,
    pub(crate) metadata_failed: Counter,
    pub(crate) bytes: Counter,
    pub(crate) metadata_bytes: Counter,
    pub(crate) pending: Gauge,
    pub(crate) shards: Gauge,
    pub(crate) shards_max: Gauge,
    pub(crate) shards_min: Gauge,
    pub(crate) shards_desired: Gauge,
    pub(crate) shard_capacity: Gauge,
    pub(crate) max_samples: Gauge,
    pub(crate) held: Gauge,
    pub(crate) queue_highest: Newest,
    pub(crate) queue_highest_sent: Newest,
    pub(crate) highest: Newest,
    pub(crate) duration: Histogram,
    all: RemoteStorageMetrics,
    labels: RemoteLabels,
    /// The counters of the answers seen so far, which are few: looking one up by its labels copies them.
    answers: Arc<Mutex<Vec<AnswerCount>>>,
}

/// How often an answer came; `None`: no answer.
type AnswerCount = (Option<u16>, Counter);

/// Answers remembered in `answers`.
const ANSWERS: usize = 16;

impl DestinationMetrics {
    /// Samples dropped before sending: `dropped_series` (relabelling) or `too_old` (age).
    pub(crate) fn dropped(&self, reason: &'static str, samples: u64) {
        if samples > 0 {
            self.all.dropped.get_or_create_owned(&self.reason(reason)).inc_by(samples);
        }
    }

    /// Samples lost at the far end or unreadable here.
    pub(crate) fn rejected(&self, reason: &'static str, samples: u64) {
        if samples > 0 {
            self.all.rejected.get_or_create_owned(&self.reason(reason)).inc_by(samples);
        }
    }

    /// One attempt's end.
    pub(crate) fn request(&self, status: Option<u16>) {
        let mut answers = self.answers.lock();
        if let Some((_, counter)) = answers.iter().find(|(known, _)| *known == status) {
            counter.inc();
            return;
        }
        let word = status.map_or_else(|| "error".to_owned(), |status| status.to_string());
        let RemoteLabels { instance_group_name, remote_name, url } = self.labels.clone();
        let labels = RequestLabels { instance_group_name, remote_name, url, status: word };
        let counter = self.all.requests.get_or_create_owned(&labels);
        counter.inc();
        if answers.len() < ANSWERS {
            answers.push((status, counter));
        }
    }

    fn reason(&self, reason: &'static str) -> ReasonLabels {
        let RemoteLabels { instance_group_name, remote_name, url } = self.labels.clone();
        ReasonLabels { instance_group_name, remote_name, url, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_that_dashboards_ask_for() {
        let mut registry = Registry::default();
        let metrics = RemoteStorageMetrics::register(&mut registry);
        let cells = metrics.of(RemoteLabels {
            instance_group_name: "default".into(),
            remote_name: "prod".into(),
            url: "https://h/w".into(),
        });
        cells.dropped("too_old", 3);
        cells.rejected("bad_request", 1);
        cells.request(Some(200));
        cells.request(Some(200));
        cells.request(None);
        cells.highest.note(2_500);
        cells.highest.note(1_000);
        cells.queue_highest_sent.note(1_000);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let labels = "{instance_group_name=\"default\",remote_name=\"prod\",url=\"https://h/w\"}";
        for name in [
            "queue_highest_sent_timestamp_seconds",
            "samples_total",
            "samples_pending",
            "samples_failed_total",
            "samples_retried_total",
            "enqueue_retries_total",
            "shards",
            "shards_max",
            "shards_min",
            "shards_desired",
            "shard_capacity",
            "sent_batch_duration_seconds_sum",
            "sent_batch_duration_seconds_count",
            "bytes_total",
            "metadata_total",
            "max_samples_per_send",
        ] {
            assert!(text.contains(&format!("\nprometheus_remote_storage_{name}{labels} ")), "{name} in\n{text}");
        }
        for (status, count) in [("200", 2), ("error", 1)] {
            let line = format!("remote_name=\"prod\",url=\"https://h/w\",status=\"{status}\"}} {count}\n");
            assert!(text.contains(&line), "{line} in\n{text}");
        }
        assert!(text.contains("\nprometheus_remote_storage_highest_timestamp_in_seconds 2.5\n"), "{text}");
        assert!(
            text.contains("samples_dropped_total{instance_group_name=\"default\",remote_name=\"prod\",url=\"https://h/w\",reason=\"too_old\"} 3"),
            "{text}"
        );
    }

    #[test]
    fn the_newest_timestamp_never_goes_back() {
        let newest = Newest::new(Seconds::default());
        newest.note(-5_000);
        assert!((newest.gauge.get() - -5.0).abs() < f64::EPSILON);
        newest.note(2_000);
        newest.note(1_000);
        assert!((newest.gauge.get() - 2.0).abs() < f64::EPSILON);
    }
}
