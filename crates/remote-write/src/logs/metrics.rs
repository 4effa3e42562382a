//! Counters of log destinations: Promtail's, which dashboards ask for, and ours, which tell destinations apart.
//!
//! It registers and holds cells. Promtail's have `host` (of the URL) and `logs_config`; ours have `remote_name` and `url`.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use crate::{RemoteStorageMetrics, verdict::Loss};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostLabels {
    logs_config: String,
    host: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TenantLabels {
    logs_config: String,
    host: String,
    tenant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DropLabels {
    logs_config: String,
    host: String,
    tenant: String,
    /// Promtail's words where it has one.
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    logs_config: String,
    host: String,
    /// `-1`: no answer came.
    status_code: String,
}

/// All log destinations' metrics; registered once per process.
#[derive(Debug, Clone)]
pub struct LogDeliveryMetrics {
    logs_config: String,
    pub(crate) remote: RemoteStorageMetrics,
    sent_entries: Family<HostLabels, Counter>,
    sent_bytes: Family<HostLabels, Counter>,
    encoded_bytes: Family<HostLabels, Counter>,
    dropped_entries: Family<DropLabels, Counter>,
    dropped_bytes: Family<DropLabels, Counter>,
    mutated_entries: Family<DropLabels, Counter>,
    mutated_bytes: Family<DropLabels, Counter>,
    retries: Family<TenantLabels, Counter>,
    duration: Family<AnswerLabels, Histogram>,
}

impl Default for LogDeliveryMetrics {
    fn default() -> Self {
        let buckets = || Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        Self {
            logs_config: String::new(),
            remote: RemoteStorageMetrics::default(),
            sent_entries: Family::default(),
            sent_bytes: Family::default(),
            encoded_bytes: Family::default(),
            dropped_entries: Family::default(),
            dropped_bytes: Family::default(),
            mutated_entries: Family::default(),
            mutated_bytes: Family::default(),
            retries: Family::default(),
            duration: Family::new_with_constructor(buckets),
        }
    }
}

impl LogDeliveryMetrics {
    /// Registers `promtail_*` and `sigpost_log_destination_*`.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self { remote: RemoteStorageMetrics::register_logs(registry), ..Self::default() };
        let r = registry.sub_registry_with_prefix("promtail");
        r.register("sent_entries", "Log lines that were taken", all.sent_entries.clone());
        r.register("sent_bytes", "Bytes of log lines that were taken", all.sent_bytes.clone());
        r.register("encoded_bytes", "Bytes of requests that were taken, as sent", all.encoded_bytes.clone());
        r.register("dropped_entries", "Log lines that were refused for good", all.dropped_entries.clone());
        r.register("dropped_bytes", "Bytes of log lines that were refused for good", all.dropped_bytes.clone());
        r.register(
            "mutated_entries",
            "Parts of long log lines that were refused while the rest was taken",
            all.mutated_entries.clone(),
        );
        r.register("mutated_bytes", "Bytes of parts of long log lines that were refused", all.mutated_bytes.clone());
        r.register("batch_retries", "Requests of log lines that had to be repeated", all.retries.clone());
        r.register("request_duration_seconds", "Time of one attempt to send log lines", all.duration.clone());
        all
    }

    /// The same metrics, for the destinations of one entry of `logs.configs`.
    #[must_use]
    pub fn for_instance(&self, name: &str) -> Self {
        Self { logs_config: name.to_owned(), remote: self.remote.for_instance(name), ..self.clone() }
    }

    pub(crate) fn of(&self, host: &str) -> LogCells {
        let host = HostLabels { logs_config: self.logs_config.clone(), host: host.to_owned() };
        LogCells {
            sent_entries: self.sent_entries.get_or_create_owned(&host),
            sent_bytes: self.sent_bytes.get_or_create_owned(&host),
            encoded_bytes: self.encoded_bytes.get_or_create_owned(&host),
            all: self.clone(),
            host,
        }
    }
}

/// The cells of one destination.
#[derive(Debug)]
pub(crate) struct LogCells {
    sent_entries: Counter,
    sent_bytes: Counter,
    encoded_bytes: Counter,
    all: LogDeliveryMetrics,
    host: HostLabels,
}

impl LogCells {
    pub(crate) fn sent(&self, lines: u64, bytes: u64) {
        self.sent_entries.inc_by(lines);
        self.sent_bytes.inc_by(bytes);
    }

    pub(crate) fn encoded(&self, bytes: u64) {
        self.encoded_bytes.inc_by(bytes);
    }

    pub(crate) fn dropped(&self, tenant: &str, loss: Loss, lines: u64, bytes: u64) {
        if lines > 0 {
            let labels = self.drop_labels(tenant, loss);
            self.all.dropped_entries.get_or_create_owned(&labels).inc_by(lines);
            self.all.dropped_bytes.get_or_create_owned(&labels).inc_by(bytes);
        }
    }

    /// A line arrives without so many bytes of it.
    pub(crate) fn cut(&self, tenant: &str, bytes: u64) {
        let labels = self.drop_labels(tenant, Loss::LineTooLong);
        self.all.mutated_entries.get_or_create_owned(&labels).inc();
        self.all.mutated_bytes.get_or_create_owned(&labels).inc_by(bytes);
    }

    pub(crate) fn retried(&self, tenant: &str) {
        let HostLabels { logs_config, host } = self.host.clone();
        let labels = TenantLabels { logs_config, host, tenant: tenant.to_owned() };
        self.all.retries.get_or_create_owned(&labels).inc();
    }

    /// One attempt's end.
    pub(crate) fn took(&self, status: Option<u16>, seconds: f64) {
        let HostLabels { logs_config, host } = self.host.clone();
        let status_code = status.map_or_else(|| "-1".to_owned(), |status| status.to_string());
        self.all.duration.get_or_create_owned(&AnswerLabels { logs_config, host, status_code }).observe(seconds);
    }

    fn drop_labels(&self, tenant: &str, loss: Loss) -> DropLabels {
        let HostLabels { logs_config, host } = self.host.clone();
        let reason = match loss {
            Loss::RateLimited => "rate_limited",
            Loss::StreamLimit => "stream_limited",
            Loss::LineTooLong => "line_too_long",
            _ => "ingester_error",
        };
        DropLabels { logs_config, host, tenant: tenant.to_owned(), reason }
    }
}
