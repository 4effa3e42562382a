//! Spans in numbers: bodies of OTLP requests to send, and a collector that counts what arrives, over OTLP/HTTP, OTLP/gRPC or
//! X-Ray's `PutTraceSegments`.
//!
//! It checks no signature: the sandbox does. It keeps true: a span is counted when its request was answered with success.

use std::{
    io::Read,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode},
};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use http_body_util::{BodyExt, Full};
use prost::Message;
use proto::{
    otlp_common::Resource,
    otlp_traces::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span, SpanKind},
};
use serde::Deserialize;

use crate::receiver::next_field;

/// Where gRPC takes spans.
pub const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// An answer of gRPC without anything in it, and the head of a message that is empty.
pub const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// A request of `spans` spans as an instrumented web service sends them; `number` makes it different from others.
pub fn request(number: u64, spans: usize) -> Vec<u8> {
    let random = |n: u64| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    // Not older than X-Ray takes, for the year that this number stands for.
    let second = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let begin = second * 1_000_000_000;
    let spans = (0..spans as u64).map(|at| {
        let (this, trace) = (random((number << 20) | at), random((number << 20) | (at / 10)));
        let start = begin + this % 1_000_000_000;
        let epoch = u32::try_from(second).unwrap_or_default().to_be_bytes();
        let trace_id = [epoch.as_slice(), &trace.to_be_bytes(), &epoch].concat();
        let name = format!("GET /api/v1/orders/{{id}}/{}", this % 20);
        Span {
            trace_id,
            span_id: this.to_be_bytes().to_vec(),
            parent_span_id: if at % 10 == 0 {
                Vec::new()
            } else {
                random((number << 20) | (at - 1)).to_be_bytes().to_vec()
            },
            name,
            kind: if at % 2 == 0 { SpanKind::Server.into() } else { SpanKind::Client.into() },
            start_time_unix_nano: start,
            end_time_unix_nano: start + this % 50_000_000,
            attributes: vec![
                ("http.request.method", "GET").into(),
                ("http.response.status_code", if this % 31 == 0 { 404 } else { 200 }).into(),
                (
                    "url.full",
                    format!("https://shop.example.com/api/v1/orders/{}?page={}", this % 100_000, this % 17).as_str(),
                )
                    .into(),
                ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Firefox/128.0").into(),
                ("server.address", "orders.shop.svc.cluster.local").into(),
                ("network.peer.address", format!("10.{}.{}.{}", this % 250, this / 250 % 250, this / 7 % 250).as_str())
                    .into(),
                ("thread.id", i64::try_from(this % 64).unwrap_or_default()).into(),
            ],
            ..Span::default()
        }
    });
    let scope = ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() };
    let attributes = vec![
        ("service.name", "orders").into(),
        ("telemetry.sdk.language", "java").into(),
        ("k8s.pod.name", "orders-6d4cf56db6-x2x7k").into(),
    ];
    let group = ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
}

/// As one member of gzip.
pub fn gzip(bytes: &[u8], level: u32) -> std::io::Result<Vec<u8>> {
    use std::io::Write;
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(level));
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// The message with the five bytes that gRPC puts before it.
pub fn framed(message: &[u8], packed: bool) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[u8::from(packed)], length.as_slice(), message].concat()
}

#[derive(Default)]
struct Seen {
    spans: AtomicU64,
    requests: AtomicU64,
    wire_bytes: AtomicU64,
    refused: AtomicU64,
}

/// Takes spans at any path, over HTTP/1.1 and HTTP/2 without TLS.
pub struct SpanReceiver {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl SpanReceiver {
    /// Starts on a free loopback port.
    pub async fn start() -> std::io::Result<Self> {
        let seen = Arc::new(Seen::default());
        let app = Router::new().fallback(take).layer(DefaultBodyLimit::max(64 << 20)).with_state(Arc::clone(&seen));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, seen, task })
    }

    /// Spans received; those that were sent twice count twice.
    pub fn spans(&self) -> u64 {
        self.seen.spans.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::SeqCst)
    }

    pub fn wire_bytes(&self) -> u64 {
        self.seen.wire_bytes.load(Ordering::SeqCst)
    }

    /// Requests that could not be read.
    pub fn refused(&self) -> u64 {
        self.seen.refused.load(Ordering::SeqCst)
    }
}

impl Drop for SpanReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let word = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let grpc = word("content-type").starts_with("application/grpc");
    let Some(spans) = count(&body, grpc, word("content-encoding") == "gzip", word("content-type")) else {
        seen.refused.fetch_add(1, Ordering::SeqCst);
        return answer(StatusCode::BAD_REQUEST, Body::from("not what it says it is"), "text/plain");
    };
    seen.requests.fetch_add(1, Ordering::SeqCst);
    seen.wire_bytes.fetch_add(body.len() as u64, Ordering::SeqCst);
    seen.spans.fetch_add(spans, Ordering::SeqCst);
    if grpc {
        return answer(StatusCode::OK, done(), "application/grpc");
    }
    if word("content-type").starts_with("application/json") {
        return answer(StatusCode::OK, Body::from("{\"UnprocessedTraceSegments\":[]}"), "application/json");
    }
    answer(StatusCode::OK, Body::empty(), "application/x-protobuf")
}

fn answer(status: StatusCode, body: Body, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    response
}

/// gRPC's success.
fn done() -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    Body::new(Full::new(Bytes::from_static(EMPTY_MESSAGE)).with_trailers(async move { Some(Ok(trailers)) }))
}

fn count(body: &[u8], grpc: bool, packed: bool, kind: &str) -> Option<u64> {
    let (packed, body) = match body.split_at_checked(EMPTY_MESSAGE.len()) {
        Some(([packed, ..], message)) if grpc => (*packed == 1, message),
        _ => (packed, body),
    };
    let mut plain = Vec::new();
    let body = if packed {
        MultiGzDecoder::new(body).read_to_end(&mut plain).ok()?;
        &plain
    } else {
        body
    };
    if kind.starts_with("application/json") { documents(body) } else { spans(body) }
}

/// `resource_spans` (1) -> `scope_spans` (2) -> `spans` (2).
fn spans(mut body: &[u8]) -> Option<u64> {
    let mut found = 0;
    while !body.is_empty() {
        let (1, mut group) = next_field(&mut body)? else { continue };
        while !group.is_empty() {
            let (2, mut scope) = next_field(&mut group)? else { continue };
            while !scope.is_empty() {
                found += u64::from(next_field(&mut scope)?.0 == 2);
            }
        }
    }
    Some(found)
}

fn documents(body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Put {
        trace_segment_documents: Vec<String>,
    }
    serde_json::from_slice::<Put>(body).ok().map(|put| put.trace_segment_documents.len() as u64)
}
