//! A queue of received OTLP requests in a temporary directory, and a running OTLP destination.

#![allow(dead_code)]

use std::{sync::Arc, time::Duration};

use model::{Labels, otlp::Signal};
use pipeline::{OtlpBuffer, OtlpIntake, OtlpOutlet};
use prost::Message;
use proto::{
    otlp_common::{KeyValue, Resource},
    otlp_traces::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span, SpanKind},
};
use queue::{DestinationSpec, LaneId, LaneSpec, LedgerRow, MinFree, Queue, QueueConfig};
use remote_write::{
    Backoff, Batching, DestinationConfig, DestinationStatus, ProtocolConfig,
    traces::{OtlpDeliveryMetrics, OtlpProtocol, TraceDestination},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::support::{self, until};

pub const LANE: &str = "traces-default";
pub const NAME: &str = "spans";

pub struct TraceHouse {
    pub directory: tempfile::TempDir,
    pub queue: Queue,
    intake: OtlpIntake,
    lane: LaneId,
}

impl TraceHouse {
    pub fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    pub fn at(directory: tempfile::TempDir) -> Self {
        net::install_crypto_provider();
        let lane = LaneId::new(LANE).unwrap();
        let config = QueueConfig {
            max_bytes: 1 << 30,
            min_free: MinFree::NONE,
            commit_interval: Duration::from_millis(5),
            cursor_interval: Duration::from_millis(20),
            ..QueueConfig::new(directory.path().join("queue"))
        };
        let spec = DestinationSpec::new(NAME, vec![lane.clone()]);
        let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane.clone())], vec![spec]).unwrap();
        let intake = OtlpIntake::new(queue.appender(&lane).unwrap());
        Self { directory, queue, intake, lane }
    }

    pub async fn close(self) -> tempfile::TempDir {
        let Self { directory, queue, intake, .. } = self;
        drop(intake);
        queue.close(Duration::from_secs(10)).await.unwrap();
        directory
    }

    /// Appends a request as it is received.
    pub async fn append(&self, signal: Signal, stream: u64, body: &[u8]) {
        let items = model::otlp::check(signal, body).unwrap();
        let mut buffer = OtlpBuffer::with_capacity(body.len());
        buffer.extend(body);
        let receipt = self.intake.append(signal, buffer, items, stream).await.unwrap();
        receipt.durable().await.unwrap();
    }

    /// Appends spans `<name> <number>` and gives back their bytes.
    pub async fn append_spans(&self, stream: u64, name: &str, spans: u32) -> Vec<u8> {
        let body = request(name, spans).encode_to_vec();
        self.append(Signal::Traces, stream, &body).await;
        body
    }

    pub fn row(&self) -> LedgerRow {
        self.queue.ledger().rows.into_iter().find(|row| row.destination == NAME).unwrap()
    }

    /// Waits until nothing is pending, and checks that the book balances.
    pub async fn settled(&self) -> LedgerRow {
        until("settled", || async { self.row().pending_items == 0 }).await;
        let row = self.row();
        assert!(row.balances(), "{row:?}");
        row
    }

    pub fn run(&self, config: DestinationConfig) -> Running {
        self.run_with(config, &OtlpDeliveryMetrics::default())
    }

    pub fn run_with(&self, config: DestinationConfig, metrics: &OtlpDeliveryMetrics) -> Running {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let outlets = vec![OtlpOutlet::new(self.queue.reader(NAME, &self.lane).unwrap())];
        let authorize: Option<Arc<dyn net::Authorize>> = None;
        let tuning = support::tuning();
        let status = TraceDestination::spawn_tuned(config, authorize, outlets, metrics, &tracker, stop.clone(), tuning);
        tracker.close();
        Running { status, stop, tracker }
    }
}

pub struct Running {
    pub status: DestinationStatus,
    pub stop: CancellationToken,
    tracker: TaskTracker,
}

impl Running {
    pub async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(30), self.tracker.wait()).await;
        assert!(ended.is_ok(), "the worker does not stop");
    }
}

/// Spans of now, `<name> <number>`, with ids of their own.
pub fn request(name: &str, spans: u32) -> ExportTraceServiceRequest {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = u64::try_from(since.as_nanos()).unwrap();
    let id = |number: u32| {
        let text = format!("{name} {number}");
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        hash.to_be_bytes()
    };
    let span = |number| Span {
        trace_id: [u32::try_from(since.as_secs()).unwrap().to_be_bytes().as_slice(), &[7; 4], &id(number)].concat(),
        span_id: id(number).to_vec(),
        name: format!("{name} {number}"),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: now,
        end_time_unix_nano: now + 5_000_000,
        attributes: vec![("http.request.method", "GET").into(), ("number", i64::from(number)).into()],
        ..Span::default()
    };
    let scope = ScopeSpans { spans: (0..spans).map(span).collect(), ..ScopeSpans::default() };
    let attributes: Vec<KeyValue> = vec![("service.name", "shop").into()];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let group = ResourceSpans { resource, scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }
}

/// The names of a request's spans.
pub fn names(body: &[u8]) -> Vec<String> {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|group| group.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(|span| span.name).collect()
}

/// A destination with small numbers.
pub fn config(url: &Url, protocol: OtlpProtocol) -> DestinationConfig {
    let mut url = url.clone();
    url.set_path("/");
    DestinationConfig {
        name: NAME.into(),
        url,
        endpoint_url: None,
        protocol: ProtocolConfig::Otlp(protocol),
        timeout: Duration::from_secs(20),
        client: net::HttpClientConfig::default(),
        external_labels: Labels::new(),
        write_relabel: Vec::new(),
        native_histograms: false,
        backoff: Backoff { min: Duration::from_millis(1), max: Duration::from_millis(5), retry_on_http_429: true },
        batching: Batching { max_samples: 10_000, max_bytes: 1 << 20, max_age: Duration::from_millis(20) },
        shards: 2,
        max_in_flight_bytes: 16 << 20,
        max_age: None,
    }
}
