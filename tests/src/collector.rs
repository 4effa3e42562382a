//! A collector of OTLP over HTTP that keeps every body, to compare with what was sent; it takes Loki's pushes too. And those who
//! send spans.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::StatusCode,
};
use prost::Message;
use proto::{
    loki::PushRequest,
    otlp_common::{KeyValue, Value},
    otlp_traces::{ExportTraceServiceRequest, ResourceSpans, Span},
};

use crate::peers;

/// A line, its stream's labels and its metadata.
pub type Line = (String, String, Vec<(String, String)>);

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

    /// All spans that arrived, by request and resource.
    pub fn groups(&self) -> Vec<ResourceSpans> {
        let request = ExportTraceServiceRequest::decode(&*self.joined("/v1/traces"));
        request.expect("what the agent sends is a request").resource_spans
    }

    /// All spans that arrived, each with its resource's attributes.
    pub fn spans(&self) -> Vec<(Vec<KeyValue>, Span)> {
        let groups = self.groups().into_iter().flat_map(|group| {
            let attributes = group.resource.unwrap_or_default().attributes;
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.map(move |span| (attributes.clone(), span)).collect::<Vec<_>>()
        });
        groups.collect()
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.spans().into_iter().map(|(_, span)| span.name).collect()
    }

    /// Everything that was pushed as to Loki.
    pub fn lines(&self) -> Vec<Line> {
        let mut found = Vec::new();
        for body in self.bodies("/loki/api/v1/push") {
            let raw = snap::raw::Decoder::new().decompress_vec(&body).expect("a snappy block");
            for stream in PushRequest::decode(&*raw).expect("a push").streams {
                for entry in stream.entries {
                    let metadata = entry.structured_metadata.into_iter().map(|pair| (pair.name, pair.value)).collect();
                    found.push((entry.line, stream.labels.clone(), metadata));
                }
            }
        }
        found
    }
}

/// Posts a request of spans to an agent on this machine. Errors: an answer other than 200.
pub async fn post_spans(port: u16, request: Vec<u8>) -> Result<()> {
    let url = format!("http://127.0.0.1:{port}/v1/traces");
    let post = reqwest::Client::new().post(url).header("content-type", "application/x-protobuf").body(request);
    let status = post.send().await?.status();
    ensure!(status == 200, "{status}");
    Ok(())
}

/// Has a client of Zipkin or Jaeger send a root and 30 spans, and gives what it complained of; `None` where there is
/// no such client.
pub async fn old_client(kind: &str, port: u16) -> Result<Option<String>> {
    let Some(python) = peers::python_of_old_clients()? else { return Ok(None) };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/span_send.py");
    let mut command = tokio::process::Command::new(python);
    command.arg(script).args([kind, "127.0.0.1", &port.to_string(), "30"]).env("NO_PROXY", "127.0.0.1");
    let output = tokio::time::timeout(Duration::from_secs(60), command.kill_on_drop(true).output()).await;
    let output = output.context("the client did not end")??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{kind}: {said}");
    Ok(Some(said))
}

/// The text of an attribute.
pub fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()? {
        Value::String(text) => Some(text),
        _ => None,
    }
}
