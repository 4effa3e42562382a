//! The paths of a receiver and what a request there comes to.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use model::Labels;
use pipeline::Durability;
use stages::TENANT_LABEL;
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};

use super::{
    PushLimits,
    body::{self, Format, Refusal},
    mend::mend,
};
use crate::{Forward, ReceiveError, forward::Admitted, metrics::SourceCounts};

/// What the handlers share.
pub(super) struct Door {
    pub forward: Mutex<Forward>,
    pub labels: Labels,
    pub use_incoming_timestamp: bool,
    pub limits: PushLimits,
    pub under_way: Semaphore,
    pub counts: SourceCounts,
}

/// A tenant's name is at most this long (Loki: 150).
const LONGEST_TENANT: usize = 150;

pub(super) fn router(door: Arc<Door>) -> Router {
    Router::new()
        .route("/loki/api/v1/push", post(push))
        .route("/promtail/api/v1/raw", post(raw))
        .route("/ready", get(|| async { "ready\n" }))
        .with_state(door)
}

async fn push(State(door): State<Arc<Door>>, headers: HeaderMap, request: Body) -> Response {
    let result = async {
        let _place = door.place()?;
        let format = body::format(&headers)?;
        let packed = body::read(request, &door.limits).await?;
        let limit = door.limits.decompressed;
        let plain =
            pipeline::off_reactor(packed.len() > 64 << 10, || body::unpack(packed, &headers, Some(format), limit))?;
        door.take(&headers, &plain, Some(format)).await
    };
    door.answer(result.await, &headers)
}

async fn raw(State(door): State<Arc<Door>>, headers: HeaderMap, request: Body) -> Response {
    let result = async {
        let _place = door.place()?;
        let packed = body::read(request, &door.limits).await?;
        let limit = door.limits.decompressed;
        let plain = pipeline::off_reactor(packed.len() > 64 << 10, || body::unpack(packed, &headers, None, limit))?;
        door.take(&headers, &plain, None).await
    };
    door.answer(result.await, &headers)
}

fn later() -> Refusal {
    (StatusCode::TOO_MANY_REQUESTS, "no room now: the queue is full or too many requests are under way".to_owned())
}

impl Door {
    fn place(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Refusal> {
        self.under_way.try_acquire().map_err(|_| later())
    }

    fn answer(&self, result: Result<(), Refusal>, headers: &HeaderMap) -> Response {
        let Err((status, why)) = result else {
            return StatusCode::NO_CONTENT.into_response();
        };
        let client = || {
            let name = headers.get(header::USER_AGENT).and_then(|name| name.to_str().ok()).unwrap_or("a client");
            name.chars().take(100).collect::<String>()
        };
        match status {
            // It will come again.
            StatusCode::TOO_MANY_REQUESTS => self.counts.fault("no_room"),
            StatusCode::SERVICE_UNAVAILABLE => self.counts.fault("stopping"),
            StatusCode::PAYLOAD_TOO_LARGE => self.counts.refused("too_large", &client(), &why),
            _ => self.counts.refused("bad_request", &client(), &why),
        }
        let mut answer = (status, format!("{why}\n")).into_response();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            answer.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static("5"));
        }
        answer
    }

    /// Takes all lines of a request, and returns when they are on disk. `format` of `None`: plain lines.
    async fn take(&self, headers: &HeaderMap, body: &[u8], format: Option<Format>) -> Result<(), Refusal> {
        let mended;
        let streams = match format {
            Some(format) => {
                let long = body.len() > 256 << 10;
                Some(match pipeline::off_reactor(long, || body::parse(body, format)) {
                    Ok(streams) => streams,
                    Err(refusal) => {
                        mended = pipeline::off_reactor(long, || mend(body, format)).ok_or(refusal)?;
                        pipeline::off_reactor(long, || body::parse(&mended, format))?
                    }
                })
            }
            None => None,
        };
        let tenant = tenant(headers)?;
        let work = async {
            let mut forward = self.forward.lock().await;
            forward.pace().await;
            // An earlier request may have been given up half-way.
            forward.discard();
            match &streams {
                Some(streams) => {
                    for stream in streams {
                        let Some(labels) = self.admitted(&forward, stream.labels.clone(), tenant) else { continue };
                        for entry in stream.entries.iter() {
                            let at = if self.use_incoming_timestamp { entry.timestamp_ns } else { forward.time() };
                            forward.push(&labels, at, entry.line.as_bytes(), &entry.metadata).await?;
                        }
                    }
                }
                None => {
                    if let Some(labels) = self.admitted(&forward, Labels::new(), tenant) {
                        for line in body.split(|byte| *byte == b'\n') {
                            let line = line.strip_suffix(b"\r").unwrap_or(line);
                            if !line.is_empty() {
                                let at = forward.time();
                                forward.push(&labels, at, line, &[]).await?;
                            }
                        }
                    }
                }
            }
            forward.flush(Durability::Now).await
        };
        let stopping = |_| (StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping".to_owned());
        let deadline = Instant::now() + self.limits.wait.max(Duration::from_millis(1));
        let receipt = match tokio::time::timeout_at(deadline, work).await {
            Ok(Ok(receipt)) => receipt,
            Ok(Err(error @ ReceiveError::Intake(_))) if error.is_closed() => return Err(stopping(())),
            Ok(Err(error)) => return Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
            Err(_) => return Err(later()),
        };
        // Others may hand over while this one waits for the disk. A lane that became full in between holds the lines in
        // memory: they may come to lie in it after all, and a second time when the sender comes again.
        match receipt {
            None => Ok(()),
            Some(receipt) => match tokio::time::timeout_at(deadline, receipt.durable()).await {
                Ok(durable) => durable.map_err(|_| stopping(())),
                Err(_) => Err(later()),
            },
        }
    }

    fn admitted(&self, forward: &Forward, mut labels: Labels, tenant: Option<&str>) -> Option<Labels> {
        let unlabelled = labels.is_empty();
        for (name, value) in self.labels.iter() {
            labels.set(name, value);
        }
        if let Some(tenant) = tenant {
            labels.set(TENANT_LABEL, tenant);
        }
        if unlabelled {
            return forward.admit_named(labels);
        }
        match forward.admit(labels) {
            Admitted::Labels(labels) => Some(labels),
            Admitted::Dropped => None,
            Admitted::Empty => {
                self.counts.dropped("empty_labels");
                None
            }
        }
    }
}

fn tenant(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get("x-scope-orgid") else { return Ok(None) };
    match value.to_str() {
        Ok("") => Ok(None),
        Ok(text) if text.len() <= LONGEST_TENANT => Ok(Some(text)),
        _ => Err((StatusCode::BAD_REQUEST, "x-scope-orgid is not a tenant's name".to_owned())),
    }
}
