//! OTLP over HTTP: POST of a protobuf `Export*ServiceRequest` (OTLP specification 1.x, "OTLP/HTTP").
//!
//! AWS's own endpoints take one signal at a host each and have limits of their own ("OpenTelemetry Protocol endpoints",
//! CloudWatch User Guide). It keeps true: one received request that fits goes out byte for byte, but for compression.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use model::otlp::Signal;
use url::Url;

use super::{
    cloudwatch::{Founder, GZIP_LEVEL, group_name, gzip, missing, stream_name},
    otlp_logs::taken,
};
use crate::{
    logs::{head::Address, wire::LogVerdict},
    traces::{Limits, OtlpCompression, OtlpHttpConfig, Piece, joined},
    verdict::{Loss, Verdict, described, error_code, judge_common},
};

/// What AWS counts for a log record beside its bytes.
const RECORD_OVERHEAD: usize = 26;
const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

/// See the file's head.
#[derive(Debug)]
pub(crate) struct OtlpHttp {
    /// What stands before `/v1/<signal>`, or the whole address of `only`.
    address: Url,
    /// The signal that the address names.
    named: Option<Signal>,
    /// AWS's endpoint for a signal.
    aws: Option<Signal>,
    config: OtlpHttpConfig,
    limits: Limits,
    log_place: Option<Address>,
    founder: Option<Founder>,
}

impl OtlpHttp {
    /// `url` is the address that is signed for.
    pub(crate) fn new(address: Url, url: &Url, config: OtlpHttpConfig, limits: Limits) -> Self {
        let named = |url: &Url| {
            let path = url.path().trim_end_matches('/').to_owned();
            SIGNALS.into_iter().find(|signal| path.ends_with(&format!("/v1/{signal}")))
        };
        let host = url.host_str().unwrap_or_default();
        let is_aws = host.contains(".amazonaws.com") || host.ends_with(".api.aws");
        let service = host.split(['.', '-']).next().unwrap_or_default();
        let aws = match service {
            "xray" if is_aws => Some(Signal::Traces),
            "monitoring" if is_aws => Some(Signal::Metrics),
            "logs" if is_aws => Some(Signal::Logs),
            _ => None,
        };
        let ascii = |name: String| name.chars().map(|c| if c.is_ascii() { c } else { '_' }).collect::<String>();
        let log_place = match (&config.log_group, &config.log_stream) {
            (None, None) => None,
            (group, stream) => Some(Address {
                first: group.as_deref().map(group_name).unwrap_or_default(),
                second: stream.as_deref().map(|name| ascii(stream_name(name))).unwrap_or_default(),
            }),
        };
        let founder = (config.create && config.log_group.is_some() && config.log_stream.is_some()).then(|| {
            // Groups and streams are made at the same host, by the other API.
            let mut root = address.clone();
            root.set_path("/");
            root.set_query(None);
            Founder::new(&root, config.retention_days)
        });
        Self { named: named(&address), address, aws, config, limits, log_place, founder }
    }

    pub(crate) fn takes(&self, signal: Signal) -> bool {
        // A path that was written out is meant, and the others' have places of their own.
        self.aws.or(self.named).is_none_or(|one| one == signal)
    }

    pub(crate) fn limits(&self) -> Limits {
        let (items, bytes) = match self.aws {
            Some(Signal::Traces) => (10_000, 5_000_000),
            Some(Signal::Metrics) => (1000, 1_000_000),
            Some(Signal::Logs) => {
                let items = self.limits.items.min(10_000);
                (items, 1_048_576 - RECORD_OVERHEAD * items.min(10_000))
            }
            None => (usize::MAX, usize::MAX),
        };
        Limits { items: self.limits.items.min(items), bytes: self.limits.bytes.min(bytes) }
    }

    pub(crate) fn founder(&self) -> Option<(&Founder, &Address)> {
        Some((self.founder.as_ref()?, self.log_place.as_ref()?))
    }

