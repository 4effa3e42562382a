//! A queue in a temporary directory, a far end that answers by script, and what they saw.

#![allow(dead_code)]

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Once},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use model::{
    BaseVector, EncodedTable, HistogramBatch, HistogramChunk, Labels, MetricBatch, MetricChunk, MetricType, Presence,
    SeriesTableBuilder, Timestamps,
};
use parking_lot::Mutex;
use pipeline::{BaseVectors, MetricIntake, Outlet};
use prost::Message;
use proto::remote_write::WriteRequest;
use queue::{DestinationSpec, LaneId, LaneSpec, LedgerRow, MinFree, Queue, QueueConfig};
use remote_write::{
    Backoff, Batching, Destination, DestinationConfig, DestinationStatus, MetadataConfig, ProtocolConfig,
    RemoteStorageMetrics, Tuning,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

pub const LANE: &str = "metrics-default";

fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(net::install_crypto_provider);
}

/// Waits for a condition, with a limit that only a failure reaches.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok(), "never came: {what}");
}

/// A queue with one lane.
pub struct House {
    pub directory: tempfile::TempDir,
    pub queue: Queue,
    pub intake: MetricIntake,
    lane: LaneId,
    bases: BaseVectors,
    tables: Mutex<BTreeMap<(u64, usize), EncodedTable>>,
}

impl House {
    pub fn new(destinations: &[&str]) -> Self {
        Self::at(tempfile::tempdir().unwrap(), destinations)
    }

    pub fn at(directory: tempfile::TempDir, destinations: &[&str]) -> Self {
        Self::sized(directory, destinations, 1 << 30, None)
    }

    /// With room for a few segments only.
    pub fn small(destinations: &[&str], max_bytes: u64) -> Self {
        Self::sized(tempfile::tempdir().unwrap(), destinations, max_bytes, Some(max_bytes / 8))
    }

    fn sized(directory: tempfile::TempDir, destinations: &[&str], max_bytes: u64, segment_bytes: Option<u64>) -> Self {
        install_tls();
        let lane = LaneId::new(LANE).unwrap();
        let config = QueueConfig {
            max_bytes,
            segment_bytes,
            min_free: MinFree::NONE,
            commit_interval: Duration::from_millis(5),
            cursor_interval: Duration::from_millis(20),
            ..QueueConfig::new(directory.path().join("queue"))
        };
        let specs = destinations.iter().map(|name| DestinationSpec::new(*name, vec![lane.clone()])).collect();
        let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane.clone())], specs).unwrap();
        let intake = MetricIntake::new(queue.appender(&lane).unwrap());
        Self { directory, queue, intake, lane, bases: BaseVectors::default(), tables: Mutex::default() }
    }

    pub async fn close(self) -> tempfile::TempDir {
        let Self { directory, queue, intake, .. } = self;
        drop(intake);
        queue.close(Duration::from_secs(10)).await.unwrap();
        directory
    }

    pub fn outlet(&self, destination: &str) -> Outlet {
        Outlet::new(self.queue.reader(destination, &self.lane).unwrap(), self.bases.clone())
    }

    fn table(&self, stream: u64, series: usize) -> EncodedTable {
        self.tables.lock().entry((stream, series)).or_insert_with(|| table(stream, series)).clone()
    }

    /// Appends one frame: `series` samples of target `stream`, all with this time and value.
    pub async fn append(&self, stream: u64, series: usize, time: i64, value: f64) {
        self.append_values(stream, time, &vec![value; series]).await;
    }

    pub async fn append_values(&self, stream: u64, time: i64, values: &[f64]) {
        let mut chunks = Vec::new();
        let tables: Vec<_> = values.chunks(200).map(|part| (self.table(stream, part.len()), part)).collect();
        let base = BaseVector::none();
        for (table, values) in &tables {
            chunks.push(MetricChunk {
                table,
                base: &base,
                present: Presence::All,
                timestamps: Timestamps::Common(time),
                values,
            });
        }
        let receipt = self.intake.append(&MetricBatch { stream, chunks }).await.unwrap();
        receipt.durable().await.unwrap();
    }

    /// Appends native histograms of target `stream`, and a sample for each, which stands in for it.
    pub async fn append_histograms(&self, stream: u64, time: i64, histograms: &[Vec<u8>]) {
        let (table, times) = (self.table(stream, histograms.len()), vec![time; histograms.len()]);
        let chunk = HistogramChunk { table: &table, timestamps: &times, histograms };
        let batch = HistogramBatch { stream, chunks: vec![chunk] };
        self.intake.append_histograms_now(&batch).await.unwrap().durable().await.unwrap();
        let (base, values) = (BaseVector::none(), vec![1.0; histograms.len()]);
        let chunk = MetricChunk {
            table: &table,
            base: &base,
            present: Presence::All,
            timestamps: Timestamps::Common(time),
            values: &values,
        };
        let batch = MetricBatch { stream, chunks: vec![chunk] };
        self.intake.append_stand_ins_now(&batch).await.unwrap().durable().await.unwrap();
    }

    pub fn row(&self, destination: &str) -> LedgerRow {
        self.queue.ledger().rows.into_iter().find(|row| row.destination == destination).unwrap()
    }

    /// Waits until nothing is pending, and checks that the book balances.
    pub async fn settled(&self, destination: &str) -> LedgerRow {
        until(&format!("{destination} settled"), || async { self.row(destination).pending_items == 0 }).await;
        let row = self.row(destination);
        assert!(row.balances(), "{row:?}");
        row
    }
}

