//! OTLP over gRPC: unary `Export` calls (OTLP specification 1.x, "OTLP/gRPC"; gRPC over HTTP/2).
//!
//! A message has five bytes in front of it: whether it is compressed, and its length. The status comes behind the answer, in
//! trailers, which `net` puts among the headers. It keeps true: what speaks of who we are, of the address or of load never
//! costs data.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use model::otlp::Signal;
use url::Url;

use super::{message::Fields, otlp_http::pressed, otlp_logs::taken};
use crate::{
    logs::wire::LogVerdict,
    traces::{Limits, OtlpCompression, OtlpGrpcConfig, Piece, joined},
    verdict::{Loss, Verdict, judge_common, message_of},
};

/// See the file's head.
#[derive(Debug)]
pub(crate) struct OtlpGrpc {
    address: Url,
    config: OtlpGrpcConfig,
    limits: Limits,
}

impl OtlpGrpc {
    pub(crate) fn new(mut address: Url, config: OtlpGrpcConfig, limits: Limits) -> Self {
        address.set_query(None);
        Self { address, config, limits }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn encode(&self, pieces: &[Piece<'_>]) -> Bytes {
        let message = joined(pieces);
        let message = match self.config.compression {
            OtlpCompression::None => message,
            compression => pressed(&message, compression).into(),
        };
        let mut framed = Vec::with_capacity(message.len() + 5);
        framed.push(u8::from(self.config.compression != OtlpCompression::None));
        // Requests are bounded far below 4 GiB.
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        framed.extend_from_slice(&message);
        framed.into()
    }

    pub(crate) fn request(&self, signal: Signal, body: &Bytes) -> Result<Request<Bytes>, http::Error> {
        let service = match signal {
            Signal::Traces => "trace.v1.TraceService",
            Signal::Metrics => "metrics.v1.MetricsService",
            Signal::Logs => "logs.v1.LogsService",
        };
        let mut address = self.address.clone();
        let base = self.address.path().trim_end_matches('/');
        address.set_path(&format!("{base}/opentelemetry.proto.collector.{service}/Export"));
        let mut request = Request::post(address.as_str())
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers");
        request = match self.config.compression {
            OtlpCompression::None => request,
            OtlpCompression::Gzip => request.header("grpc-encoding", "gzip"),
            OtlpCompression::Zstd => request.header("grpc-encoding", "zstd"),
        };
        request.body(body.clone())
    }

    /// `headers` hold the trailers too.
    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], items: usize) -> LogVerdict {
        let code = headers.get("grpc-status").and_then(|value| value.to_str().ok()?.trim().parse::<u32>().ok());
        let Some(code) = code else {
            // A proxy, or no gRPC at all.
            return match judge_common(status, headers, body, true) {
                None | Some(Verdict::Accepted | Verdict::TooLarge { .. } | Verdict::Refused { .. }) => Verdict::Hold {
                    why: format!(
                        "{status}: it does not answer as gRPC does; if it is OTLP/HTTP (port 4318), write `protocol: http`"
                    ),
                }
                .into(),
                Some(verdict) => verdict.into(),
            };
        };
        let said = headers.get("grpc-message").map(|value| percent_decoded(value.as_bytes())).unwrap_or_default();
        let why = format!("gRPC {}: {}", name(code), message_of(&said));
        let lower = why.to_lowercase();
        match code {
            0 => taken(body.get(5..).unwrap_or_default(), items),
            // Messages beyond the receiver's limit.
            8 | 11 if lower.contains("larger than max") || lower.contains("message too large") => {
                Verdict::TooLarge { message: why }.into()
            }
            8 => Verdict::Retry { after: retry_info(headers), pressure: true, why }.into(),
            14 => Verdict::Retry { after: retry_info(headers), pressure: true, why }.into(),
            1 | 2 | 4 | 10 | 11 | 13 | 15 => {
                Verdict::Retry { after: retry_info(headers), pressure: code == 4, why }.into()
            }
            3 | 6 | 9 => Verdict::Refused { loss: Loss::BadRequest, message: why, isolate: true }.into(),
            7 | 16 => {
                let why = format!("{why}; check this destination's credentials and what they may do");
                Verdict::Hold { why }.into()
            }
            _ => Verdict::Hold { why: format!("{why}; check the endpoint: it does not take this signal") }.into(),
        }
    }
}

fn name(code: u32) -> &'static str {
    match code {
        0 => "OK",
        1 => "CANCELLED",
        2 => "UNKNOWN",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        6 => "ALREADY_EXISTS",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        10 => "ABORTED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        15 => "DATA_LOSS",
        16 => "UNAUTHENTICATED",
        _ => "(unknown status)",
    }
}

