//! What the pool tests share: an exporter that does as it is told, a real queue, and everything that comes out of it.
#![allow(dead_code)] // each test binary uses its own part

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Response, StatusCode},
};
use discovery::TargetGroup;
use model::{
    BaseVector, Labels, MetricBatch, MetricChunk, MetricType, Presence, SeriesTable, SeriesTableBuilder, Timestamps,
};
use parking_lot::Mutex;
use pipeline::{BaseVectors, MetricIntake, Outcome, Outlet};
use prometheus_client::registry::Registry;
use queue::{DestinationSpec, LaneId, LaneSpec, MinFree, OnFull, Queue, QueueConfig};
use scrape::{JobConfig, Limits, Scheme, ScrapeContext, ScrapeMetrics, ScrapePool, ScrapeProtocol};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub const SOON: Duration = Duration::from_secs(30);

/// What the exporter answers from now on.
#[derive(Clone)]
pub struct Page {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub delay: Duration,
}

pub fn text(body: &str) -> Page {
    Page {
        status: 200,
        headers: vec![("content-type", "text/plain; version=0.0.4".into())],
        body: body.as_bytes().to_vec(),
        delay: Duration::ZERO,
    }
}

pub fn status(status: u16) -> Page {
    Page { status, ..text("") }
}

#[derive(Default)]
struct Script {
    pages: HashMap<String, Page>,
    requests: Vec<(String, HeaderMap)>,
}

/// An exporter on loopback; each path has a page.
#[derive(Clone)]
pub struct Exporter {
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl Exporter {
    pub async fn start() -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let app = Router::new().fallback(answer).with_state(script.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, script }
    }

    pub fn set(&self, path: &str, page: Page) {
        self.script.lock().pages.insert(path.into(), page);
    }

    pub fn requests(&self, path: &str) -> usize {
        self.script.lock().requests.iter().filter(|(p, _)| p == path).count()
    }

    pub fn last_headers(&self, path: &str) -> HeaderMap {
        let script = self.script.lock();
        script.requests.iter().rev().find(|(p, _)| p == path).unwrap().1.clone()
    }

    pub fn target(&self, path: &str) -> Labels {
        [("__address__", self.address.to_string().as_str()), ("__metrics_path__", path), ("instance", path)]
            .into_iter()
            .collect()
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let page = {
        let mut script = script.lock();
        script.requests.push((path.clone(), request.headers().clone()));
        script.pages.get(&path).cloned().unwrap_or_else(|| status(404))
    };
    tokio::time::sleep(page.delay).await;
    let mut response = Response::builder().status(StatusCode::from_u16(page.status).unwrap());
    for (name, value) in page.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(page.body)).unwrap()
}

/// One sample that came out of the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub time: i64,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Seen {
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    pub fn is_stale(&self) -> bool {
        model::is_stale(self.value)
    }
}

pub struct Bench {
    pub exporter: Exporter,
    /// Taken by the tests that end it.
    pub pool: Option<ScrapePool>,
    pub groups: watch::Sender<Arc<Vec<TargetGroup>>>,
    pub registry: Registry,
    pub tracker: TaskTracker,
    pub stop: CancellationToken,
    pub queue: Queue,
    pub intake: MetricIntake,
    seen: Arc<Mutex<Vec<Seen>>>,
    _folder: tempfile::TempDir,
}

pub fn job() -> JobConfig {
    JobConfig {
        job_name: "test".into(),
        interval: Duration::from_millis(300),
        timeout: Duration::from_millis(300),
        metrics_path: "/metrics".into(),
        scheme: Scheme::Http,
        params: BTreeMap::new(),
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        protocols: vec![
            ScrapeProtocol::OpenMetricsText1_0_0,
            ScrapeProtocol::OpenMetricsText0_0_1,
            ScrapeProtocol::PrometheusText0_0_4,
        ],
        enable_compression: true,
        limits: Limits::default(),
        relabel: Vec::new(),
        metric_relabel: Vec::new(),
        client: net::HttpClientConfig::default(),
        extra_metrics: false,
        fallback_protocol: ScrapeProtocol::PrometheusText0_0_4,
    }
}

pub fn group(targets: Vec<Labels>) -> Arc<Vec<TargetGroup>> {
    Arc::new(vec![TargetGroup { source: "test/0".into(), targets, labels: Labels::new() }])
}

/// A pool over an exporter whose paths are `paths`, and a queue that is read at once.
pub async fn bench(job: JobConfig, pages: &[(&str, Page)]) -> Bench {
    let exporter = Exporter::start().await;
    for (path, page) in pages {
        exporter.set(path, page.clone());
    }
    let targets = pages.iter().map(|(path, _)| exporter.target(path)).collect();
    bench_with(job, exporter, targets, |_| {}, true).await
}

pub async fn bench_with(
    job: JobConfig,
    exporter: Exporter,
    targets: Vec<Labels>,
    shape: impl FnOnce(&mut QueueConfig),
    read: bool,
) -> Bench {
    bench_in(ScrapeContext::new(1), job, exporter, targets, shape, read).await
}

