//! What `pipeline_stages` says, as plain data. Nothing is checked here: [`crate::Pipeline::new`] checks everything.
//!
//! Names and defaults are Promtail's. `Option` means "not written"; durations and sizes arrive already parsed.

use std::{path::PathBuf, time::Duration};

/// A list of stages, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PipelineConfig {
    pub stages: Vec<StageConfig>,
}

/// Pairs `name: source` of a stage; `None` or an empty source means "the same as the name".
pub type Mapping = Vec<(String, Option<String>)>;

/// One element of `pipeline_stages`.
#[derive(Debug, Clone, PartialEq)]
pub enum StageConfig {
    Docker,
    Cri(CriConfig),
    Json(JsonConfig),
    Logfmt(LogfmtConfig),
    Regex(RegexConfig),
    Replace(ReplaceConfig),
    Template(TemplateConfig),
    /// Label name to name in the extracted map.
    Labels(Mapping),
    /// Label name to value.
    StaticLabels(Vec<(String, String)>),
    LabelDrop(Vec<String>),
    LabelAllow(Vec<String>),
    /// `structured_metadata` or `non_indexed_labels`.
    StructuredMetadata(Mapping),
    Timestamp(TimestampConfig),
    Output(OutputConfig),
    Tenant(TenantConfig),
    Match(MatchConfig),
    Drop(DropConfig),
    Limit(LimitConfig),
    Sampling(SamplingConfig),
    Multiline(MultilineConfig),
    Pack(PackConfig),
    /// Metric name (without prefix) to metric.
    Metrics(Vec<(String, MetricConfig)>),
    GeoIp(GeoIpConfig),
    EventLogMessage(EventLogMessageConfig),
    Decolorize,
}

impl StageConfig {
    /// The key in YAML.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Cri(_) => "cri",
            Self::Json(_) => "json",
            Self::Logfmt(_) => "logfmt",
            Self::Regex(_) => "regex",
            Self::Replace(_) => "replace",
            Self::Template(_) => "template",
            Self::Labels(_) => "labels",
            Self::StaticLabels(_) => "static_labels",
            Self::LabelDrop(_) => "labeldrop",
            Self::LabelAllow(_) => "labelallow",
            Self::StructuredMetadata(_) => "structured_metadata",
            Self::Timestamp(_) => "timestamp",
            Self::Output(_) => "output",
            Self::Tenant(_) => "tenant",
            Self::Match(_) => "match",
            Self::Drop(_) => "drop",
            Self::Limit(_) => "limit",
            Self::Sampling(_) => "sampling",
            Self::Multiline(_) => "multiline",
            Self::Pack(_) => "pack",
            Self::Metrics(_) => "metrics",
            Self::GeoIp(_) => "geoip",
            Self::EventLogMessage(_) => "eventlogmessage",
            Self::Decolorize => "decolorize",
        }
    }
}

/// `cri`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CriConfig {
    /// How many streams may have an unfinished line; 0 means 100. One more flushes all of them as they are.
    pub max_partial_lines: usize,
    /// Bytes; used only with `max_partial_line_size_truncate`.
    pub max_partial_line_size: u64,
    pub max_partial_line_size_truncate: bool,
}

impl Default for CriConfig {
    fn default() -> Self {
        Self { max_partial_lines: 100, max_partial_line_size: 0, max_partial_line_size_truncate: false }
    }
}

/// `json`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonConfig {
    /// Name in the extracted map to JMESPath expression; no expression means the name itself.
    pub expressions: Mapping,
    pub source: Option<String>,
    pub drop_malformed: bool,
}

/// `logfmt`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogfmtConfig {
    /// Name in the extracted map to logfmt key.
    pub mapping: Mapping,
    pub source: Option<String>,
}

/// `regex`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegexConfig {
    /// Go's RE2 syntax, not anchored.
    pub expression: String,
    pub source: Option<String>,
}

/// `replace`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplaceConfig {
    pub expression: String,
    pub source: Option<String>,
    /// A Go template; `.Value` is what was matched.
    pub replace: String,
}