/// Series `m<index>` of `target="<stream>"`.
fn table(stream: u64, series: usize) -> EncodedTable {
    let mut builder = SeriesTableBuilder::new();
    let family = builder.family("m", MetricType::Gauge, "A gauge.", "");
    for index in 0..series {
        let labels: Labels =
            [("__name__", format!("m{index}")), ("job", "test".into()), ("target", stream.to_string())]
                .into_iter()
                .collect();
        builder.push(family, &labels).unwrap();
    }
    builder.build()
}

/// One request as the far end got it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: http::HeaderMap,
    pub raw: Bytes,
    pub request: WriteRequest,
    /// What was answered.
    pub status: u16,
}

impl Seen {
    /// `(target/name, time, value)` of each sample.
    pub fn samples(&self) -> Vec<(String, i64, f64)> {
        samples(&self.request)
    }
}

pub fn samples(request: &WriteRequest) -> Vec<(String, i64, f64)> {
    let one = |series: &proto::remote_write::TimeSeries| {
        let label = |name: &str| series.labels.iter().find(|l| l.name == name).map_or("", |l| l.value.as_str());
        let key = format!("{}/{}", label("target"), label("__name__"));
        series.samples.iter().map(|sample| (key.clone(), sample.timestamp, sample.value)).collect::<Vec<_>>()
    };
    request.timeseries.iter().flat_map(one).collect()
}

/// What the far end does with a request.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
    /// Break the connection instead of answering.
    pub close: bool,
    /// Answer never.
    pub hang: bool,
    /// Answer after this.
    pub delay: Duration,
}

pub fn status(status: u16) -> Reply {
    Reply { status, ..Reply::default() }
}

pub fn refused(status: u16, body: &str) -> Reply {
    Reply { status, body: Bytes::copy_from_slice(body.as_bytes()), ..Reply::default() }
}

type Script = Arc<dyn Fn(usize, &Seen) -> Reply + Send + Sync>;

/// A far end on loopback.
#[derive(Clone)]
pub struct Fake {
    pub url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Requests under way, and the most there were at once.
    under_way: Arc<Mutex<(u32, u32)>>,
    script: Arc<Mutex<Script>>,
}

