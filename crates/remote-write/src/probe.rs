//! Requests that ask a destination whether it would accept data, for a person who wants to know before data waits.
//!
//! It sends nothing and judges nothing. It keeps true: a probe has the address and the headers of the real requests; unless
//! a write is asked for, no receiver stores anything of it.
//!
//! What a probe that stores nothing proves: *remote write*: an empty `WriteRequest` is authenticated, authorised and parsed
//! like any other, and holds no sample. *S3*: a part of a multipart upload that does not exist. S3 wants `s3:PutObject` on
//! the key for it and answers 404 `NoSuchUpload` to whoever has it. That leaves open the encryption key, the storage class
//! and bucket policies with conditions on them, which only a write shows. *Log services*: see `logs::probe`. *OTLP*: an
//! export without items, which receivers take; *X-Ray* is sent a document without content, which it takes the request with
//! and does not process. These are never written to.

use bytes::Bytes;
use http::{HeaderName, Request};
use url::Url;

use crate::{
    DestinationConfig, ProtocolConfig,
    logs::{LogProtocol, probe as log_probe},
    protocol::{Parcel, Protocol},
    wire::table::put_varint,
};

/// The metric of the one sample that a write stores.
pub const PROBE_METRIC: &str = "sigpost_doctor_probe";
/// What the key of an object that a probe names begins with.
const OBJECT: &str = "sigpost-doctor-probe";

/// A request that asks for nothing but an answer.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Without identity, without the headers of the client.
    pub request: Request<Bytes>,
    /// What it is, for people: `POST of an empty write request`.
    pub what: String,
    /// Tells what its answers mean.
    pub kind: ProbeKind,
    /// What is asked after a yes to this one. [`ProbeKind::Stream`] and [`ProbeKind::Make`]: only where something is not there.
    pub next: Option<Box<Probe>>,
}

/// What is asked, and so what says yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// Remote write, with or without a sample: success.
    Write,
    /// A part of an upload that S3 does not know: `NoSuchUpload`.
    Part,
    /// An object: success.
    Object,
    /// Loki without streams: success, or 422 with the words that at least one is required.
    EmptyPush,
    /// OTLP without records: success.
    EmptyExport,
    /// CloudWatch Logs, one line that is too old to be kept: success. `ResourceNotFoundException`: the permission is there.
    OldLine(LogPlace),
    /// `CreateLogStream` where the group has just been said to be missing: `ResourceNotFoundException`.
    Stream(LogPlace),
    /// Kinesis, one record and `DryRun`: `DryRunOperationException`.
    DryRun,
    /// Firehose or Kinesis without records: `ValidationException`, whatever the permissions.
    EmptyBatch,
    /// Firehose's `DescribeDeliveryStream`: success tells the stream's state; a refusal tells nothing.
    Describe,
    /// One line that is kept. `ResourceNotFoundException`: what is asked next makes group and stream.
    Line(LogPlace),
    /// CloudWatch Logs' `CreateLogGroup`, `PutRetentionPolicy` or `CreateLogStream` for a line that is to be kept: success, or it
    /// is there already.
    Make,
}

/// Where in CloudWatch Logs lines go. For other services nothing of it holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPlace {
    /// The agent makes groups and streams that are missing.
    pub creates: bool,
    /// The names of group and stream are known before there are lines.
    pub is_exact: bool,
    /// The group's is.
    pub group_is_exact: bool,
    /// All names that the group may have, with `*`, where it is not exact.
    pub group_pattern: Option<String>,
}

/// The probe of a destination at a time (ms since the epoch). `write`: one sample, line or small object is really stored.
/// The error is an address that no request can be made from.
pub fn probe(config: &DestinationConfig, now_ms: i64, write: bool) -> Result<Probe, http::Error> {
    let protocol = Protocol::new(config);
    if let (Protocol::Logs(wire), ProtocolConfig::Logs(of_logs)) = (&protocol, &config.protocol)
        && !matches!(of_logs, LogProtocol::Objects(_))
    {
        return log_probe::probe(config, of_logs, wire, now_ms, write);
    }
    if let Protocol::Otlp(wire) = &protocol
        && !wire.names_by_place()
    {
        let (request, what) = (wire.probe()?, "export without spans".to_owned());
        return Ok(Probe { request, what, kind: ProbeKind::EmptyExport, next: None });
    }
    let message = match (&protocol, write) {
        (Protocol::Prometheus(_), true) => one_sample(config, now_ms),
        _ => Vec::new(),
    };
    // Far below the block's limit, so that compression cannot fail.
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap_or_default();
    let parcel = Parcel { body: body.into(), extent: None, samples: 0 };
    let mut request = protocol.request(&parcel, 0)?;
    let probe = |request, what: String, kind| Ok(Probe { request, what, kind, next: None });
    match (protocol, write) {
        (Protocol::Prometheus(_), false) => {
            probe(request, "POST of an empty write request".to_owned(), ProbeKind::Write)
        }
        (Protocol::Prometheus(_), true) => {
            probe(request, format!("POST of one sample of {PROBE_METRIC}"), ProbeKind::Write)
        }
        (_, false) => {
            let key = readdress(&mut request, OBJECT, Some("partNumber=1&uploadId=sigpost-doctor"))?;
            // Whole objects have these; S3 refuses them for a part.
            let refused: Vec<HeaderName> = request
                .headers()
                .keys()
                .filter(|name| {
                    let name = name.as_str();
                    name == "if-none-match"
                        || name == "x-amz-storage-class"
                        || name.starts_with("x-amz-meta-")
                        || name.starts_with("x-amz-server-side-encryption")
                })
                .cloned()
                .collect();
            for name in refused {
                request.headers_mut().remove(name);
            }
            *request.body_mut() = Bytes::new();
            probe(request, format!("PUT of a part of {key} to an upload that does not exist"), ProbeKind::Part)
        }
        (_, true) => {
            let key = readdress(&mut request, &format!("{OBJECT}-{now_ms}"), None)?;
            probe(request, format!("PUT of the object {key}"), ProbeKind::Object)
        }
    }
}

