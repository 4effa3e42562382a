//! What processors count.

use std::time::Duration;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

type Labels<const N: usize> = [(&'static str, String); N];

/// Made once per registry; shared by all instances.
#[derive(Debug, Clone, Default)]
pub struct ProcessorMetrics {
    accepted: Family<Labels<1>, Counter>,
    forwarded: Family<Labels<1>, Counter>,
    dropped: Family<Labels<2>, Counter>,
    tail_policies: Family<Labels<3>, Counter>,
    tail_decided: Family<Labels<2>, Counter>,
    tail_too_early: Family<Labels<1>, Counter>,
    tail_new: Family<Labels<1>, Counter>,
    tail_late: Family<Labels<1>, Counter>,
    tail_on_memory: Family<Labels<1>, Gauge>,
    graph: GraphFamilies,
    lines: Family<Labels<1>, Counter>,
    lost_lines: Family<Labels<1>, Counter>,
    lost_samples: Family<Labels<1>, Counter>,
    backends: Family<Labels<2>, Gauge>,
    backend_updates: Family<Labels<2>, Counter>,
    resolutions: Family<Labels<3>, Counter>,
    rerouted: Family<Labels<1>, Counter>,
}

/// `traces_config`, `client`, `server`.
#[derive(Debug, Clone)]
struct GraphFamilies {
    requests: Family<Labels<3>, Counter>,
    failed: Family<Labels<3>, Counter>,
    server_seconds: Family<Labels<3>, Histogram, fn() -> Histogram>,
    client_seconds: Family<Labels<3>, Histogram, fn() -> Histogram>,
    unpaired: Family<Labels<3>, Counter>,
    dropped: Family<Labels<3>, Counter>,
}

/// The Agent's buckets, seconds.
fn seconds() -> Histogram {
    Histogram::new([0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48])
}

impl Default for GraphFamilies {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            failed: Family::default(),
            server_seconds: Family::new_with_constructor(seconds),
            client_seconds: Family::new_with_constructor(seconds),
            unpaired: Family::default(),
            dropped: Family::default(),
        }
    }
}

