//! What the processors of one instance need to know, defaults applied. Plain data; patterns are compiled by [`Chain`](crate::Chain).

use std::time::Duration;

use proto::otlp_traces::StatusCode;

use crate::AnyValue;

/// The processors of one entry of `traces.configs`; what is `None` does not run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProcessorsConfig {
    pub discovered: Option<DiscoveredConfig>,
    pub attributes: Option<AttributesConfig>,
    pub span_metrics: Option<SpanMetricsConfig>,
    pub service_graphs: Option<ServiceGraphsConfig>,
    pub tail_sampling: Option<TailSamplingConfig>,
    pub automatic_logging: Option<AutomaticLoggingConfig>,
    pub balance: Option<BalanceConfig>,
}

impl ProcessorsConfig {
    /// Whether spans go through unread.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `attributes`: the Collector's attributes processor.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AttributesConfig {
    /// Only spans that match are changed.
    pub include: Option<MatchProperties>,
    /// Spans that match are left as they are, also if they match `include`.
    pub exclude: Option<MatchProperties>,
    /// Applied in order.
    pub actions: Vec<AttributeAction>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MatchType {
    #[default]
    Strict,
    /// Go patterns that match anywhere.
    Regexp,
}

/// A span matches if every list that is not empty does: one of the services, names, kinds or libraries, all of the attributes and
/// resources.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MatchProperties {
    pub match_type: MatchType,
    pub services: Vec<String>,
    pub span_names: Vec<String>,
    /// `SPAN_KIND_SERVER`.
    pub span_kinds: Vec<String>,
    pub attributes: Vec<Property>,
    /// Attributes of the resource.
    pub resources: Vec<Property>,
    pub libraries: Vec<Library>,
}

/// An attribute; without a value it only has to be there.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    pub key: String,
    pub value: Option<AnyValue>,
}

/// An instrumentation library; without a version any version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    pub name: String,
    pub version: Option<String>,
}

/// One of `actions`.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributeAction {
    /// Empty: a pattern stands for it (`delete`, `hash`).
    pub key: String,
    pub action: Action,
}

/// What is done with the attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// If it is not there.
    Insert(ValueSource),
    /// If it is there.
    Update(ValueSource),
    Upsert(ValueSource),
    /// Also those whose keys match.
    Delete {
        pattern: Option<String>,
    },
    /// SHA-256 in hexadecimal instead of the value; also those whose keys match.
    Hash {
        pattern: Option<String>,
    },
    /// The pattern's named groups become attributes.
    Extract {
        pattern: String,
    },
    Convert(ConvertTo),
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueSource {
    Literal(AnyValue),
    /// Another attribute of the span.
    Attribute(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvertTo {
    Text,
    Int,
    Double,
}

/// `tail_sampling`: whole traces are forwarded or dropped, some time after their first span came.
#[derive(Debug, Clone, PartialEq)]
pub struct TailSamplingConfig {
    /// From a trace's first span to its decision.
    pub decision_wait: Duration,
    /// Traces that are known, waiting or decided; the oldest is decided early and forgotten for a new one.
    pub num_traces: usize,
    pub policies: Vec<PolicyConfig>,
}

/// One of `policies`.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyConfig {
    pub name: String,
    pub rule: PolicyRule,
}

/// What a trace is sampled for. Bounds are inclusive.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyRule {
    AlwaysSample,
    /// From the earliest start to the latest end. With an upper bound, the lower one itself is outside.
    Latency {
        threshold_ms: u64,
        upper_threshold_ms: Option<u64>,
    },
    NumericAttribute {
        key: String,
        min: Option<i64>,
        max: Option<i64>,
        invert: bool,
    },
    Probabilistic {
        salt: Option<String>,
        percentage: f64,
    },
    /// One of these, on one of the spans.
    StatusCode(Vec<StatusCode>),
    StringAttribute {
        key: String,
        values: Vec<String>,
        patterns: bool,
        invert: bool,
    },
    RateLimiting {
        spans_per_second: u64,
    },
    SpanCount {
        min: u64,
        max: Option<u64>,
    },
    BooleanAttribute {
        key: String,
        value: bool,
        invert: bool,
    },
    TraceState {
        key: String,
        values: Vec<String>,
    },
    /// One of the conditions holds for a span, or one of the others for an event of a span. With `ignore_errors` a condition that has
    /// no answer does not hold; else a trace that meets one is not sampled by this policy.
    Ottl {
        spans: Vec<String>,
        events: Vec<String>,
        ignore_errors: bool,
    },
    /// All of them.
    And(Vec<PolicyConfig>),
    /// The first that samples, within its own part of the spans in a second.
    Composite {
        max_total_spans_per_second: u64,
        parts: Vec<CompositePart>,
    },
}