pub async fn bench_in(
    context: ScrapeContext,
    job: JobConfig,
    exporter: Exporter,
    targets: Vec<Labels>,
    shape: impl FnOnce(&mut QueueConfig),
    read: bool,
) -> Bench {
    net::install_crypto_provider();
    let folder = tempfile::tempdir().unwrap();
    let lane = LaneId::new("metrics-default").unwrap();
    let mut config = QueueConfig::new(folder.path());
    config.min_free = MinFree::NONE;
    config.commit_interval = Duration::from_millis(5);
    shape(&mut config);
    let mut destination = DestinationSpec::new("test", vec![lane.clone()]);
    destination.on_full = OnFull::Hold;
    let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane.clone())], vec![destination]).unwrap();
    let intake = MetricIntake::new(queue.appender(&lane).unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    if read {
        let outlet = Outlet::new(queue.reader("test", &lane).unwrap(), BaseVectors::default());
        tokio::spawn(collect(outlet, seen.clone()));
    }
    let mut registry = Registry::default();
    let metrics = ScrapeMetrics::registered(&mut registry);
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let (groups, mut receiver) = watch::channel(group(targets));
    receiver.mark_changed();
    let pool = ScrapePool::spawn(job, receiver, intake.clone(), metrics, context, &tracker, stop.clone()).unwrap();
    let pool = Some(pool);
    Bench { exporter, pool, groups, registry, tracker, stop, queue, intake, seen, _folder: folder }
}

async fn collect(mut outlet: Outlet, seen: Arc<Mutex<Vec<Seen>>>) {
    while let Ok(claim) = outlet.next().await {
        let mut samples = Vec::new();
        for chunk in &claim.chunks {
            let table = SeriesTable::decode(&claim.table_bytes(&chunk.table).unwrap()).unwrap();
            for sample in chunk.samples() {
                let mut labels: BTreeMap<String, String> =
                    table.labels(sample.series as usize).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
                let name = labels.remove("__name__").unwrap();
                samples.push(Seen { time: sample.timestamp_ms, name, labels, value: sample.value });
            }
        }
        seen.lock().extend(samples);
        claim.settle(Outcome::Delivered);
    }
}

impl Bench {
    pub fn pool(&self) -> &ScrapePool {
        self.pool.as_ref().unwrap()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Samples of one series name of one target.
    pub fn series(&self, path: &str, name: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|s| s.name == name && s.label("instance") == path).collect()
    }

    pub async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(SOON, wait).await.is_err() {
            let targets = self.pool.as_ref().map(ScrapePool::targets);
            panic!("never happened: {what}; targets: {targets:#?}");
        }
    }

    /// Waits until some series of a target has a sample that fits.
    pub async fn until_sample(&self, path: &str, name: &str, fits: impl Fn(&Seen) -> bool) -> Seen {
        let find = || self.series(path, name).into_iter().find(&fits);
        self.until(&format!("{name} of {path}"), || find().is_some()).await;
        find().unwrap()
    }

    /// Waits for `n` more scrapes of a target, seen at the far end of the queue.
    pub async fn scrapes(&self, path: &str, n: usize) {
        let goal = self.series(path, "up").len() + n;
        self.until(&format!("{n} scrapes of {path}"), || self.series(path, "up").len() >= goal).await;
    }

    /// Waits until everything handed to the queue so far has come out.
    pub async fn drained(&self) {
        append_last(&self.intake).await;
        self.until_sample("drained", LAST, |_| true).await;
    }

    pub fn metric(&self, line: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("{line} is not in\n{text}")).parse().unwrap()
    }

    pub async fn tasks_end(&self) {
        self.tracker.close();
        tokio::time::timeout(SOON, self.tracker.wait()).await.expect("a task stayed");
    }
}

const LAST: &str = "last_of_all";

/// One sample that can be recognised: a lane keeps its order.
async fn append_last(intake: &MetricIntake) {
    let labels = [("__name__", LAST), ("instance", "drained")].into_iter().collect();
    let mut table = SeriesTableBuilder::new();
    let family = table.family(LAST, MetricType::Gauge, "", "");
    table.push(family, &labels).unwrap();
    let (table, base) = (table.build(), BaseVector::none());
    let chunk = MetricChunk {
        table: &table,
        base: &base,
        present: Presence::All,
        timestamps: Timestamps::Common(0),
        values: &[0.0],
    };
    intake.append(&MetricBatch { stream: 0, chunks: vec![chunk] }).await.unwrap();
}

/// Reads a queue that nobody has read so far, up to now.
pub async fn drain(queue: &Queue, intake: &MetricIntake) -> Vec<Seen> {
    append_last(intake).await;
    let lane = LaneId::new("metrics-default").unwrap();
    let outlet = Outlet::new(queue.reader("test", &lane).unwrap(), BaseVectors::default());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let reading = tokio::spawn(collect(outlet, seen.clone()));
    let wait = async {
        while !seen.lock().iter().any(|s: &Seen| s.name == LAST) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("the queue was never empty");
    reading.abort();
    seen.lock().clone()
}
