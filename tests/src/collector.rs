//! A collector of OTLP over HTTP that keeps every body, to compare with what was sent.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use anyhow::Result;
use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::StatusCode,
};
use prost::Message;
use proto::{
    otlp_common::{KeyValue, Value},
    otlp_traces::{ExportTraceServiceRequest, Span},
};

/// A collector that keeps every body, and answers 503 while it is down.
#[derive(Clone, Default)]
pub struct Collector {
    bodies: Arc<Mutex<Vec<(String, Bytes)>>>,
    /// Answers 503 while it is set.
    pub down: Arc<AtomicBool>,
}

impl Collector {
    /// On a free loopback port, which is told.
    pub async fn start() -> Result<(Self, u16)> {
        let collector = Self::default();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let router = Router::new().fallback(Self::take).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((collector, port))
    }

    async fn take(State(collector): State<Self>, request: Request) -> StatusCode {
        if collector.down.load(Ordering::SeqCst) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let path = request.uri().path().to_owned();
        match axum::body::to_bytes(request.into_body(), 64 << 20).await {
            Ok(body) => {
                collector.bodies.lock().unwrap().push((path, body));
                StatusCode::OK
            }
            Err(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// In the order of their arrival.
    pub fn bodies(&self, path: &str) -> Vec<Bytes> {
        let bodies = self.bodies.lock().unwrap();
        bodies.iter().filter(|(of, _)| of == path).map(|(_, body)| body.clone()).collect()
    }

    /// All bodies of a path, one behind the other: what was sent in any cutting.
    pub fn joined(&self, path: &str) -> Vec<u8> {
        self.bodies(path).concat()
    }

    /// The numbers in names such as `span 17 `, in the order of their arrival.
    pub fn numbers(&self, path: &str) -> Vec<u64> {
        let all = self.joined(path);
        let text = String::from_utf8_lossy(&all);
        text.split("span ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse().ok()).collect()
    }

    /// All spans that arrived, each with its resource's attributes.
    pub fn spans(&self) -> Vec<(Vec<KeyValue>, Span)> {
        let request = ExportTraceServiceRequest::decode(&*self.joined("/v1/traces")).unwrap_or_default();
        let groups = request.resource_spans.into_iter().flat_map(|group| {
            let attributes = group.resource.unwrap_or_default().attributes;
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.map(move |span| (attributes.clone(), span)).collect::<Vec<_>>()
        });
        groups.collect()
    }
}

/// The text of an attribute.
pub fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()? {
        Value::String(text) => Some(text),
        _ => None,
    }
}
