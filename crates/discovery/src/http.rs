//! `http_sd_configs`: a URL that answers with target groups in JSON.
//!
//! Keeps true: only 200 with `application/json` counts; anything else keeps the last groups. The body is bounded.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use net::{Client, ClientOptions, masked};

use crate::{DiscoveryError, DiscoveryMetrics, HttpDiscovery, LIMIT, TargetGroup, board::Board, groups};

pub(crate) struct HttpSource {
    config: HttpDiscovery,
    client: Client,
    metrics: DiscoveryMetrics,
    /// For people: without credentials.
    place: String,
    /// `__meta_url`: with the query, which rules may look at, without credentials.
    meta: String,
}

impl HttpSource {
    pub(crate) fn new(config: HttpDiscovery, metrics: DiscoveryMetrics) -> Result<Self, DiscoveryError> {
        let place = masked(&config.url);
        // What cannot be read now fails each refresh with its reason, and nobody else's.
        let options = ClientOptions { files_may_be_wrong: true, ..ClientOptions::default() };
        let client = Client::new(&config.client, options)
            .map_err(|source| DiscoveryError::Client { url: place.clone(), source })?;
        let mut plain = config.url.clone();
        // Both refuse only URLs without a host, which carry no credentials.
        let _ = plain.set_username("");
        let _ = plain.set_password(None);
        Ok(Self { meta: plain.to_string(), config, client, metrics, place })
    }

    /// Runs until nobody listens.
    pub(crate) async fn run(self, slot: usize, board: &Board) {
        let mut ticks = tokio::time::interval(self.config.refresh_interval.max(std::time::Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = board.abandoned() => return,
            }
            match self.refresh().await {
                Ok(groups) => {
                    if failing {
                        tracing::info!(url = %self.place, groups = groups.len(), "http discovery answers again");
                    }
                    failing = false;
                    board.report(slot, groups);
                }
                Err(error) => {
                    self.metrics.http_failures.inc();
                    if !failing {
                        tracing::warn!(url = %self.place, %error, "http discovery failed; the last known targets stay");
                    }
                    failing = true;
                }
            }
        }
    }

    async fn refresh(&self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let content = |why: String| DiscoveryError::Content { place: self.place.clone(), why };
        let request = Request::builder()
            .method(Method::GET)
            .uri(self.config.url.as_str())
            .header(header::ACCEPT, "application/json")
            .header("X-Prometheus-Refresh-Interval-Seconds", self.config.refresh_interval.as_secs_f64().to_string())
            .body(Bytes::new())
            .map_err(|e| content(format!("its URL cannot be requested: {e}")))?;
        let reply = self
            .client
            .send(request, self.config.refresh_interval, LIMIT)
            .await
            .map_err(|source| DiscoveryError::Request { url: self.place.clone(), source })?;
        if reply.status != StatusCode::OK {
            return Err(content(format!("it answered {}; only 200 counts", reply.status)));
        }
        let kind = reply.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        if !is_json(kind) {
            return Err(content(format!("its Content-Type is {kind:?}; it must be application/json")));
        }
        groups::from_json(&reply.body, &self.place, ("__meta_url", &self.meta)).map_err(content)
    }
}

/// `application/json`, optionally with `charset=utf-8`, in any letter case.
fn is_json(content_type: &str) -> bool {
    let lower = content_type.trim().to_ascii_lowercase();
    match lower.split_once(';') {
        None => lower == "application/json",
        Some((kind, parameter)) => {
            kind == "application/json" && matches!(parameter.trim_start(), "charset=utf-8" | "charset=\"utf-8\"")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn only_json_is_json() {
        for good in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""] {
            assert!(is_json(good), "{good}");
        }
        for bad in ["", "text/html", "application/json; charset=latin1", "application/jsonp", "text/json"] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
