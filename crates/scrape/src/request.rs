//! The request of a scrape, and what its answer must look like.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use url::Url;

use crate::{ScrapeProtocol, failure::ScrapeFailure};

/// The headers that are the same for every scrape of a job.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    headers: HeaderMap,
}

impl Ask {
    pub(crate) fn new(protocols: &[ScrapeProtocol], compressed: bool) -> Self {
        let mut headers = HeaderMap::new();
        // Built from constants and small numbers: always a valid header value.
        if let Ok(accept) = HeaderValue::from_str(&accept(protocols)) {
            headers.insert(header::ACCEPT, accept);
        }
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(if compressed { "gzip" } else { "identity" }));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("Sigpost/", env!("CARGO_PKG_VERSION"))));
        Self { headers }
    }

    /// The request for one scrape.
    pub(crate) fn request(&self, url: &Url, timeout: Duration) -> Result<Request<Bytes>, ScrapeFailure> {
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(url.as_str())
            .body(Bytes::new())
            .map_err(|e| ScrapeFailure::Request { why: e.to_string() })?;
        request.headers_mut().clone_from(&self.headers);
        if let Ok(seconds) = HeaderValue::from_str(&timeout.as_secs_f64().to_string()) {
            request.headers_mut().insert("x-prometheus-scrape-timeout-seconds", seconds);
        }
        Ok(request)
    }
}

/// What is asked for, the most wanted first, and anything at all last.
fn accept(protocols: &[ScrapeProtocol]) -> String {
    let mut out = String::new();
    let mut weight = protocols.len().min(8) + 1;
    for protocol in protocols {
        let media = match protocol {
            ScrapeProtocol::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
            ScrapeProtocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
            ScrapeProtocol::PrometheusText0_0_4 => "text/plain;version=0.0.4",
            ScrapeProtocol::PrometheusText1_0_0 => "text/plain;version=1.0.0",
        };
        out.push_str(&format!("{media};q=0.{weight},"));
        weight = (weight - 1).max(1);
    }
    out.push_str(&format!("*/*;q=0.{weight}"));
    out
}

/// Only 200 is a scrape.
pub(crate) fn check(status: StatusCode) -> Result<(), ScrapeFailure> {
    if status == StatusCode::OK { Ok(()) } else { Err(ScrapeFailure::Status { status }) }
}

/// Whether the answer is OpenMetrics: by its Content-Type, or by `fallback` when that says nothing we know.
pub(crate) fn is_openmetrics(headers: &HeaderMap, fallback: ScrapeProtocol) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let media = kind.split(';').next().unwrap_or("").trim();
    if media.eq_ignore_ascii_case("application/openmetrics-text") {
        true
    } else if media.eq_ignore_ascii_case("text/plain") {
        false
    } else {
        matches!(fallback, ScrapeProtocol::OpenMetricsText1_0_0 | ScrapeProtocol::OpenMetricsText0_0_1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_most_comes_first_with_falling_weight() {
        let wanted = [
            ScrapeProtocol::OpenMetricsText1_0_0,
            ScrapeProtocol::OpenMetricsText0_0_1,
            ScrapeProtocol::PrometheusText0_0_4,
        ];
        assert_eq!(
            accept(&wanted),
            "application/openmetrics-text;version=1.0.0;q=0.4,application/openmetrics-text;version=0.0.1;q=0.3,\
             text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        );
    }

    #[test]
    fn a_request_says_who_asks_and_how_long_it_waits() {
        let ask = Ask::new(&[ScrapeProtocol::PrometheusText0_0_4], false);
        let url = Url::parse("http://h:1/metrics?x=1").unwrap();
        let request = ask.request(&url, Duration::from_millis(2500)).unwrap();
        let header = |name: &str| request.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(header("x-prometheus-scrape-timeout-seconds"), "2.5");
        assert_eq!(header("accept-encoding"), "identity");
        assert!(header("user-agent").starts_with("Sigpost/"));
        assert_eq!(request.uri(), "http://h:1/metrics?x=1");
    }

    #[test]
    fn the_content_type_decides_and_the_fallback_helps_out() {
        let with = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            headers
        };
        let (text, open) = (ScrapeProtocol::PrometheusText0_0_4, ScrapeProtocol::OpenMetricsText1_0_0);
        assert!(is_openmetrics(&with("application/openmetrics-text; version=1.0.0; charset=utf-8"), text));
        assert!(!is_openmetrics(&with("text/plain; version=0.0.4"), open));
        assert!(!is_openmetrics(&HeaderMap::new(), text));
        assert!(is_openmetrics(&with("nonsense"), open));
    }
}
