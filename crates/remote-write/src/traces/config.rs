//! What an OTLP destination's protocol needs, defaults applied. Plain data.
//!
//! What is common to all lies in [`DestinationConfig`](crate::DestinationConfig): `batching.max_samples` and
//! `batching.max_bytes` bound the spans, data points or records and the uncompressed bytes of a request (the protocol's own
//! limits hold besides), `batching.max_age` is how long a request waits for more (0: only for what became durable at the same
//! instant; objects: `batch.max_age`), and `max_age` looks at when a request was received. `external_labels` and
//! `write_relabel` mean nothing here.

/// The wire protocol of an OTLP destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// OTLP over HTTP, protobuf.
    Http(OtlpHttpConfig),
    /// OTLP over gRPC.
    Grpc(OtlpGrpcConfig),
    /// X-Ray `PutTraceSegments`. Takes spans alone.
    XRay(XRayConfig),
    /// Objects in a bucket.
    Objects(OtlpObjectsConfig),
}

impl OtlpProtocol {
    /// The collector's word for such an exporter.
    pub(crate) fn exporter(&self) -> &'static str {
        match self {
            Self::Http(_) => "otlphttp",
            Self::Grpc(_) => "otlp",
            Self::XRay(_) => "awsxray",
            Self::Objects(_) => "awss3",
        }
    }

    /// The word in configuration files and on pages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Grpc(_) => "grpc",
            Self::XRay(_) => "xray",
            Self::Objects(_) => "s3",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OtlpCompression {
    None,
    #[default]
    Gzip,
    Zstd,
}

/// See [`OtlpProtocol::Http`]. The destination's URL is the one of a signal (`.../v1/traces`) or what stands before
/// `/v1/<signal>`; AWS's hosts take one signal each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtlpHttpConfig {
    pub compression: OtlpCompression,
    /// `x-aws-log-group` of log records, for AWS hosts.
    pub log_group: Option<String>,
    /// `x-aws-log-stream` of log records, for AWS hosts.
    pub log_stream: Option<String>,
    /// Make the log group and stream if they are missing.
    pub create: bool,
    /// Set on a group that was made here.
    pub retention_days: Option<u32>,
}

/// See [`OtlpProtocol::Grpc`]. The destination's URL is `http://` (plain HTTP/2) or `https://` with host and port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtlpGrpcConfig {
    pub compression: OtlpCompression,
}

/// See [`OtlpProtocol::XRay`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct XRayConfig {
    /// Attributes to index; those of the resource with `otel.resource.` in front.
    pub annotations: Vec<String>,
    /// Index all that can be.
    pub annotate_all: bool,
    /// CloudWatch log groups of resources that name none.
    pub log_groups: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OtlpFormat {
    /// OTLP's JSON, one received request a line.
    #[default]
    JsonLines,
    /// One `Export*ServiceRequest`.
    Protobuf,
}

/// See [`OtlpProtocol::Objects`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtlpObjectsConfig {
    pub format: OtlpFormat,
    pub compression: OtlpCompression,
    pub storage_class: Option<String>,
    pub expected_bucket_owner: Option<String>,
    pub sse: Option<String>,
    pub sse_kms_key_id: Option<String>,
}
