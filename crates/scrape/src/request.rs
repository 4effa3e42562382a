//! The request of a scrape, and what its answer must look like.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{ScrapeProtocol, failure::ScrapeFailure};

const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

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

    /// What goes with every request of the job.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

/// Tells the target how long the scrape waits.
pub(crate) fn announce(headers: &mut HeaderMap, timeout: Duration) {
    if let Ok(value) = HeaderValue::from_str(&timeout.as_secs_f64().to_string()) {
        headers.insert(SCRAPE_TIMEOUT, value);
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
        let mut headers = ask.headers().clone();
        for (timeout, told) in [(2500, "2.5"), (2500, "2.5"), (10_000, "10")] {
            announce(&mut headers, Duration::from_millis(timeout));
            let told_now: Vec<_> = headers.get_all(SCRAPE_TIMEOUT).iter().collect();
            assert_eq!(told_now, [told]);
        }
        assert_eq!(headers["accept-encoding"], "identity");
        assert!(headers["user-agent"].to_str().unwrap().starts_with("Sigpost/"));
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