/// Puts `name` under the path; gives back the whole path.
fn readdress(request: &mut Request<Bytes>, name: &str, query: Option<&str>) -> Result<String, http::Error> {
    let Ok(mut url) = Url::parse(&request.uri().to_string()) else {
        return Ok(request.uri().path().to_owned());
    };
    let path = format!("{}/{name}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.set_query(query);
    *request.uri_mut() = url.as_str().parse()?;
    Ok(path)
}

/// `timeseries { labels.., samples { 1, now } }` with the destination's external labels.
fn one_sample(config: &DestinationConfig, now_ms: i64) -> Vec<u8> {
    let mut labels: Vec<(&str, &str)> = config.external_labels.iter().filter(|(name, _)| *name != "__name__").collect();
    labels.push(("__name__", PROBE_METRIC));
    labels.sort_unstable();
    let mut series = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        field(&mut label, 0x0a, name.as_bytes());
        field(&mut label, 0x12, value.as_bytes());
        field(&mut series, 0x0a, &label);
    }
    let mut sample = vec![0x09];
    sample.extend_from_slice(&1f64.to_le_bytes());
    sample.push(0x10);
    put_varint(now_ms.cast_unsigned(), &mut sample);
    field(&mut series, 0x12, &sample);
    let mut message = Vec::new();
    field(&mut message, 0x0a, &series);
    message
}

fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use proto::remote_write::WriteRequest;

    use super::*;
    use crate::{Backoff, Batching, MetadataConfig, ProtocolConfig};

    fn config(url: &str, protocol: ProtocolConfig) -> DestinationConfig {
        DestinationConfig {
            name: "d".into(),
            url: Url::parse(url).unwrap(),
            endpoint_url: None,
            protocol,
            timeout: std::time::Duration::from_secs(1),
            client: net::HttpClientConfig::default(),
            external_labels: [("zone", "a"), ("Cluster", "b")].into_iter().collect(),
            write_relabel: Vec::new(),
            native_histograms: false,
            backoff: Backoff {
                min: std::time::Duration::ZERO,
                max: std::time::Duration::ZERO,
                retry_on_http_429: true,
            },
            batching: Batching { max_samples: 1, max_bytes: 1, max_age: std::time::Duration::ZERO },
            shards: 1,
            max_in_flight_bytes: 1,
            max_age: None,
        }
    }

    fn prometheus() -> ProtocolConfig {
        let send_interval = std::time::Duration::from_secs(60);
        ProtocolConfig::Prometheus { metadata: MetadataConfig { send: true, send_interval, max_samples_per_send: 1 } }
    }

    fn s3() -> ProtocolConfig {
        ProtocolConfig::S3 {
            storage_class: Some("STANDARD_IA".into()),
            expected_bucket_owner: Some("123456789012".into()),
            sse: Some("aws:kms".into()),
            sse_kms_key_id: None,
        }
    }

    fn message(probe: &Probe) -> WriteRequest {
        let raw = snap::raw::Decoder::new().decompress_vec(probe.request.body()).unwrap();
        WriteRequest::decode(&*raw).unwrap()
    }

    #[test]
    fn an_empty_write_request_is_a_valid_one_without_samples() {
        let probe = probe(&config("http://h/api/v1/write", prometheus()), 0, false).unwrap();
        assert_eq!(message(&probe), WriteRequest::default());
        assert_eq!(probe.request.headers()["content-encoding"], "snappy");
        assert_eq!(probe.request.uri(), "http://h/api/v1/write");
    }

    #[test]
    fn a_write_is_one_sample_with_the_external_labels_in_order() {
        let probe = probe(&config("http://h/api/v1/write", prometheus()), 1_700_000_000_000, true).unwrap();
        let written = message(&probe);
        let labels: Vec<_> = written.timeseries[0].labels.iter().map(|l| (l.name.as_str(), l.value.as_str())).collect();
        assert_eq!(labels, [("Cluster", "b"), ("__name__", PROBE_METRIC), ("zone", "a")]);
        let sample = written.timeseries[0].samples[0];
        assert_eq!((sample.value, sample.timestamp), (1.0, 1_700_000_000_000));
    }

    #[test]
    fn a_bucket_is_asked_for_a_part_of_no_upload_and_written_only_on_demand() {
        let config = config("https://b.s3.eu-west-1.amazonaws.com/p/", s3());
        let asked = probe(&config, 0, false).unwrap();
        assert_eq!(asked.request.method(), "PUT");
        assert_eq!(
            asked.request.uri(),
            "https://b.s3.eu-west-1.amazonaws.com/p/sigpost-doctor-probe?partNumber=1&uploadId=sigpost-doctor"
        );
        assert!(asked.request.body().is_empty());
        assert_eq!(asked.kind, ProbeKind::Part);
        assert_eq!(asked.request.headers()["x-amz-expected-bucket-owner"], "123456789012");
        for refused in ["if-none-match", "x-amz-storage-class", "x-amz-server-side-encryption", "x-amz-meta-encoding"] {
            assert!(!asked.request.headers().contains_key(refused), "{refused}");
        }
        let written = probe(&config, 7, true).unwrap();
        assert_eq!(written.request.uri().path(), "/p/sigpost-doctor-probe-7");
        assert_eq!(written.request.headers()["if-none-match"], "*");
        assert_eq!(written.request.headers()["x-amz-server-side-encryption"], "aws:kms");
        assert_eq!(written.kind, ProbeKind::Object);
    }
}
