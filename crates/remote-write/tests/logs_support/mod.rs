//! A queue of log lines in a temporary directory, and a running log destination.

#![allow(dead_code)]

use std::{sync::Arc, time::Duration};

use model::{Labels, LogBatch};
use parking_lot::Mutex;
use pipeline::{Durability, LogIntake, LogOutlet};
use prost::Message;
use proto::loki::PushRequest;
use queue::{DestinationSpec, LaneId, LaneSpec, LedgerRow, MinFree, Queue, QueueConfig};
use remote_write::{
    Backoff, Batching, DestinationConfig, DestinationStatus, ProtocolConfig,
    logs::{LogDeliveryMetrics, LogDestination, LogProtocol, LokiConfig, Template},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::support::{self, Seen, until};

pub const LANE: &str = "logs-default";
pub const NAME: &str = "logs";

pub struct LogHouse {
    pub directory: tempfile::TempDir,
    pub queue: Queue,
    intake: LogIntake,
    batch: Mutex<LogBatch>,
    lane: LaneId,
}

/// A line: labels, time in ns, text.
pub type Line<'a> = (&'a [(&'a str, &'a str)], i64, &'a str);

impl LogHouse {
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
        let intake = LogIntake::new(queue.appender(&lane).unwrap());
        Self { directory, queue, intake, batch: Mutex::default(), lane }
    }

    pub async fn close(self) -> tempfile::TempDir {
        let Self { directory, queue, intake, .. } = self;
        drop(intake);
        queue.close(Duration::from_secs(10)).await.unwrap();
        directory
    }

    /// Appends one frame of source `source`.
    pub async fn append(&self, source: u64, lines: &[Line<'_>]) {
        let mut batch = std::mem::take(&mut *self.batch.lock());
        batch.clear();
        for (labels, at, line) in lines {
            let labels: Labels = labels.iter().copied().collect();
            let stream = batch.stream(&labels).unwrap();
            batch.push(stream, *at, line.as_bytes(), &[]).unwrap();
        }
        let receipt = self.intake.append(&mut batch, source, Durability::Now).await.unwrap();
        receipt.durable().await.unwrap();
        *self.batch.lock() = batch;
    }

    /// `lines` lines of one stream, `<name> <number>` from `from` on, a millisecond apart.
    pub async fn append_run(&self, source: u64, labels: &[(&str, &str)], name: &str, from: u32, lines: u32) {
        let texts: Vec<String> = (from..from + lines).map(|n| format!("{name} {n}")).collect();
        let at = |n: usize| now_ns() + (i64::from(from) + n as i64) * 1_000_000;
        let lines: Vec<Line<'_>> = texts.iter().enumerate().map(|(n, text)| (labels, at(n), text.as_str())).collect();
        self.append(source, &lines).await;
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
        self.run_as(config, None)
    }

    pub fn run_as(&self, config: DestinationConfig, authorize: Option<Arc<dyn net::Authorize>>) -> Running {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let outlets = vec![LogOutlet::new(self.queue.reader(NAME, &self.lane).unwrap())];
        let mut registry = prometheus_client::registry::Registry::default();
        let metrics = LogDeliveryMetrics::register(&mut registry);
        let tuning = support::tuning();
        let status = LogDestination::spawn_tuned(config, authorize, outlets, &metrics, &tracker, stop.clone(), tuning);
        tracker.close();
        Running { status, stop, registry, tracker }
    }
}

pub struct Running {
    pub status: DestinationStatus,
    pub stop: CancellationToken,
    pub registry: prometheus_client::registry::Registry,
    tracker: TaskTracker,
}

impl Running {
    pub async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(30), self.tracker.wait()).await;
        assert!(ended.is_ok(), "the worker does not stop");
    }
}

pub fn now_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_nanos()).unwrap()
}

/// A destination with small numbers.
pub fn config(url: &Url, protocol: LogProtocol) -> DestinationConfig {
    DestinationConfig {
        name: NAME.into(),
        url: url.clone(),
        endpoint_url: None,
        protocol: ProtocolConfig::Logs(protocol),
        timeout: Duration::from_secs(20),
        client: net::HttpClientConfig::default(),
        external_labels: Labels::new(),
        write_relabel: Vec::new(),
        native_histograms: false,
        backoff: Backoff { min: Duration::from_millis(1), max: Duration::from_millis(5), retry_on_http_429: true },
        batching: Batching { max_samples: usize::MAX, max_bytes: 1 << 20, max_age: Duration::from_millis(20) },
        shards: 2,
        max_in_flight_bytes: 16 << 20,
        max_age: None,
    }
}

pub fn loki(url: &Url) -> DestinationConfig {
    config(url, LogProtocol::Loki(LokiConfig::default()))
}

pub fn template(text: &str) -> Template {
    Template::parse(text, "host-1").unwrap()
}

pub fn pushed(seen: &Seen) -> PushRequest {
    let raw = snap::raw::Decoder::new().decompress_vec(&seen.raw).unwrap();
    PushRequest::decode(&*raw).unwrap()
}

/// `(labels, line)` of each entry of a push.
pub fn lines(seen: &Seen) -> Vec<(String, String)> {
    let of = |stream: proto::loki::StreamAdapter| {
        let labels = stream.labels;
        stream.entries.into_iter().map(move |entry| (labels.clone(), entry.line))
    };
    pushed(seen).streams.into_iter().flat_map(of).collect()
}

pub fn gunzipped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut out).unwrap();
    out
}
