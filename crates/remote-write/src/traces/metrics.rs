//! Counters of OTLP destinations: the Agent's, which dashboards ask for, and ours, which tell destinations apart.
//!
//! It registers and holds cells.

use model::otlp::Signal;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::OtlpProtocol;
use crate::RemoteStorageMetrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExporterLabels {
    traces_config: String,
    /// `otlp/<number or name>`, `otlphttp/...`, `awsxray/...`, `awss3/...`: the collector's words.
    exporter: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShedLabels {
    traces_config: String,
    remote_name: String,
    /// `frames`, `exceptions`, `metadata`, `texts`, `links`, `annotations`, `blocks`.
    part: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    traces_config: String,
    endpoint: String,
    success: &'static str,
}

/// All OTLP destinations' metrics; registered once per process.
#[derive(Debug, Clone, Default)]
pub struct OtlpDeliveryMetrics {
    traces_config: String,
    pub(crate) remote: RemoteStorageMetrics,
    sent: [Family<ExporterLabels, Counter>; 3],
    failed: [Family<ExporterLabels, Counter>; 3],
    shed: Family<ShedLabels, Counter>,
    documents: Family<ExporterLabels, Counter>,
    /// The Agent's name has no `_total`, which a counter would get.
    outcomes: Family<OutcomeLabels, Gauge>,
    /// Of `load_balancing`: which backend the destinations are.
    backend: Option<String>,
}

impl OtlpDeliveryMetrics {
    /// Registers `traces_exporter_*` and `sigpost_otlp_destination_*`.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self { remote: RemoteStorageMetrics::register_otlp(registry), ..Self::default() };
        let r = registry.sub_registry_with_prefix("traces_exporter");
        let [spans, points, records] = &all.sent;
        r.register("sent_spans", "Spans that a destination took", spans.clone());
        r.register("sent_metric_points", "Data points that a destination took", points.clone());
        r.register("sent_log_records", "Log records that a destination took", records.clone());
        let [spans, points, records] = &all.failed;
        r.register("send_failed_spans", "Spans lost on their way out", spans.clone());
        r.register("send_failed_metric_points", "Data points lost on their way out", points.clone());
        r.register("send_failed_log_records", "Log records lost on their way out", records.clone());
        registry.register(
            "traces_loadbalancer_backend_outcome",
            "Requests to a backend that spans are parted between, by success",
            all.outcomes.clone(),
        );
        let r = registry.sub_registry_with_prefix("sigpost_xray");
        r.register("documents", "Segment documents made", all.documents.clone());
        r.register("shed", "Parts of segment documents left out because X-Ray takes 64 kB, by part", all.shed.clone());
        all
    }

    /// The same metrics, for the destinations of one entry of `traces.configs`.
    #[must_use]
    pub fn for_instance(&self, name: &str) -> Self {
        Self { traces_config: name.to_owned(), remote: self.remote.for_instance(name), ..self.clone() }
    }

    /// The same for one backend (`host:port`) of `load_balancing`.
    #[must_use]
    pub fn for_backend(&self, endpoint: &str) -> Self {
        Self { backend: Some(endpoint.to_owned()), ..self.clone() }
    }

    /// Spans that the queue gave up before the destination took them.
    pub fn given_up(&self, protocol: &OtlpProtocol, remote_name: &str, spans: u64) {
        let exporter = format!("{}/{remote_name}", protocol.exporter());
        let labels = ExporterLabels { traces_config: self.traces_config.clone(), exporter };
        of(Signal::Traces, &self.failed.each_ref().map(|family| family.get_or_create_owned(&labels))).inc_by(spans);
    }

    pub(crate) fn of(&self, kind: &str, remote_name: &str) -> OtlpCells {
        let exporter = format!("{kind}/{remote_name}");
        let labels = ExporterLabels { traces_config: self.traces_config.clone(), exporter };
        let outcome = |success| {
            let (traces_config, endpoint) = (self.traces_config.clone(), self.backend.clone()?);
            Some(self.outcomes.get_or_create_owned(&OutcomeLabels { traces_config, endpoint, success }))
        };
        OtlpCells {
            outcomes: [outcome("true"), outcome("false")],
            sent: self.sent.each_ref().map(|family| family.get_or_create_owned(&labels)),
            failed: self.failed.each_ref().map(|family| family.get_or_create_owned(&labels)),
            documents: (kind == "awsxray").then(|| self.documents.get_or_create_owned(&labels)),
            all: self.clone(),
            remote_name: remote_name.to_owned(),
        }
    }
}

fn of(signal: Signal, [spans, points, records]: &[Counter; 3]) -> &Counter {
    match signal {
        Signal::Traces => spans,
        Signal::Metrics => points,
        Signal::Logs => records,
    }
}

/// The cells of one destination.
#[derive(Debug)]
pub(crate) struct OtlpCells {
    outcomes: [Option<Gauge>; 2],
    sent: [Counter; 3],
    failed: [Counter; 3],
    documents: Option<Counter>,
    all: OtlpDeliveryMetrics,
    remote_name: String,
}

impl OtlpCells {
    pub(crate) fn sent(&self, signal: Signal, items: u64) {
        of(signal, &self.sent).inc_by(items);
    }

    pub(crate) fn failed(&self, signal: Signal, items: u64) {
        of(signal, &self.failed).inc_by(items);
    }

    /// A request was answered, or not.
    pub(crate) fn outcome(&self, success: bool) {
        let [well, badly] = &self.outcomes;
        if let Some(outcomes) = if success { well } else { badly } {
            outcomes.inc();
        }
    }

    /// So many documents were made, and what had to go for them.
    pub(crate) fn made(&self, documents: u64, shed: &xray::Shed) {
        if let Some(made) = &self.documents {
            made.inc_by(documents);
        }
        let xray::Shed { frames, exceptions, metadata, texts, links, annotations, blocks } = *shed;
        for (part, count) in [
            ("frames", frames),
            ("exceptions", exceptions),
            ("metadata", metadata),
            ("texts", texts),
            ("links", links),
            ("annotations", annotations),
            ("blocks", blocks),
        ] {
            if count > 0 {
                let (traces_config, remote_name) = (self.all.traces_config.clone(), self.remote_name.clone());
                let labels = ShedLabels { traces_config, remote_name, part };
                self.all.shed.get_or_create_owned(&labels).inc_by(count as u64);
            }
        }
    }
}
