//! What a destination's worker is made from, defaults applied.

use std::{fmt, time::Duration};

use model::Labels;
use net::HttpClientConfig;
use relabel::Rule;
use url::Url;

use crate::{logs::LogProtocol, traces::OtlpProtocol};

/// One `remote_write[]` entry of metrics, one of `clients[]` of logs, or one of `remote_write[]` of traces.
#[derive(Clone, PartialEq)]
pub struct DestinationConfig {
    /// Its identity in the queue, on pages and in metrics; holds no secret.
    pub name: String,
    /// The URL that is signed for (its host decides region and service).
    pub url: Url,
    /// Send there instead (VPC endpoint, sandbox), still signing for `url`'s region and service.
    pub endpoint_url: Option<Url>,
    pub protocol: ProtocolConfig,
    /// Per attempt. Default 30 s.
    pub timeout: Duration,
    pub client: HttpClientConfig,
    /// Added where missing, before `write_relabel`.
    pub external_labels: Labels,
    pub write_relabel: Vec<Rule>,
    /// Native histograms are sent as such; else what stands in for them (`send_native_histograms`). Default false.
    pub native_histograms: bool,
    pub backoff: Backoff,
    pub batching: Batching,
    /// Requests in flight at most. Those of a stream follow each other; a small load uses one shard, a backlog all.
    pub shards: u32,
    /// Raw bytes claimed and not settled. Default 16 MiB.
    pub max_in_flight_bytes: u64,
    /// Older samples are settled as expired without sending (`sample_age_limit`, `queue.max_age`; AMP: 1 h).
    pub max_age: Option<Duration>,
}

impl fmt::Debug for DestinationConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL may hold a user name and a password.
        f.debug_struct("DestinationConfig")
            .field("name", &self.name)
            .field("url", &net::masked(&self.url))
            .field("endpoint_url", &self.endpoint_url.as_ref().map(net::masked))
            .field("protocol", &self.protocol)
            .field("client", &self.client)
            .field("batching", &self.batching)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

/// The wire protocol, with what only it needs.
#[derive(Debug, Clone, PartialEq)]
pub enum ProtocolConfig {
    /// Remote write 1.0: snappy block, `X-Prometheus-Remote-Write-Version: 0.1.0`.
    Prometheus { metadata: MetadataConfig },
    /// One PUT per batch of the snappy `WriteRequest` that would have been posted.
    S3 {
        storage_class: Option<String>,
        expected_bucket_owner: Option<String>,
        sse: Option<String>,
        sse_kms_key_id: Option<String>,
    },
    /// Log lines; run by [`LogDestination`](crate::logs::LogDestination).
    Logs(LogProtocol),
    /// Spans, data points and log records as they were received; run by
    /// [`TraceDestination`](crate::traces::TraceDestination).
    Otlp(OtlpProtocol),
}

impl ProtocolConfig {
    /// The word in configuration files and on pages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prometheus { .. } => "prometheus",
            Self::S3 { .. } => "s3",
            Self::Logs(protocol) => protocol.name(),
            Self::Otlp(protocol) => protocol.name(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataConfig {
    /// Default true.
    pub send: bool,
    /// Default 1 min.
    pub send_interval: Duration,
    /// Default 2000.
    pub max_samples_per_send: usize,
}

/// Delays between tries: doubling from `min` to `max`, with jitter. Default 30 ms to 5 s. `Retry-After` replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub min: Duration,
    pub max: Duration,
    /// Agent default true; false: a 429 is a final refusal.
    pub retry_on_http_429: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Samples in one body. Default 10,000; 2000 for AMP, as AWS asks for. S3 objects are cut by bytes and age alone.
    pub max_samples: usize,
    /// Uncompressed bytes in one body. Default 4 MiB (S3 objects: `batch.max_bytes`).
    pub max_bytes: usize,
    /// How long a body waits for more (prometheus: 0 = send what is there; S3: `batch.max_age`, default 15 s).
    pub max_age: Duration,
}