/// `template`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TemplateConfig {
    pub source: String,
    pub template: String,
}

/// `timestamp`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TimestampConfig {
    pub source: String,
    /// A Go layout, one of Go's names for one, or `Unix`, `UnixMs`, `UnixUs`, `UnixNs`.
    pub format: String,
    pub fallback_formats: Vec<String>,
    /// A name of the time zone database.
    pub location: Option<String>,
    /// `fudge` (also when absent) or `skip`.
    pub action_on_failure: Option<String>,
}

/// `output`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputConfig {
    pub source: String,
}

/// `tenant`: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TenantConfig {
    pub label: Option<String>,
    pub source: Option<String>,
    pub value: Option<String>,
}

/// `match`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MatchConfig {
    /// A LogQL stream selector with line filters.
    pub selector: String,
    pub stages: Vec<StageConfig>,
    /// `keep` (also when absent) or `drop`.
    pub action: Option<String>,
    pub pipeline_name: Option<String>,
    pub drop_counter_reason: Option<String>,
}

/// `drop`: all conditions that are given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DropConfig {
    /// `None` when the key is absent; a single string is a list of one.
    pub source: Option<Vec<String>>,
    /// `;` when absent.
    pub separator: Option<String>,
    pub value: Option<String>,
    pub expression: Option<String>,
    pub older_than: Option<Duration>,
    /// Bytes.
    pub longer_than: Option<u64>,
    pub drop_counter_reason: Option<String>,
}

/// `limit`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LimitConfig {
    /// Lines per second.
    pub rate: f64,
    /// Lines that may come at once.
    pub burst: u64,
    /// Drop what is too much instead of making the source wait.
    pub drop: bool,
    pub by_label_name: Option<String>,
    /// Raised to 10000.
    pub max_distinct_labels: usize,
}

/// `sampling`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SamplingConfig {
    /// The share of lines that is kept, 0 to 1.
    pub rate: f64,
    pub drop_counter_reason: Option<String>,
}

/// `multiline`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MultilineConfig {
    /// What the first line of a block looks like.
    pub firstline: String,
    /// 3 s when absent.
    pub max_wait_time: Option<Duration>,
    /// 128 when absent; 0 means no limit but that of bytes.
    pub max_lines: Option<u64>,
}

/// `pack`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackConfig {
    pub labels: Vec<String>,
    pub ingest_timestamp: bool,
}

impl Default for PackConfig {
    fn default() -> Self {
        Self { labels: Vec::new(), ingest_timestamp: true }
    }
}

/// One metric of a `metrics` stage.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricConfig {
    /// `counter`, `gauge` or `histogram`, in any case.
    pub kind: String,
    pub description: String,
    /// The metric's name when absent.
    pub source: Option<String>,
    /// `promtail_custom_` when absent or empty.
    pub prefix: Option<String>,
    /// 5 m when absent.
    pub max_idle_duration: Option<Duration>,
    pub config: MetricSettings,
}

/// `config` of a metric; which keys mean something depends on its type.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricSettings {
    /// Counters: `inc`, `add`. Gauges: `set`, `inc`, `dec`, `add`, `sub`.
    pub action: Option<String>,
    /// Only when the source has this value.
    pub value: Option<String>,
    /// Counters: every line.
    pub match_all: bool,
    /// Counters: add the line's length.
    pub count_entry_bytes: bool,
    /// Histograms: upper bounds; Prometheus' defaults when empty.
    pub buckets: Vec<f64>,
}

/// `geoip`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GeoIpConfig {
    /// A MaxMind database file.
    pub db: PathBuf,
    pub source: Option<String>,
    /// `city`, `asn` or `country`.
    pub db_type: String,
}

/// `eventlogmessage`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventLogMessageConfig {
    /// `message` when absent.
    pub source: Option<String>,
    pub drop_invalid_labels: bool,
    pub overwrite_existing: bool,
}