/// `grpc-message` writes what is no plain ASCII as `%41`.
fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| byte == b'%').and_then(|digits| hex::decode(digits).ok());
        match escaped.as_deref() {
            Some([one]) => {
                out.push(*one);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

/// `google.rpc.Status { details 3: Any { type_url 1, value 2: RetryInfo { retry_delay 1: Duration { seconds 1, nanos 2 } } } }`.
fn retry_info(headers: &HeaderMap) -> Option<std::time::Duration> {
    use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
    let text = headers.get("grpc-status-details-bin")?.to_str().ok()?;
    let status = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    let part = |message: &[u8], number: u64| {
        Fields::new(message).find(|(found, _)| *found == number).and_then(|(_, field)| Some(field.bytes()?.to_vec()))
    };
    let info = Fields::new(&status).filter(|(number, _)| *number == 3).find_map(|(_, detail)| {
        let detail = detail.bytes()?;
        let is_retry = part(detail, 1).is_some_and(|url| url.ends_with(b"google.rpc.RetryInfo"));
        part(detail, 2).filter(|_| is_retry)
    })?;
    let delay = part(&info, 1)?;
    let number = |wanted| Fields::new(&delay).find(|(found, _)| *found == wanted).and_then(|(_, field)| field.number());
    let nanos = u32::try_from(number(2).unwrap_or(0)).unwrap_or(0).min(999_999_999);
    Some(std::time::Duration::new(number(1).unwrap_or(0), nanos))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use base64::Engine;

    use super::*;

    fn wire(compression: OtlpCompression) -> OtlpGrpc {
        let limits = Limits { items: usize::MAX, bytes: usize::MAX };
        OtlpGrpc::new(Url::parse("http://collector:4317").unwrap(), OtlpGrpcConfig { compression }, limits)
    }

    fn judge(status: u16, pairs: &[(&'static str, &str)], body: &[u8]) -> LogVerdict {
        let headers =
            pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect();
        wire(OtlpCompression::None).judge(StatusCode::from_u16(status).unwrap(), &headers, body, 10)
    }

    #[test]
    fn a_message_has_its_length_in_front() {
        let piece = Piece { lot: 0, items: 1, body: Cow::Borrowed(b"\x0a\x02ab".as_slice()) };
        let plain = wire(OtlpCompression::None).encode(std::slice::from_ref(&piece));
        assert_eq!(&*plain, b"\x00\x00\x00\x00\x04\x0a\x02ab");
        let gzip = wire(OtlpCompression::Gzip);
        let body = gzip.encode(&[piece]);
        assert_eq!((body[0], u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize), (1, body.len() - 5));
        let request = gzip.request(Signal::Logs, &body).unwrap();
        assert_eq!(request.uri(), "http://collector:4317/opentelemetry.proto.collector.logs.v1.LogsService/Export");
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers()["grpc-encoding"], "gzip");
    }

    #[test]
    fn statuses_mean_what_the_specification_says() {
        assert_eq!(judge(200, &[("grpc-status", "0")], b"\0\0\0\0\0"), Verdict::Accepted.into());
        let partial = judge(200, &[("grpc-status", "0")], b"\0\0\0\0\x06\x0a\x04\x08\x03\x12\x00");
        assert!(matches!(partial, LogVerdict::Whole(Verdict::Partial { written: Some(7), .. })), "{partial:?}");
        for code in ["1", "4", "8", "10", "11", "13", "14", "15"] {
            assert!(
                matches!(judge(200, &[("grpc-status", code)], b""), LogVerdict::Whole(Verdict::Retry { .. })),
                "{code}"
            );
        }
        for code in ["5", "7", "12", "16"] {
            assert!(
                matches!(judge(200, &[("grpc-status", code)], b""), LogVerdict::Whole(Verdict::Hold { .. })),
                "{code}"
            );
        }
        let bad = judge(200, &[("grpc-status", "3"), ("grpc-message", "no%20such")], b"");
        assert!(
            matches!(&bad, LogVerdict::Whole(Verdict::Refused { isolate: true, message, .. }) if message.contains("no such"))
        );
        let large = [("grpc-status", "8"), ("grpc-message", "received message larger than max (5 vs. 4)")];
        assert!(matches!(judge(200, &large, b""), LogVerdict::Whole(Verdict::TooLarge { .. })));
        for (status, body) in [(200, ""), (404, ""), (400, "bad"), (413, "")] {
            assert!(matches!(judge(status, &[], body.as_bytes()), LogVerdict::Whole(Verdict::Hold { .. })), "{status}");
        }
        assert!(matches!(judge(503, &[], b""), LogVerdict::Whole(Verdict::Retry { .. })));
    }

    #[test]
    fn a_receiver_that_says_when_is_believed() {
        let mut duration = vec![0x0a, 0x04, 0x08, 0x05, 0x10, 0x01];
        let url = b"type.googleapis.com/google.rpc.RetryInfo";
        let mut any = vec![0x0a, u8::try_from(url.len()).unwrap()];
        any.extend_from_slice(url);
        any.extend_from_slice(&[0x12, u8::try_from(duration.len()).unwrap()]);
        any.append(&mut duration);
        let mut status = vec![0x08, 0x08, 0x1a, u8::try_from(any.len()).unwrap()];
        status.append(&mut any);
        let text = base64::engine::general_purpose::STANDARD.encode(&status);
        let verdict = judge(200, &[("grpc-status", "8"), ("grpc-status-details-bin", &text)], b"");
        let LogVerdict::Whole(Verdict::Retry { after, .. }) = verdict else { panic!("retried") };
        assert_eq!(after, Some(std::time::Duration::new(5, 1)));
    }
}
