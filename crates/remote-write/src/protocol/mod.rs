//! Wire protocols: how a body becomes a request and what the answers mean. One file each.
//!
//! They send nothing; the courier does. Each has `request` and `judge`.

pub(crate) mod cloudwatch;
pub(crate) mod firehose;
pub(crate) mod kinesis;
pub(crate) mod log_objects;
pub(crate) mod loki;
mod message;
pub(crate) mod otlp_grpc;
pub(crate) mod otlp_http;
mod otlp_line;
pub(crate) mod otlp_logs;
pub(crate) mod otlp_objects;
mod prometheus;
mod records;
pub(crate) mod s3;
pub(crate) mod xray;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use pipeline::LaneId;
use url::Url;

use crate::{
    DestinationConfig, ProtocolConfig,
    logs::wire::{LogVerdict, Wire},
    traces,
    verdict::Verdict,
};

pub(crate) use s3::{address as bucket_address, bucket_in_host};

/// Where a body's samples lie in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) lane: LaneId,
    /// Running number in the lane of the first and of the last item (both inclusive).
    pub(crate) first_item: u64,
    pub(crate) last_item: u64,
    /// When the first frame was appended, ms since the epoch.
    pub(crate) ingest_ms: i64,
    /// First 8 bytes of the SHA-256 of the frames' payloads as queued.
    pub(crate) digest: [u8; 8],
}

/// What travels: a compressed body.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) body: Bytes,
    /// `None` for metadata, and for protocols that do not name what they store.
    pub(crate) extent: Option<Extent>,
    pub(crate) samples: u64,
}

/// The protocol of one destination.
#[derive(Debug)]
pub(crate) enum Protocol {
    Prometheus(prometheus::Prometheus),
    S3(s3::S3),
    /// Seen here by probes alone; lines are sent by [`crate::logs`].
    Logs(Box<Wire>),
    /// Seen here by probes alone; requests are sent by [`crate::traces`].
    Otlp(Box<traces::Wire>),
}

impl Protocol {
    pub(crate) fn new(config: &DestinationConfig) -> Self {
        let retry_on_429 = config.backoff.retry_on_http_429;
        match &config.protocol {
            ProtocolConfig::Prometheus { .. } => Self::Prometheus(prometheus::Prometheus::new(
                send_address(&config.url, config.endpoint_url.as_ref()),
                retry_on_429,
            )),
            ProtocolConfig::S3 { storage_class, expected_bucket_owner, sse, sse_kms_key_id } => Self::S3(s3::S3::new(
                s3::address(&config.url, config.endpoint_url.as_ref()),
                [
                    ("x-amz-storage-class", storage_class.clone()),
                    ("x-amz-expected-bucket-owner", expected_bucket_owner.clone()),
                    ("x-amz-server-side-encryption", sse.clone()),
                    ("x-amz-server-side-encryption-aws-kms-key-id", sse_kms_key_id.clone()),
                ],
            )),
            ProtocolConfig::Logs(protocol) => Self::Logs(Box::new(Wire::new(config, protocol))),
            ProtocolConfig::Otlp(protocol) => Self::Otlp(Box::new(traces::Wire::new(config, protocol))),
        }
    }

    /// Whether `Parcel::extent` is needed, and with it claims of one lane in one sequence.
    pub(crate) fn names_by_place(&self) -> bool {
        match self {
            Self::Prometheus(_) => false,
            Self::S3(_) => true,
            Self::Logs(wire) => wire.names_by_place(),
            Self::Otlp(wire) => wire.names_by_place(),
        }
    }

    /// The request without identity. `attempt` 0 is the first.
    pub(crate) fn request(&self, parcel: &Parcel, attempt: u32) -> Result<Request<Bytes>, http::Error> {
        match self {
            Self::Prometheus(protocol) => protocol.request(parcel, attempt),
            Self::S3(protocol) => protocol.request(parcel),
            Self::Logs(wire) => wire.probe(),
            Self::Otlp(wire) => wire.probe(),
        }
    }

    /// What the answer means for the samples.
    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verdict {
        match self {
            Self::Prometheus(protocol) => protocol.judge(status, headers, body),
            Self::S3(protocol) => protocol.judge(status, headers, body),
            Self::Logs(wire) => whole(wire.judge(status, headers, body, 0)),
            Self::Otlp(wire) => whole(wire.judge(status, headers, body, &traces::Cargo::Pieces(Vec::new()))),
        }
    }
}

fn whole(verdict: LogVerdict) -> Verdict {
    match verdict {
        LogVerdict::Whole(verdict) => verdict,
        LogVerdict::Each { .. } => Verdict::Accepted,
        LogVerdict::Missing { why, .. } => Verdict::Hold { why },
    }
}

/// Where requests go: `url`, or its path and query at `endpoint`'s scheme, host, port and base path.
pub(crate) fn send_address(url: &Url, endpoint: Option<&Url>) -> Url {
    let Some(endpoint) = endpoint else {
        return url.clone();
    };
    let mut address = endpoint.clone();
    let path = format!("{}{}", endpoint.path().trim_end_matches('/'), url.path());
    address.set_path(&path);
    address.set_query(url.query());
    address
}
