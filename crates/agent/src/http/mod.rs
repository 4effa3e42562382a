//! The HTTP API under the reference's paths.
//!
//! Shows what runs; changes nothing. Keeps true: no secret is in any answer.

mod instances;
mod log_targets;
mod page;
mod targets;

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};
use tower::ServiceExt;

use crate::{exposition, house::House, load_metrics::ActiveSeries};

/// What the handlers look at.
#[derive(Clone)]
pub struct Site {
    pub house: Arc<House>,
    pub registry: Arc<Registry>,
    pub series: ActiveSeries,
    /// The effective configuration, secrets masked; `None`: not served.
    pub config: Option<Arc<RwLock<String>>>,
    pub metrics: bool,
    /// Asks for a reload; the answer comes when it is done.
    pub reload: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
}

/// What stands at the door: nobody is home until the site opens.
#[derive(Clone, Default)]
pub struct Front(Arc<OnceLock<Router>>);

impl Front {
    pub fn open(&self, site: Site) {
        // A second site would be a second house; there is none.
        let _ = self.0.set(router(site));
    }

    fn router(&self) -> Router {
        self.0.get().cloned().unwrap_or_else(|| {
            Router::new()
                .route("/-/healthy", get(healthy))
                .fallback(|| async { (StatusCode::SERVICE_UNAVAILABLE, NOT_READY) })
        })
    }
}

const NOT_READY: &str = "Metrics are not ready yet.\n";
const CANNOT_WRITE: &str = "The queue cannot write to its disk: see the log.\n";

/// What `net::server` serves.
pub fn service(
    front: Front,
) -> impl tower::Service<
    axum::http::Request<hyper::body::Incoming>,
    Response = Response,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ 'static {
    tower::service_fn(move |request: axum::http::Request<hyper::body::Incoming>| {
        front.router().oneshot(request.map(axum::body::Body::new))
    })
}

fn router(site: Site) -> Router {
    let mut router = Router::new()
        .route("/", get(page::show))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/-/config", get(config))
        .route("/-/reload", get(reload).post(reload))
        .route("/agent/api/v1/metrics/instances", get(instances::list))
        .route("/agent/api/v1/instances", get(instances::list))
        .route("/agent/api/v1/metrics/targets", get(targets::list))
        .route("/agent/api/v1/targets", get(targets::list))
        .route("/agent/api/v1/logs/instances", get(log_targets::instances))
        .route("/agent/api/v1/logs/targets", get(log_targets::targets));
    if site.metrics {
        router = router.route("/metrics", get(metrics));
    }
    router.with_state(site)
}

async fn healthy() -> &'static str {
    "Agent is Healthy.\n"
}

async fn ready(State(site): State<Site>) -> (StatusCode, &'static str) {
    if !site.house.is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, NOT_READY);
    }
    // A full lane is a normal state and a far end's matter. One whose disk refuses writes takes nothing in, and only
    // somebody who looks at the machine can help.
    if site.house.ledger().lanes.iter().any(|lane| lane.state == queue::LaneState::Failed) {
        return (StatusCode::SERVICE_UNAVAILABLE, CANNOT_WRITE);
    }
    (StatusCode::OK, "Agent is Ready.\n")
}

async fn config(State(site): State<Site>) -> Response {
    match site.config {
        Some(text) => ([(header::CONTENT_TYPE, "text/yaml; charset=utf-8")], text.read().clone()).into_response(),
        None => (StatusCode::NOT_FOUND, "404 - config endpoint is disabled: start with -config.enable-read-api\n")
            .into_response(),
    }
}

/// 200 when the new configuration is in force; 400 with the reason when the old one stays.
async fn reload(State(site): State<Site>) -> Response {
    let (answer, done) = oneshot::channel();
    if site.reload.send(answer).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n").into_response();
    }
    match done.await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(why)) => (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n").into_response(),
    }
}

async fn metrics(State(site): State<Site>, headers: HeaderMap) -> Response {
    site.series.show(site.house.series());
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let (body, content_type) = exposition::render(&site.registry, accept);
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}