impl Fake {
    /// `script` gets the running number of the request (from 0) and the request.
    pub async fn new(script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        install_tls();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/api/v1/write", listener.local_addr().unwrap())).unwrap();
        let fake = Self {
            url,
            seen: Arc::default(),
            under_way: Arc::default(),
            script: Arc::new(Mutex::new(Arc::new(script))),
        };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    pub fn follow(&self, script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) {
        *self.script.lock() = Arc::new(script);
    }

    /// Requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// The most requests that were under way at once.
    pub fn most_under_way(&self) -> u32 {
        self.under_way.lock().1
    }

    /// Every sample that was answered with a success, in order of arrival.
    pub fn stored(&self) -> Vec<(String, i64, f64)> {
        self.seen.lock().iter().filter(|seen| (200..300).contains(&seen.status)).flat_map(Seen::samples).collect()
    }

    /// Checks that each series' first arrivals are in the order of their values, and gives the distinct samples.
    pub fn stored_in_order(&self) -> BTreeMap<String, Vec<f64>> {
        let mut series: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (key, _, value) in self.stored() {
            let values = series.entry(key).or_default();
            if !values.contains(&value) {
                assert!(values.last().is_none_or(|last| *last < value), "{values:?} then {value}");
                values.push(value);
            }
        }
        series
    }
}

struct UnderWay(Arc<Mutex<(u32, u32)>>);

impl UnderWay {
    fn new(fake: &Fake) -> Self {
        let mut under_way = fake.under_way.lock();
        under_way.0 += 1;
        under_way.1 = under_way.1.max(under_way.0);
        Self(Arc::clone(&fake.under_way))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().0 -= 1;
    }
}

async fn answer(State(fake): State<Fake>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let _under_way = UnderWay::new(&fake);
    let raw = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let request = snap::raw::Decoder::new().decompress_vec(&raw).ok().and_then(|raw| WriteRequest::decode(&*raw).ok());
    let mut seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        raw,
        request: request.unwrap_or_default(),
        status: 0,
    };
    let script = Arc::clone(&fake.script.lock());
    let reply = {
        let mut all = fake.seen.lock();
        let reply = script(all.len(), &seen);
        seen.status = if reply.close || reply.hang { 0 } else { reply.status };
        all.push(seen);
        reply
    };
    tokio::time::sleep(reply.delay).await;
    if reply.hang {
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder().status(if reply.close { 200 } else { reply.status });
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    let body = if reply.close {
        // Promises bytes that never come: the connection breaks before the answer is whole.
        response = response.header("content-length", 1000);
        let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("broken"))]);
        Body::from_stream(broken)
    } else {
        Body::from(reply.body)
    };
    response.body(body).unwrap()
}

/// A destination with small numbers.
pub fn config(name: &str, url: &Url) -> DestinationConfig {
    DestinationConfig {
        name: name.into(),
        url: url.clone(),
        endpoint_url: None,
        protocol: ProtocolConfig::Prometheus {
            metadata: MetadataConfig {
                send: false,
                send_interval: Duration::from_secs(60),
                max_samples_per_send: 2000,
            },
        },
        timeout: Duration::from_secs(20),
        client: net::HttpClientConfig::default(),
        external_labels: Labels::new(),
        write_relabel: Vec::new(),
        native_histograms: false,
        backoff: Backoff { min: Duration::from_millis(1), max: Duration::from_millis(5), retry_on_http_429: true },
        batching: Batching { max_samples: 500, max_bytes: 1 << 20, max_age: Duration::ZERO },
        shards: 2,
        max_in_flight_bytes: 16 << 20,
        max_age: None,
    }
}

pub fn tuning() -> Tuning {
    Tuning {
        probe_min: Duration::from_millis(2),
        probe_max: Duration::from_millis(20),
        unready_min: Duration::from_millis(2),
        unready_max: Duration::from_millis(20),
        stop_grace: Duration::from_millis(50),
        late: Duration::from_millis(20),
        ..Tuning::default()
    }
}

/// A running worker.
pub struct Running {
    pub status: DestinationStatus,
    pub stop: CancellationToken,
    tracker: TaskTracker,
}

impl Running {
    pub fn new(house: &House, config: DestinationConfig, authorize: Option<Arc<dyn net::Authorize>>) -> Self {
        Self::tuned(house, config, authorize, tuning())
    }

    pub fn tuned(
        house: &House,
        config: DestinationConfig,
        authorize: Option<Arc<dyn net::Authorize>>,
        tuning: Tuning,
    ) -> Self {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let outlets = vec![house.outlet(&config.name)];
        let metrics = RemoteStorageMetrics::default();
        let status = Destination::spawn_tuned(config, authorize, outlets, &metrics, &tracker, stop.clone(), tuning);
        tracker.close();
        Self { status, stop, tracker }
    }

    /// Tells it to stop and waits until it has.
    pub async fn stop(self) {
        self.stop.cancel();
        assert!(
            tokio::time::timeout(Duration::from_secs(30), self.tracker.wait()).await.is_ok(),
            "the worker does not stop"
        );
    }
}
