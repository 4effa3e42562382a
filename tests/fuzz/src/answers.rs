//! What comes back from the other side: statuses, headers, error documents, credentials, certificates.

use std::{sync::OnceLock, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use remote_write::{Backoff, Batching, DestinationConfig, MetadataConfig, ProtocolConfig};

/// Status (2, little-endian, folded into 100-599), header lines `name: value`, an empty line, the body.
struct Reply<'a> {
    status: StatusCode,
    headers: HeaderMap,
    body: &'a [u8],
}

impl<'a> Reply<'a> {
    fn read(data: &'a [u8]) -> Option<Self> {
        let ([low, high], mut rest) = data.split_first_chunk()?;
        let number = u16::from_le_bytes([*low, *high]);
        let number = if (100..600).contains(&number) { number } else { 100 + number % 500 };
        let mut headers = HeaderMap::new();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if line.is_empty() || headers.len() >= 50 {
                break;
            }
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let name = HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        Some(Self { status: StatusCode::from_u16(number).ok()?, headers, body: rest })
    }
}

fn destination(protocol: ProtocolConfig) -> DestinationConfig {
    let url = match protocol {
        ProtocolConfig::Prometheus { .. } => {
            "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write"
        }
        ProtocolConfig::S3 { .. } => "https://bucket.s3.us-east-1.amazonaws.com/prefix/",
        ProtocolConfig::Logs(_) => "http://loki.example/loki/api/v1/push",
        ProtocolConfig::Otlp(_) => "http://collector.example:4318",
    };
    DestinationConfig {
        name: "fuzzed".to_owned(),
        url: url.parse().expect("a literal URL"),
        endpoint_url: None,
        protocol,
        timeout: Duration::from_secs(30),
        client: net::HttpClientConfig::default(),
        external_labels: model::Labels::new(),
        write_relabel: Vec::new(),
        native_histograms: false,
        backoff: Backoff { min: Duration::from_millis(30), max: Duration::from_secs(5), retry_on_http_429: true },
        batching: Batching { max_samples: 2000, max_bytes: 4 << 20, max_age: Duration::ZERO },
        shards: 1,
        max_in_flight_bytes: 16 << 20,
        max_age: None,
    }
}

fn destinations() -> &'static [DestinationConfig; 2] {
    static BOTH: OnceLock<[DestinationConfig; 2]> = OnceLock::new();
    BOTH.get_or_init(|| {
        let metadata =
            MetadataConfig { send: true, send_interval: Duration::from_secs(60), max_samples_per_send: 2000 };
        let s3 =
            ProtocolConfig::S3 { storage_class: None, expected_bucket_owner: None, sse: None, sse_kms_key_id: None };
        [destination(ProtocolConfig::Prometheus { metadata }), destination(s3)]
    })
}

/// An answer to a remote write and to a PUT. What speaks of us, of the address or of load never costs data.
pub fn verdict(data: &[u8]) {
    let Some(Reply { status, headers, body }) = Reply::read(data) else { return };
    for destination in destinations() {
        let judged = remote_write::fuzz::judge(destination, status, &headers, body);
        let loses = matches!(judged.word, "partial" | "refused");
        if !matches!(status.as_u16(), 400 | 409 | 412 | 422) {
            assert!(!loses, "{status} is taken for the data's fault: {judged:?}");
        }
        assert!(status.is_success() || status == 412 || judged.word != "accepted", "{status}: {judged:?}");
        assert_ne!(judged.word, "unready");
        assert!(judged.told.chars().count() <= 9000, "{} characters are told", judged.told.chars().count());
        assert!(!judged.told.chars().any(|c| c.is_control() && c != '\t'), "a control character is told: {judged:?}");
        assert!(!judged.told.contains("SECRETTOKEN") || !marks_a_token(body), "a token is told: {judged:?}");
    }
    let now = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let _ = net::retry_after(&headers, now);
}

/// Whether the body quotes a signed request's session token, as refusals of signatures do.
fn marks_a_token(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).to_ascii_lowercase().contains("x-amz-security-token:secrettoken")
}

/// The error document of an AWS service, in JSON, XML or words.
pub fn service_error(data: &[u8]) {
    let Some(Reply { status, headers, body }) = Reply::read(data) else { return };
    let found = net::service_error::parse(status, &headers, body);
    assert_eq!(found.is_some(), status.as_u16() >= 300);
    if let Some(error) = found {
        assert!(!error.code.is_empty(), "{error:?}");
        assert!(error.code.chars().count() <= 130 && error.message.chars().count() <= 2010, "{error:?}");
        for id in [&error.request_id, &error.extended_request_id].into_iter().flatten() {
            assert!(id.chars().count() <= 210, "{error:?}");
        }
    }
}

/// What a container's endpoint, a program, Roles Anywhere or STS answers.
pub fn credentials(data: &[u8]) {
    assert!(aws::fuzz::credentials(data) <= 4);
}

/// A certificate in DER.
pub fn certificate(data: &[u8]) {
    if let Some(serial) = aws::fuzz::certificate(data) {
        assert!(!serial.is_empty() && serial.bytes().all(|b| b.is_ascii_digit()), "{serial:?}");
        assert!(serial.len() <= 3 * data.len());
    }
}