impl ProcessorMetrics {
    /// Counters of a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        registry.register(
            "traces_processor_accepted_spans",
            "Spans that processors took from the queue",
            all.accepted.clone(),
        );
        registry.register(
            "traces_processor_forwarded_spans",
            "Spans that processors passed on to destinations, durably",
            all.forwarded.clone(),
        );
        registry.register(
            "traces_processor_dropped_spans",
            "Spans that processors did not pass on, by reason",
            all.dropped.clone(),
        );
        registry.register(
            "traces_processor_tail_sampling_count_traces_sampled",
            "Traces that a policy was asked about, and whether it sampled them",
            all.tail_policies.clone(),
        );
        registry.register(
            "traces_processor_tail_sampling_global_count_traces_sampled",
            "Traces that were decided, and whether they are forwarded",
            all.tail_decided.clone(),
        );
        registry.register(
            "traces_processor_tail_sampling_sampling_trace_dropped_too_early",
            "Traces that were decided before their time because there was no room for them",
            all.tail_too_early.clone(),
        );
        registry.register(
            "traces_processor_tail_sampling_new_trace_id_received",
            "Traces whose first span came",
            all.tail_new.clone(),
        );
        registry.register(
            "traces_processor_tail_sampling_late_spans",
            "Spans that came after the decision about their trace, and followed it",
            all.tail_late.clone(),
        );
        registry.register(
            "traces_processor_tail_sampling_sampling_traces_on_memory",
            "Traces that wait for their decision",
            all.tail_on_memory.clone(),
        );
        let graph = &all.graph;
        registry.register(
            "traces_service_graph_request",
            "Requests between two services, seen from both",
            graph.requests.clone(),
        );
        registry.register(
            "traces_service_graph_request_failed",
            "Requests between two services that one of them calls failed",
            graph.failed.clone(),
        );
        registry.register(
            "traces_service_graph_request_server_seconds",
            "Time of requests between two services as the server saw it",
            graph.server_seconds.clone(),
        );
        registry.register(
            "traces_service_graph_request_client_seconds",
            "Time of requests between two services as the client saw it",
            graph.client_seconds.clone(),
        );
        registry.register(
            "traces_service_graph_unpaired_spans",
            "Spans whose other side did not come in time",
            graph.unpaired.clone(),
        );
        registry.register(
            "traces_service_graph_dropped_spans",
            "Spans that are in no pair for want of room",
            graph.dropped.clone(),
        );
        registry.register(
            "traces_processor_automatic_logging_lines",
            "Lines that were made of spans and handed over",
            all.lines.clone(),
        );
        registry.register(
            "traces_processor_automatic_logging_dropped_lines",
            "Lines that were made of spans and for which the logs instance had no room in time",
            all.lost_lines.clone(),
        );
        registry.register(
            "traces_processor_spanmetrics_dropped_samples",
            "Samples of spanmetrics for which the metrics instance had no room in time",
            all.lost_samples.clone(),
        );
        registry.register(
            "traces_loadbalancer_num_backends",
            "Backends that spans are parted between",
            all.backends.clone(),
        );
        registry.register(
            "traces_loadbalancer_num_backend_updates",
            "Times that a resolver found other backends",
            all.backend_updates.clone(),
        );
        registry.register(
            "traces_loadbalancer_num_resolutions",
            "Times that a resolver looked for backends, by success",
            all.resolutions.clone(),
        );
        registry.register(
            "traces_loadbalancer_rerouted_spans",
            "Spans that waited for a backend which is gone and went to those that are left",
            all.rerouted.clone(),
        );
        all
    }

    /// So many backends are known of an instance; none: it has no resolver any more.
    pub fn backends(&self, instance: &str, resolver: &'static str, count: usize) {
        let labels = [("traces_config", instance.to_owned()), ("resolver", resolver.to_owned())];
        self.backends.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A resolver looked, and may have found.
    pub fn resolved(&self, instance: &str, resolver: &'static str, success: bool) {
        let labels = [
            ("traces_config", instance.to_owned()),
            ("resolver", resolver.to_owned()),
            ("success", success.to_string()),
        ];
        self.resolutions.get_or_create(&labels).inc();
    }

    /// What a resolver found differs from what it found before.
    pub fn backends_changed(&self, instance: &str, resolver: &'static str) {
        let labels = [("traces_config", instance.to_owned()), ("resolver", resolver.to_owned())];
        self.backend_updates.get_or_create(&labels).inc();
    }

    /// What was read here was counted when it was processed; only where it goes now is news.
    pub(crate) fn rerouting(&self, instance: &str) -> StageCounts {
        let rerouted = self.rerouted.get_or_create(&[("traces_config", instance.to_owned())]).clone();
        StageCounts { accepted: Counter::default(), forwarded: rerouted, ..self.of(instance) }
    }

    pub(crate) fn tail(&self, instance: &str) -> TailCounts {
        let labels = [("traces_config", instance.to_owned())];
        let dropped = [("traces_config", instance.to_owned()), ("reason", "not_sampled".to_owned())];
        TailCounts {
            instance: instance.to_owned(),
            policies: self.tail_policies.clone(),
            decided: self.tail_decided.clone(),
            not_sampled: self.dropped.get_or_create(&dropped).clone(),
            too_early: self.tail_too_early.get_or_create(&labels).clone(),
            new_traces: self.tail_new.get_or_create(&labels).clone(),
            late: self.tail_late.get_or_create(&labels).clone(),
            on_memory: self.tail_on_memory.get_or_create(&labels).clone(),
        }
    }

    pub(crate) fn graph(&self, instance: &str) -> GraphCounts {
        GraphCounts { instance: instance.to_owned(), families: self.graph.clone() }
    }

    pub(crate) fn of(&self, instance: &str) -> StageCounts {
        let labels = [("traces_config", instance.to_owned())];
        let dropped = |reason: &str| {
            let labels = [("traces_config", instance.to_owned()), ("reason", reason.to_owned())];
            self.dropped.get_or_create(&labels).clone()
        };
        StageCounts {
            accepted: self.accepted.get_or_create(&labels).clone(),
            forwarded: self.forwarded.get_or_create(&labels).clone(),
            undecodable: dropped("undecodable"),
            lines: self.lines.get_or_create(&labels).clone(),
            lost_lines: self.lost_lines.get_or_create(&labels).clone(),
            lost_samples: self.lost_samples.get_or_create(&labels).clone(),
        }
    }
}