/// One of a composite's policies.
#[derive(Debug, Clone, PartialEq)]
pub struct CompositePart {
    pub policy: PolicyConfig,
    pub spans_per_second: u64,
}

/// `spanmetrics`: calls and latencies of spans as Prometheus series.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanMetricsConfig {
    /// Upper bounds, rising.
    pub buckets: Vec<Duration>,
    pub dimensions: Vec<Dimension>,
    /// On every series.
    pub const_labels: Vec<(String, String)>,
    /// In front of `traces_spanmetrics_`.
    pub namespace: Option<String>,
    pub output: SpanMetricsOutput,
    /// Combinations of dimensions that are kept; those not seen for longest go.
    pub dimensions_cache_size: usize,
    /// Counted from zero after each flush.
    pub delta: bool,
    pub flush_interval: Duration,
}

/// An attribute of the span, else of the resource, as a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dimension {
    pub name: String,
    /// Where there is no such attribute. Without it there is no such label then.
    pub default: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanMetricsOutput {
    /// An entry of `metrics.configs`.
    Instance(String),
    /// `host:port` where they are served at `/metrics`.
    Endpoint(String),
}

/// `service_graphs`: who calls whom, from pairs of client and server spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceGraphsConfig {
    /// How long a span waits for the other side.
    pub wait: Duration,
    /// Spans that wait at most.
    pub max_items: usize,
    /// HTTP status codes that are no failure besides 2xx.
    pub success_http: Vec<i64>,
    /// gRPC status codes that are no failure besides 0.
    pub success_grpc: Vec<i64>,
}

/// `automatic_logging`: lines made of spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutomaticLoggingConfig {
    pub backend: LogBackend,
    /// A line for each span.
    pub spans: bool,
    /// A line for each span without a parent.
    pub roots: bool,
    /// A line for each service of a trace.
    pub processes: bool,
    pub span_attributes: Vec<String>,
    pub process_attributes: Vec<String>,
    pub overrides: LogKeys,
    /// Which of the line's keys become labels too.
    pub labels: Vec<String>,
    /// How long a line waits for room in the logs instance's lane.
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogBackend {
    /// Standard output.
    Stdout,
    /// An entry of `logs.configs`.
    Instance(String),
}

/// What things are called in lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKeys {
    /// The label that says what a line is of.
    pub logs_instance_tag: String,
    pub service_key: String,
    pub span_name_key: String,
    pub status_key: String,
    pub duration_key: String,
    pub trace_id_key: String,
}

impl Default for LogKeys {
    fn default() -> Self {
        let key = |text: &str| text.to_owned();
        Self {
            logs_instance_tag: key("traces"),
            service_key: key("svc"),
            span_name_key: key("span"),
            status_key: key("status"),
            duration_key: key("dur"),
            trace_id_key: key("tid"),
        }
    }
}

/// `scrape_configs`: labels of discovered targets as attributes of resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredConfig {
    pub operation: Operation,
    /// Where a resource's host is looked for, in order.
    pub associations: Vec<Association>,
}

/// What happens to attributes that have a label's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operation {
    #[default]
    Upsert,
    /// Only what is not there.
    Insert,
    /// Only what is there.
    Update,
}

/// An attribute of the resource that may name its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Association {
    /// `ip`.
    Ip,
    /// `net.host.ip`.
    NetHostIp,
    /// `k8s.pod.ip`.
    PodIp,
    /// `host.name`, if it is an address.
    Hostname,
}

/// `load_balancing`: what is forwarded goes to one of several lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceConfig {
    pub key: RoutingKey,
    /// Who knows the backends, in the Collector's words: `static`, `dns`, `k8s`.
    pub resolver: &'static str,
    /// `host:port`, unique. Empty: not known yet.
    pub backends: Vec<String>,
}

/// What keeps spans together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoutingKey {
    #[default]
    TraceId,
    /// `service.name` of the resource.
    Service,
}
