//! `scrape_configs[]`.

use std::{collections::BTreeMap, time::Duration};

use ::discovery::DiscoveryConfig;
use ::scrape::{JobConfig, Limits, Scheme, ScrapeProtocol};
use net::ProxyConfig;

use super::{client, discovery, relabel};
use crate::{
    block::{Block, Shape},
    scalar,
};

/// Keys that `metrics.global` has too, as defaults.
pub(super) const SHARED_KEYS: &[&str] = &[
    "scrape_protocols",
    "body_size_limit",
    "sample_limit",
    "target_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "keep_dropped_targets",
    "metric_name_validation_scheme",
    "metric_name_escaping_scheme",
    "scrape_failure_log_file",
    "scrape_native_histograms",
    "scrape_classic_histograms",
    "always_scrape_classic_histograms",
    "convert_classic_histograms_to_nhcb",
    "extra_scrape_metrics",
];

pub(super) const SCRAPE: Shape = Shape {
    name: "scrape_configs[]",
    keys: &[
        &[
            "job_name",
            "scrape_interval",
            "scrape_timeout",
            "metrics_path",
            "scheme",
            "params",
            "honor_labels",
            "honor_timestamps",
            "track_timestamps_staleness",
            "enable_compression",
            "relabel_configs",
            "metric_relabel_configs",
            "static_configs",
            "file_sd_configs",
            "http_sd_configs",
            "kubernetes_sd_configs",
            "docker_sd_configs",
            "fallback_scrape_protocol",
            "native_histogram_bucket_limit",
            "native_histogram_min_bucket_factor",
        ],
        SHARED_KEYS,
        client::KEYS,
        discovery::NOT_YET,
    ],
};

/// `PrometheusProto` is known and never asked for.
const PROTOCOLS: &[(&str, Option<ScrapeProtocol>)] = &[
    ("OpenMetricsText1.0.0", Some(ScrapeProtocol::OpenMetricsText1_0_0)),
    ("OpenMetricsText0.0.1", Some(ScrapeProtocol::OpenMetricsText0_0_1)),
    ("PrometheusText0.0.4", Some(ScrapeProtocol::PrometheusText0_0_4)),
    ("PrometheusText1.0.0", Some(ScrapeProtocol::PrometheusText1_0_0)),
    ("PrometheusProto", None),
];

const DEFAULT_PROTOCOLS: &[ScrapeProtocol] =
    &[ScrapeProtocol::OpenMetricsText1_0_0, ScrapeProtocol::OpenMetricsText0_0_1, ScrapeProtocol::PrometheusText0_0_4];

/// What a job has where it says nothing.
#[derive(Debug, Clone)]
pub(super) struct Defaults {
    interval: Duration,
    timeout: Duration,
    protocols: Vec<ScrapeProtocol>,
    limits: Limits,
    extra_metrics: bool,
    pub disable_keepalives: bool,
}

impl Defaults {
    pub fn new(extra_metrics: bool) -> Self {
        Self {
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            protocols: DEFAULT_PROTOCOLS.to_vec(),
            limits: Limits::default(),
            extra_metrics,
            disable_keepalives: false,
        }
    }

    /// With what `metrics.global` says.
    pub fn with_global(self, global: &Block<'_>) -> Self {
        let (interval, timeout) = times(global, self.interval, self.timeout);
        Self {
            interval,
            timeout,
            protocols: protocols(global).unwrap_or(self.protocols),
            limits: limits(global, self.limits),
            extra_metrics: global.flag("extra_scrape_metrics").unwrap_or(self.extra_metrics),
            disable_keepalives: self.disable_keepalives,
        }
    }
}

/// The jobs of one instance. Their names are unique in it.
pub(super) fn jobs(instance: &Block<'_>, defaults: &Defaults) -> Vec<(JobConfig, Vec<DiscoveryConfig>)> {
    let mut jobs: Vec<(JobConfig, Vec<DiscoveryConfig>)> = Vec::new();
    for item in instance.items("scrape_configs") {
        if item.is_null() {
            instance.reader.error(&item, "this scrape config is empty", Some("remove the lone `-`"));
            continue;
        }
        let Some(block) = Block::open(instance.reader, SCRAPE, &item) else {
            continue;
        };
        let job = job(&block, defaults);
        if !job.0.job_name.is_empty() && jobs.iter().any(|(other, _)| other.job_name == job.0.job_name) {
            let message = format!("two scrape configs have the job name `{}`", job.0.job_name);
            block.error_at("job_name", message, Some("job names are unique within one entry of metrics.configs"));
        }
        jobs.push(job);
    }
    jobs
}

