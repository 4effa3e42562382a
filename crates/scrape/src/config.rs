//! What a scrape job is made from: `scrape_config` with its defaults and globals already applied.

use std::{collections::BTreeMap, time::Duration};

use net::HttpClientConfig;
use relabel::Rule;

use crate::bodies;

/// One `scrape_configs[]` entry.
#[derive(Debug, Clone, PartialEq)]
pub struct JobConfig {
    pub job_name: String,
    pub interval: Duration,
    /// At most `interval`.
    pub timeout: Duration,
    /// Default `/metrics`.
    pub metrics_path: String,
    pub scheme: Scheme,
    pub params: BTreeMap<String, Vec<String>>,
    pub honor_labels: bool,
    /// Default true.
    pub honor_timestamps: bool,
    pub track_timestamps_staleness: bool,
    /// Not empty, no duplicates.
    pub protocols: Vec<ScrapeProtocol>,
    /// Ask for gzip. Default true.
    pub enable_compression: bool,
    pub limits: Limits,
    pub relabel: Vec<Rule>,
    pub metric_relabel: Vec<Rule>,
    pub client: HttpClientConfig,
    /// `extra-scrape-metrics`: also `scrape_timeout_seconds`, `scrape_sample_limit`, `scrape_body_size_bytes`.
    pub extra_metrics: bool,
    /// Used when the answer has no usable Content-Type. Default text 0.0.4.
    pub fallback_protocol: ScrapeProtocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// What we ask for, in order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScrapeProtocol {
    OpenMetricsText1_0_0,
    OpenMetricsText0_0_1,
    PrometheusText0_0_4,
    PrometheusText1_0_0,
}

/// Zero means no limit. Exceeding one fails the scrape; `target` fails every target of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes after decompression.
    pub body_size: u64,
    /// Samples after metric relabelling.
    pub samples: u64,
    pub targets: u64,
    pub labels: u64,
    pub label_name_length: u64,
    pub label_value_length: u64,
    /// Dropped targets kept for the targets page.
    pub keep_dropped_targets: u64,
}

/// Bytes of a body for each sample that it may have where no `sample_limit` is set. A line of an exporter has about a
/// hundred; what has many more, shorter ones is made to fill memory, of which a series takes more than such a line.
const BYTES_A_SAMPLE: u64 = 64;
/// Samples that a body may have however small it has to be: what these can fill is bounded anyhow.
const FEWEST_MOST: u64 = 1 << 20;

impl Limits {
    /// Samples after metric relabelling that a body may have: the limit that is set, else a million, or as many as a larger
    /// `body_size_limit` has of an exporter's kind.
    pub(crate) fn most_samples(&self) -> u64 {
        match self.samples {
            0 => (bodies::limit_of(self) / BYTES_A_SAMPLE).max(FEWEST_MOST),
            limit => limit,
        }
    }
}

/// A job as the tests use it.
#[cfg(test)]
pub(crate) fn test_job() -> JobConfig {
    JobConfig {
        job_name: "test".into(),
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(10),
        metrics_path: "/metrics".into(),
        scheme: Scheme::Http,
        params: BTreeMap::new(),
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        protocols: vec![ScrapeProtocol::OpenMetricsText1_0_0, ScrapeProtocol::PrometheusText0_0_4],
        enable_compression: true,
        limits: Limits::default(),
        relabel: Vec::new(),
        metric_relabel: Vec::new(),
        client: HttpClientConfig::default(),
        extra_metrics: false,
        fallback_protocol: ScrapeProtocol::PrometheusText0_0_4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_body_size_limit_limits_no_samples() {
        let most = |body_size, samples| Limits { body_size, samples, ..Limits::default() }.most_samples();
        for body in [0, 60, 20_000, 64 << 20] {
            assert_eq!(most(body, 0), 1 << 20, "{body}");
        }
        assert_eq!(most(640 << 20, 0), 10 << 20);
        assert_eq!(most(20_000, 7), 7);
    }
}
