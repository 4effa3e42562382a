//! What a log destination's protocol needs, defaults applied. Plain data.
//!
//! What is common to all lies in [`DestinationConfig`](crate::DestinationConfig): `batching.max_bytes` is Promtail's
//! `batchsize` (default 1 MiB of lines), `batching.max_age` its `batchwait` (default 1 s; objects: `batch.max_age`),
//! `batching.max_samples` bounds the lines of a request (`usize::MAX`: only the protocol does), `backoff` is
//! `backoff_config` (500 ms to 5 min; `drop_rate_limited_batches` is `!retry_on_http_429`), `max_age` looks at lines' own
//! timestamps, and `write_relabel` runs over stream labels after `external_labels` were added where missing.

use super::Template;

/// The wire protocol of a log destination.
#[derive(Debug, Clone, PartialEq)]
pub enum LogProtocol {
    /// `POST /loki/api/v1/push`, protobuf and snappy.
    Loki(LokiConfig),
    /// CloudWatch Logs `PutLogEvents`.
    CloudWatch(CloudWatchConfig),
    /// Firehose `PutRecordBatch`.
    Firehose(FirehoseConfig),
    /// Kinesis Data Streams `PutRecords`.
    Kinesis(KinesisConfig),
    /// Objects in a bucket.
    Objects(LogObjectsConfig),
    /// OTLP over HTTP, protobuf.
    Otlp(OtlpLogsConfig),
}

impl LogProtocol {
    /// The word in configuration files and on pages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Loki(_) => "loki",
            Self::CloudWatch(_) => "cloudwatch_logs",
            Self::Firehose(_) => "firehose",
            Self::Kinesis(_) => "kinesis",
            Self::Objects(_) => "s3",
            Self::Otlp(_) => "otlp",
        }
    }
}

/// See [`LogProtocol::Loki`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LokiConfig {
    /// `X-Scope-OrgID` of streams without a label `__tenant_id__`. Empty counts as none.
    pub tenant_id: Option<String>,
}

/// See [`LogProtocol::CloudWatch`]. Templates come out cleaned to the characters that the service allows.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudWatchConfig {
    /// Default `/sigpost/{job}`.
    pub log_group: Template,
    /// Default `{hostname}{filename}`.
    pub log_stream: Template,
    /// Make groups and streams that are missing. Default true.
    pub create: bool,
    /// Set on groups that were made here. One of the numbers that CloudWatch knows (1, 3, 5, 7, 14, 30, ...).
    pub retention_days: Option<u32>,
    /// Default true.
    pub gzip: bool,
}

/// What stands for a line in a record or an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `{"timestamp":"2026-11-22T01:02:03.000000004Z","line":"...","labels":{...},"metadata":{...}}`, and a line feed.
    #[default]
    Json,
    /// The line and a line feed.
    Text,
}

/// See [`LogProtocol::Firehose`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirehoseConfig {
    pub delivery_stream: String,
    pub format: LogFormat,
}

/// See [`LogProtocol::Kinesis`].
#[derive(Debug, Clone, PartialEq)]
pub struct KinesisConfig {
    pub stream_name: String,
    /// `None`: the labels' hash, so that a stream's lines go to one shard. Cut to 256 characters.
    pub partition_key: Option<Template>,
    pub format: LogFormat,
}

/// See [`LogProtocol::Objects`].
#[derive(Debug, Clone, PartialEq)]
pub struct LogObjectsConfig {
    /// Between the URL's path and the object's own name.
    pub prefix: Option<Template>,
    pub format: LogFormat,
    pub compression: LogCompression,
    pub storage_class: Option<String>,
    pub expected_bucket_owner: Option<String>,
    pub sse: Option<String>,
    pub sse_kms_key_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogCompression {
    None,
    #[default]
    Gzip,
    Zstd,
}

/// See [`LogProtocol::Otlp`].
#[derive(Debug, Clone, PartialEq)]
pub struct OtlpLogsConfig {
    /// `x-aws-log-group`, for AWS hosts.
    pub log_group: Option<Template>,
    /// `x-aws-log-stream`, for AWS hosts.
    pub log_stream: Option<Template>,
    /// Make groups and streams that are missing; AWS hosts alone.
    pub create: bool,
    /// Set on groups that were made here.
    pub retention_days: Option<u32>,
    /// Default true.
    pub gzip: bool,
}