fn job(block: &Block<'_>, defaults: &Defaults) -> (JobConfig, Vec<DiscoveryConfig>) {
    let job_name = block.required("job_name", "job_name: node").unwrap_or_default();
    let (interval, timeout) = times(block, defaults.interval, defaults.timeout);
    let relabel = relabel::rules(block, "relabel_configs");
    let discovery = discovery::read(block, block.get("relabel_configs").is_some());
    let has_discovery = discovery::NOT_YET.iter().chain(discovery::KEYS).any(|key| block.get(key).is_some());
    if !has_discovery {
        block.warn(
            format!("job `{job_name}` has no targets"),
            Some("add static_configs, file_sd_configs, http_sd_configs or kubernetes_sd_configs"),
        );
    }
    let mut client = client::read(block, ProxyConfig::None);
    client.disable_keepalives = defaults.disable_keepalives;
    histogram_keys(block);
    let config = JobConfig {
        job_name,
        interval,
        timeout,
        metrics_path: metrics_path(block),
        scheme: block.choice("scheme", &[("http", Scheme::Http), ("https", Scheme::Https)]).unwrap_or(Scheme::Http),
        params: params(block),
        honor_labels: block.flag("honor_labels").unwrap_or(false),
        honor_timestamps: block.flag("honor_timestamps").unwrap_or(true),
        track_timestamps_staleness: block.flag("track_timestamps_staleness").unwrap_or(false),
        protocols: protocols(block).unwrap_or_else(|| defaults.protocols.clone()),
        enable_compression: block.flag("enable_compression").unwrap_or(true),
        limits: limits(block, defaults.limits),
        relabel,
        metric_relabel: relabel::rules(block, "metric_relabel_configs"),
        client,
        extra_metrics: block.flag("extra_scrape_metrics").unwrap_or(defaults.extra_metrics),
        fallback_protocol: block
            .choice("fallback_scrape_protocol", PROTOCOLS)
            .flatten()
            .unwrap_or(ScrapeProtocol::PrometheusText0_0_4),
    };
    (config, discovery)
}

/// Interval and timeout: an unset timeout is the inherited one, but never longer than the interval.
fn times(block: &Block<'_>, default_interval: Duration, default_timeout: Duration) -> (Duration, Duration) {
    // Zero means "not set", as in Prometheus.
    let interval = block.duration("scrape_interval").filter(|d| !d.is_zero()).unwrap_or(default_interval);
    let timeout = block.duration("scrape_timeout").filter(|d| !d.is_zero());
    if let Some(timeout) = timeout
        && timeout > interval
    {
        let (timeout, interval) = (scalar::show_duration(timeout), scalar::show_duration(interval));
        let message = format!("`scrape_timeout` ({timeout}) is longer than the scrape interval ({interval})");
        block.error_at("scrape_timeout", message, Some(&format!("scrape_timeout: {interval} or less")));
    }
    (interval, timeout.unwrap_or(default_timeout.min(interval)))
}

fn metrics_path(block: &Block<'_>) -> String {
    let path = block.text("metrics_path").unwrap_or_else(|| "/metrics".into());
    if path.starts_with('/') { path } else { format!("/{path}") }
}

fn params(block: &Block<'_>) -> BTreeMap<String, Vec<String>> {
    block.entries("params").into_iter().map(|(name, field)| (name.to_owned(), block.reader.texts(&field))).collect()
}

fn limits(block: &Block<'_>, defaults: Limits) -> Limits {
    Limits {
        body_size: block.size("body_size_limit").unwrap_or(defaults.body_size),
        samples: block.whole("sample_limit").unwrap_or(defaults.samples),
        targets: block.whole("target_limit").unwrap_or(defaults.targets),
        labels: block.whole("label_limit").unwrap_or(defaults.labels),
        label_name_length: block.whole("label_name_length_limit").unwrap_or(defaults.label_name_length),
        label_value_length: block.whole("label_value_length_limit").unwrap_or(defaults.label_value_length),
        keep_dropped_targets: block.whole("keep_dropped_targets").unwrap_or(defaults.keep_dropped_targets),
    }
}

fn protocols(block: &Block<'_>) -> Option<Vec<ScrapeProtocol>> {
    let field = block.get("scrape_protocols")?;
    let mut asked: Vec<Option<ScrapeProtocol>> = Vec::new();
    for item in block.reader.items(&field) {
        let Some(text) = block.reader.text(&item) else {
            continue;
        };
        match PROTOCOLS.iter().find(|(name, _)| *name == text) {
            None => {
                let names: Vec<_> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
                block.reader.error(
                    &item,
                    "this is not a scrape protocol",
                    Some(&format!("the protocols are {}", names.join(", "))),
                );
            }
            Some((_, protocol)) if asked.contains(protocol) => {
                block.reader.error(&item, "this protocol is listed twice", Some("remove it"))
            }
            Some((_, protocol)) => asked.push(*protocol),
        }
    }
    if asked.is_empty() {
        block.reader.error(&field, "`scrape_protocols` is empty", Some("remove the key for the default list"));
    }
    let usable: Vec<_> = asked.into_iter().flatten().collect();
    if usable.is_empty() {
        block.reader.warn(
            &field,
            "this version of sigpost does not scrape protobuf; the default protocols are asked for",
            None,
        );
        return Some(DEFAULT_PROTOCOLS.to_vec());
    }
    Some(usable)
}

/// Keys about native histograms, names and files: checked for their form, without effect in this version.
fn histogram_keys(block: &Block<'_>) {
    for key in ["scrape_native_histograms", "convert_classic_histograms_to_nhcb"] {
        if block.flag(key) == Some(true) {
            block.warn(format!("`{key}`: this version of sigpost does not scrape native histograms"), None);
        }
    }
    for key in ["scrape_classic_histograms", "always_scrape_classic_histograms"] {
        block.flag(key);
    }
    block.whole("native_histogram_bucket_limit");
    block.choice("metric_name_validation_scheme", &[("utf8", ()), ("legacy", ())]);
    for key in ["native_histogram_min_bucket_factor", "metric_name_escaping_scheme", "scrape_failure_log_file"] {
        block.text(key);
    }
}
