//! What receivers count, under the names that the Agent's dashboards and alerts know, and our own.

use model::otlp::Signal;
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::{elsewhere::Taken, refusal::Refusal};

/// `traces_config`, `receiver`, `transport`.
type Labels = [(&'static str, String); 3];
type ReasonLabels = [(&'static str, String); 4];
type Counters = Family<Labels, Counter>;

/// Made once per registry; shared by all receivers.
#[derive(Debug, Clone, Default)]
pub struct OtlpMetrics {
    accepted: [Counters; 3],
    refused: [Counters; 3],
    bytes: Counters,
    requests: Counters,
    refused_requests: Family<ReasonLabels, Counter>,
    lost: Counters,
    untranslated: Family<ReasonLabels, Counter>,
}

impl OtlpMetrics {
    /// Counters of a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        for (signal, items) in
            [(Signal::Traces, "spans"), (Signal::Metrics, "metric_points"), (Signal::Logs, "log_records")]
        {
            let (accepted, refused) = (all.accepted.get(signal as usize), all.refused.get(signal as usize));
            let (accepted, refused) = (accepted.cloned().unwrap_or_default(), refused.cloned().unwrap_or_default());
            let of = signal.items();
            registry.register(
                format!("traces_receiver_accepted_{items}"),
                format!("OTLP {of} that are on disk and were answered with success"),
                accepted,
            );
            registry.register(
                format!("traces_receiver_refused_{items}"),
                format!("OTLP {of} that were read and not stored: the queue was full, or the agent stopped"),
                refused,
            );
        }
        registry.register(
            "sigpost_otlp_received_bytes",
            "Bytes of OTLP requests answered with success, unpacked",
            all.bytes.clone(),
        );
        registry.register("sigpost_otlp_requests", "OTLP requests answered with success", all.requests.clone());
        registry.register(
            "sigpost_otlp_refused_requests",
            "OTLP requests not answered with success, by reason",
            all.refused_requests.clone(),
        );
        registry.register(
            "sigpost_receiver_lost_datagrams",
            "Datagrams that the kernel dropped because they came faster than they were read",
            all.lost.clone(),
        );
        registry.register(
            "sigpost_otlp_untranslated_items",
            "Data points and log records that have no place in what they were to become, by reason",
            all.untranslated.clone(),
        );
        all
    }

    /// The counters of one endpoint of one instance.
    pub(crate) fn of(&self, instance: &str, receiver: &str, transport: &'static str) -> ReceiverCounts {
        let labels: Labels = [
            ("traces_config", instance.to_owned()),
            ("receiver", receiver.to_owned()),
            ("transport", transport.to_owned()),
        ];
        let each = |families: &[Counters; 3]| families.each_ref().map(|family| family.get_or_create(&labels).clone());
        ReceiverCounts {
            accepted: each(&self.accepted),
            refused: each(&self.refused),
            bytes: self.bytes.get_or_create(&labels).clone(),
            requests: self.requests.get_or_create(&labels).clone(),
            refused_requests: self.refused_requests.clone(),
            lost: self.lost.clone(),
            untranslated: self.untranslated.clone(),
            labels,
        }
    }
}

/// One endpoint's share of the metrics.
#[derive(Debug, Clone)]
pub(crate) struct ReceiverCounts {
    accepted: [Counter; 3],
    refused: [Counter; 3],
    bytes: Counter,
    requests: Counter,
    refused_requests: Family<ReasonLabels, Counter>,
    lost: Counters,
    untranslated: Family<ReasonLabels, Counter>,
    labels: Labels,
}

impl ReceiverCounts {
    pub(crate) fn accepted(&self, signal: Signal, items: u32, bytes: usize) {
        if let Some(counter) = self.accepted.get(signal as usize) {
            counter.inc_by(u64::from(items));
        }
        self.bytes.inc_by(bytes as u64);
        self.requests.inc();
    }

    /// Items of a request that could be read and was not stored.
    pub(crate) fn refused_items(&self, signal: Signal, items: u32) {
        if let Some(counter) = self.refused.get(signal as usize) {
            counter.inc_by(u64::from(items));
        }
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        let [instance, receiver, transport] = self.labels.clone();
        let labels = [instance, receiver, transport, ("reason", refusal.reason().to_owned())];
        self.refused_requests.get_or_create(&labels).inc();
    }

    /// Items that are told as rejected in an answer of success.
    pub(crate) fn untranslated(&self, taken: &Taken) {
        for (reason, count) in &taken.reasons {
            let [instance, receiver, transport] = self.labels.clone();
            let labels = [instance, receiver, transport, ("reason", (*reason).to_owned())];
            self.untranslated.get_or_create(&labels).inc_by(*count);
        }
    }

    /// Datagrams that were never read.
    pub(crate) fn lost(&self, datagrams: u64) {
        // Only where datagrams come is there a row.
        self.lost.get_or_create(&self.labels).inc_by(datagrams);
    }

    /// Requests answered with success, and items of all signals in them.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.requests.get(), self.accepted.iter().map(Counter::get).sum())
    }
}