/// One instance's share.
#[derive(Debug, Clone)]
pub(crate) struct StageCounts {
    pub(crate) accepted: Counter,
    pub(crate) forwarded: Counter,
    pub(crate) undecodable: Counter,
    pub(crate) lines: Counter,
    pub(crate) lost_lines: Counter,
    pub(crate) lost_samples: Counter,
}

/// What tail sampling of one instance counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct TailCounts {
    instance: String,
    policies: Family<Labels<3>, Counter>,
    decided: Family<Labels<2>, Counter>,
    pub(crate) not_sampled: Counter,
    pub(crate) too_early: Counter,
    pub(crate) new_traces: Counter,
    pub(crate) late: Counter,
    pub(crate) on_memory: Gauge,
}

impl TailCounts {
    pub(crate) fn of_policy(&self, policy: &str, sampled: bool) {
        let labels =
            [("traces_config", self.instance.clone()), ("policy", policy.to_owned()), ("sampled", sampled.to_string())];
        self.policies.get_or_create(&labels).inc();
    }

    pub(crate) fn decided(&self, sampled: bool) {
        let labels = [("traces_config", self.instance.clone()), ("sampled", sampled.to_string())];
        self.decided.get_or_create(&labels).inc();
    }
}

/// What service graphs of one instance count.
#[derive(Debug, Clone, Default)]
pub(crate) struct GraphCounts {
    instance: String,
    families: GraphFamilies,
}

impl GraphCounts {
    fn labels(&self, client: &str, server: &str) -> Labels<3> {
        [("traces_config", self.instance.clone()), ("client", client.to_owned()), ("server", server.to_owned())]
    }

    pub(crate) fn request(
        &self,
        client: &str,
        server: &str,
        failed: bool,
        client_time: Duration,
        server_time: Duration,
    ) {
        let labels = self.labels(client, server);
        let GraphFamilies { requests, failed: failures, client_seconds, server_seconds, .. } = &self.families;
        requests.get_or_create(&labels).inc();
        if failed {
            failures.get_or_create(&labels).inc();
        }
        client_seconds.get_or_create(&labels).observe(client_time.as_secs_f64());
        server_seconds.get_or_create(&labels).observe(server_time.as_secs_f64());
    }

    pub(crate) fn unpaired(&self, client: &str, server: &str) {
        self.families.unpaired.get_or_create(&self.labels(client, server)).inc();
    }

    pub(crate) fn dropped(&self, client: &str, server: &str) {
        self.families.dropped.get_or_create(&self.labels(client, server)).inc();
    }
}

#[cfg(test)]
impl GraphCounts {
    pub(crate) fn requests(&self, client: &str, server: &str) -> u64 {
        self.families.requests.get_or_create(&self.labels(client, server)).get()
    }

    pub(crate) fn failures(&self, client: &str, server: &str) -> u64 {
        self.families.failed.get_or_create(&self.labels(client, server)).get()
    }

    pub(crate) fn alone(&self, client: &str, server: &str) -> u64 {
        self.families.unpaired.get_or_create(&self.labels(client, server)).get()
    }

    pub(crate) fn left_out(&self, client: &str, server: &str) -> u64 {
        self.families.dropped.get_or_create(&self.labels(client, server)).get()
    }
}
