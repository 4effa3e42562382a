//! Remote write 1.0: POST of a snappy block of `prometheus.WriteRequest`
//! (Prometheus Remote-Write 1.0 specification).
//!
//! Keeps true: content headers are set before anybody signs; the bytes of a retry are the bytes of the first attempt.

use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use url::Url;

use super::Parcel;
use crate::verdict::{Loss, Spoken, Verdict, described, judge_common, message_of, spoken};

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Prometheus {
    address: Url,
    /// What all requests have in common, made at the first one.
    common: OnceLock<(Uri, HeaderMap)>,
    retry_on_429: bool,
}

impl Prometheus {
    pub(crate) fn new(address: Url, retry_on_429: bool) -> Self {
        Self { address, common: OnceLock::new(), retry_on_429 }
    }

    pub(crate) fn request(&self, parcel: &Parcel, attempt: u32) -> Result<Request<Bytes>, http::Error> {
        let (uri, headers) = match self.common.get() {
            Some(common) => common,
            None => {
                let (parts, ()) = template(&self.address)?.into_parts();
                self.common.get_or_init(|| (parts.uri, parts.headers))
            }
        };
        let mut request = Request::new(parcel.body.clone());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        if attempt > 0 {
            request.headers_mut().insert("retry-attempt", attempt.into());
        }
        Ok(request)
    }

    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verdict {
        // Prometheus says so with a 500, and would to every repetition.
        if message_of(body).contains("native histograms are disabled") {
            let why = described(status.as_str(), body);
            let help = "start it with --enable-feature=native-histograms, or set `send_native_histograms: false` here";
            return Verdict::Hold { why: format!("{why}; {help}") };
        }
        if let Some(verdict) = judge_common(status, headers, body, self.retry_on_429) {
            return verdict;
        }
        let what = status.as_u16().to_string();
        let message = described(&what, body);
        // Servers that speak 2.0 say how much of a partly refused request they stored.
        let written = headers
            .get("x-prometheus-remote-write-samples-written")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().parse().ok());
        match (status.as_u16(), spoken(body)) {
            (_, Some(Spoken::RestStored(loss))) => Verdict::Partial { written, loss, message },
            (_, Some(Spoken::RolledBack(loss))) if written.is_some() => Verdict::Partial { written, loss, message },
            (_, Some(Spoken::RolledBack(loss))) => Verdict::Refused { loss, message, isolate: true },
            // Thanos: a conflict of samples, reported after the others are stored, often without the word.
            (409, None) => Verdict::Partial { written, loss: Loss::Conflict, message },
            (412, None) => Verdict::Hold { why: format!("{message}; check this destination's headers") },
            // AMP's gateway answers an oversized request with 400 and words.
            _ if message_of(body).to_lowercase().contains("too large") => Verdict::TooLarge { message },
            _ => Verdict::Refused { loss: Loss::BadRequest, message, isolate: true },
        }
    }
}

/// A remote-write 1.0 POST of a snappy block, but for the block.
fn template(address: &Url) -> Result<Request<()>, http::Error> {
    Request::post(address.as_str())
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .header(header::CONTENT_ENCODING, "snappy")
        .header("x-prometheus-remote-write-version", "0.1.0")
        .body(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(status: u16, body: &str) -> Verdict {
        let protocol = Prometheus::new(Url::parse("http://localhost/").unwrap(), true);
        protocol.judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn a_400_is_isolated_unless_its_words_say_that_the_rest_is_stored() {
        assert!(matches!(judge(400, "bad label"), Verdict::Refused { loss: Loss::BadRequest, isolate: true, .. }));
        assert!(matches!(judge(422, "bad label"), Verdict::Refused { isolate: true, .. }));
        assert!(matches!(
            judge(400, "user=1: err: out of order sample"),
            Verdict::Partial { loss: Loss::OutOfOrder, written: None, .. }
        ));
        assert!(matches!(
            judge(400, "out of order sample\n"),
            Verdict::Refused { loss: Loss::OutOfOrder, isolate: true, .. }
        ));
        assert!(matches!(judge(409, "conflict"), Verdict::Partial { loss: Loss::Conflict, .. }));
        assert!(matches!(judge(400, "received message too large"), Verdict::TooLarge { .. }));
        assert!(matches!(judge(413, ""), Verdict::TooLarge { .. }));
    }

    #[test]
    fn a_far_end_without_native_histograms_is_held_and_loses_nothing() {
        let Verdict::Hold { why } = judge(500, "native histograms are disabled\n") else { panic!("it is held") };
        assert!(why.contains("send_native_histograms: false"), "{why}");
        assert!(matches!(judge(500, "something else"), Verdict::Retry { .. }));
    }

    #[test]
    fn requests_carry_the_headers_of_the_specification_and_retries_say_so() {
        let parcel = Parcel { body: Bytes::from_static(b"x"), extent: None, samples: 1 };
        let protocol = Prometheus::new(Url::parse("http://h:1/api/v1/write?a=b").unwrap(), true);
        let first = protocol.request(&parcel, 0).unwrap();
        assert_eq!(first.uri(), "http://h:1/api/v1/write?a=b");
        assert_eq!(first.headers()["content-encoding"], "snappy");
        assert_eq!(first.headers()["content-type"], "application/x-protobuf");
        assert_eq!(first.headers()["x-prometheus-remote-write-version"], "0.1.0");
        assert!(!first.headers().contains_key("retry-attempt"));
        assert_eq!(protocol.request(&parcel, 3).unwrap().headers()["retry-attempt"], "3");
    }
}