    pub(crate) fn encode(&self, pieces: &[Piece<'_>]) -> Bytes {
        pressed(&joined(pieces), self.config.compression).into()
    }

    pub(crate) fn request(&self, signal: Signal, body: &Bytes) -> Result<Request<Bytes>, http::Error> {
        let mut request =
            Request::post(self.address_of(signal).as_str()).header(header::CONTENT_TYPE, "application/x-protobuf");
        request = match self.config.compression {
            OtlpCompression::None => request,
            OtlpCompression::Gzip => request.header(header::CONTENT_ENCODING, "gzip"),
            OtlpCompression::Zstd => request.header(header::CONTENT_ENCODING, "zstd"),
        };
        if let Some(place) = self.log_place.as_ref().filter(|_| signal == Signal::Logs) {
            for (name, value) in [("x-aws-log-group", &place.first), ("x-aws-log-stream", &place.second)] {
                if !value.is_empty() {
                    request = request.header(name, value);
                }
            }
        }
        request.body(body.clone())
    }

    fn address_of(&self, signal: Signal) -> Url {
        if self.named == Some(signal) {
            return self.address.clone();
        }
        let mut address = self.address.clone();
        let base = self.address.path().trim_end_matches('/');
        address.set_path(&format!("{base}/v1/{signal}"));
        address
    }

    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], items: usize) -> LogVerdict {
        let code = error_code(status, headers, body);
        if headers.contains_key("grpc-status") {
            let what = described(&status.as_u16().to_string(), body);
            let why =
                format!("{what}; it answers as gRPC does: write `protocol: grpc`, or the port of OTLP/HTTP (4318)");
            return Verdict::Hold { why }.into();
        }
        if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            let why = described("415", body);
            let help = "it does not take protobuf, or not packed like this: set `compression: none`, and `protocol: grpc` if \
                        this is a port of gRPC";
            return Verdict::Hold { why: format!("{why}; {help}") }.into();
        }
        if code.as_deref() == Some("ResourceNotFoundException") && self.log_place.is_some() {
            return missing(body);
        }
        match judge_common(status, headers, body, true) {
            Some(Verdict::Accepted) => taken(body, items),
            Some(verdict) => verdict.into(),
            None => {
                let message = described(&code.unwrap_or_else(|| status.as_u16().to_string()), body);
                if message.to_lowercase().contains("too large") {
                    return Verdict::TooLarge { message }.into();
                }
                Verdict::Refused { loss: Loss::BadRequest, message, isolate: true }.into()
            }
        }
    }
}

/// The body as it travels: fast for connections.
pub(super) fn pressed(plain: &[u8], compression: OtlpCompression) -> Vec<u8> {
    match compression {
        OtlpCompression::None => plain.to_vec(),
        OtlpCompression::Gzip => gzip(plain, GZIP_LEVEL),
        // Compressing memory does not fail.
        OtlpCompression::Zstd => zstd::bulk::compress(plain, 1).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    const NONE: Limits = Limits { items: usize::MAX, bytes: usize::MAX };

    fn wire(url: &str, config: OtlpHttpConfig) -> OtlpHttp {
        let url = Url::parse(url).unwrap();
        OtlpHttp::new(url.clone(), &url, config, NONE)
    }

    fn uri(wire: &OtlpHttp, signal: Signal) -> String {
        wire.request(signal, &Bytes::new()).unwrap().uri().to_string()
    }

    #[test]
    fn each_signal_has_its_path() {
        for base in ["http://c:4318", "http://c:4318/"] {
            let wire = wire(base, OtlpHttpConfig::default());
            for signal in SIGNALS {
                assert_eq!(uri(&wire, signal), format!("http://c:4318/v1/{signal}"), "{base}");
                assert!(wire.takes(signal));
            }
        }
        for (base, named) in [("http://c:4318/v1/traces", Signal::Traces), ("http://c:4318/x/v1/logs/", Signal::Logs)] {
            let wire = wire(base, OtlpHttpConfig::default());
            assert_eq!(uri(&wire, named), base);
            assert_eq!(SIGNALS.map(|one| wire.takes(one)), SIGNALS.map(|one| one == named), "{base}: it alone");
        }
        let prefixed = wire("http://c/otlp/v1/traces?k=v", OtlpHttpConfig::default());
        assert_eq!(uri(&prefixed, Signal::Traces), "http://c/otlp/v1/traces?k=v", "used as it is");
    }

    #[test]
    fn aws_takes_one_signal_at_a_host_and_has_limits() {
        for (host, signal, items, bytes) in [
            ("xray.us-east-1.amazonaws.com", Signal::Traces, 10_000, 5_000_000),
            ("xray-fips.us-east-1.amazonaws.com", Signal::Traces, 10_000, 5_000_000),
            ("monitoring.eu-west-1.amazonaws.com", Signal::Metrics, 1000, 1_000_000),
            ("logs.eu-west-1.api.aws", Signal::Logs, 10_000, 788_576),
        ] {
            let wire = wire(&format!("https://{host}"), OtlpHttpConfig::default());
            assert_eq!(SIGNALS.map(|one| wire.takes(one)), SIGNALS.map(|one| one == signal), "{host}");
            assert_eq!(wire.limits(), Limits { items, bytes }, "{host}");
            assert_eq!(uri(&wire, signal), format!("https://{host}/v1/{signal}"));
        }
        assert_eq!(wire("http://xray.example/", OtlpHttpConfig::default()).limits(), NONE);
    }

    #[test]
    fn one_request_travels_as_it_came_and_several_as_one() {
        let piece = |body: &'static [u8]| Piece { lot: 0, items: 1, body: Cow::Borrowed(body) };
        for compression in [OtlpCompression::None, OtlpCompression::Gzip, OtlpCompression::Zstd] {
            let wire = wire("http://c", OtlpHttpConfig { compression, ..OtlpHttpConfig::default() });
            let body = wire.encode(&[piece(b"\x0a\x02ab"), piece(b"\x0a\x01c")]);
            let request = wire.request(Signal::Traces, &body).unwrap();
            let coding = request.headers().get("content-encoding").map(|value| value.to_str().unwrap());
            let plain = match coding {
                None => body.to_vec(),
                Some("gzip") => {
                    let mut out = Vec::new();
                    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*body), &mut out).unwrap();
                    out
                }
                Some(_) => zstd::decode_all(&*body).unwrap(),
            };
            assert_eq!(plain, b"\x0a\x02ab\x0a\x01c", "{compression:?}");
        }
    }

    #[test]
    fn log_records_on_aws_name_their_group_and_stream() {
        let config = OtlpHttpConfig {
            log_group: Some("/g".into()),
            log_stream: Some("s:1".into()),
            create: true,
            ..OtlpHttpConfig::default()
        };
        let wire = wire("https://logs.us-east-1.amazonaws.com/v1/logs", config);
        let request = wire.request(Signal::Logs, &Bytes::new()).unwrap();
        assert_eq!(request.headers()["x-aws-log-group"], "/g");
        assert_eq!(request.headers()["x-aws-log-stream"], "s_1");
        let missing = br#"{"__type":"ResourceNotFoundException","message":"The specified log group does not exist."}"#;
        let verdict = wire.judge(StatusCode::BAD_REQUEST, &HeaderMap::new(), missing, 1);
        assert!(matches!(verdict, LogVerdict::Missing { group: true, .. }));
        assert!(wire.founder().is_some());
    }

    #[test]
    fn answers_mean_what_the_specification_says_and_none_about_us_costs_data() {
        let wire = wire("http://c", OtlpHttpConfig::default());
        let judge =
            |status: u16, body: &[u8]| wire.judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body, 10);
        assert_eq!(judge(200, b""), Verdict::Accepted.into());
        // partial_success { rejected 3, error_message "no" }
        let partial = judge(200, b"\x0a\x06\x08\x03\x12\x02no");
        assert!(
            matches!(&partial, LogVerdict::Whole(Verdict::Partial { written: Some(7), message, .. }) if message.contains("no"))
        );
        for status in [429, 502, 503, 504] {
            assert!(matches!(judge(status, b""), LogVerdict::Whole(Verdict::Retry { .. })), "{status}");
        }
        for status in [401, 403, 404] {
            assert!(matches!(judge(status, b""), LogVerdict::Whole(Verdict::Hold { .. })), "{status}");
        }
        assert!(matches!(judge(400, b"bad"), LogVerdict::Whole(Verdict::Refused { isolate: true, .. })));
        assert!(matches!(judge(413, b""), LogVerdict::Whole(Verdict::TooLarge { .. })));
        let headers = [(header::RETRY_AFTER, "7".parse().unwrap())].into_iter().collect();
        let LogVerdict::Whole(Verdict::Retry { after, .. }) =
            wire.judge(StatusCode::TOO_MANY_REQUESTS, &headers, b"", 1)
        else {
            panic!("retried");
        };
        assert_eq!(after, Some(std::time::Duration::from_secs(7)));
    }
}
