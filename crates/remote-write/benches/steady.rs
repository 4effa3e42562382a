//! What a delivered sample costs when nothing is behind: frames come one by one as scrapes do, and leave at once.
//!
//! 100 targets of 2,005 samples every 10 s, into a queue that commits every 200 ms, out to a receiver in a process of its own
//! that takes 2,000 samples a request (as AMP) or 10,000. Prints requests, CPU time and context switches of this process a
//! frame: a steady load costs by the request and the wake-up, not by the sample. Unsigned. Arguments: `--seconds N`,
//! `--samples N` (in a request at most), `--pace N` (times faster than 10 frames a second).

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use model::{
    BaseVector, EncodedTable, Labels, MetricBatch, MetricChunk, MetricType, Presence, SeriesTableBuilder, Timestamps,
};
use pipeline::{BaseVectors, MetricIntake, Outlet};
use prometheus_client::registry::Registry;
use queue::{DestinationSpec, LaneId, LaneSpec, MinFree, Queue, QueueConfig};
use remote_write::{
    Backoff, Batching, Destination, DestinationConfig, MetadataConfig, ProtocolConfig, RemoteStorageMetrics,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const TARGETS: u64 = 100;
const SERIES: usize = 2005;
const CHUNK: usize = 250;

fn tables(target: u64) -> Vec<EncodedTable> {
    let table = |part: usize| {
        let mut builder = SeriesTableBuilder::new();
        let family = builder.family("http_server_request_duration_seconds", MetricType::Histogram, "Duration.", "s");
        for index in part * CHUNK..((part + 1) * CHUNK).min(SERIES) {
            let mut labels = Labels::new();
            labels.set("__name__", "http_server_request_duration_seconds_bucket");
            labels.set("instance", &format!("10.0.{target}.17:9100"));
            labels.set("job", "kubernetes-pods");
            labels.set("path", &format!("/api/v1/orders/{}", index / 9));
            labels.set("le", &index.to_string());
            builder.push(family, &labels).unwrap();
        }
        builder.build()
    };
    (0..SERIES.div_ceil(CHUNK)).map(table).collect()
}

/// Reads requests of known length and answers 204.
async fn receive(mut socket: tokio::net::TcpStream) {
    let mut buffer = Vec::with_capacity(1 << 20);
    loop {
        buffer.clear();
        let head = loop {
            if socket.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
        let length: usize = text.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap();
        while buffer.len() < head + length {
            if socket.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        if socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
            return;
        }
    }
}

async fn be_the_receiver() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(receive(socket));
    }
}

/// Nanoseconds on a processor and context switches, summed over this process's threads.
fn spent() -> (u64, u64) {
    let (mut nanoseconds, mut switches) = (0, 0);
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        nanoseconds += read("schedstat").split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
        let counts = read("status");
        let counts = counts.lines().filter(|line| line.contains("voluntary_ctxt_switches"));
        switches += counts.filter_map(|line| line.split('\t').next_back()?.parse::<u64>().ok()).sum::<u64>();
    }
    (nanoseconds, switches)
}

fn requests(registry: &Registry) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("prometheus_remote_storage_requests_total"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn argument(name: &str, default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).map_or(default, |value| value.parse().expect("a number"))
}

fn main() {
    // Threads that end would take their figures with them.
    let keep = Duration::from_secs(3600);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).thread_keep_alive(keep).enable_all();
    // On a worker, as everything in the agent: waking the main thread costs more.
    let runtime = runtime.build().unwrap();
    runtime.block_on(runtime.spawn(run())).unwrap();
}

async fn run() {
    if std::env::args().any(|argument| argument == "--receive") {
        return be_the_receiver().await;
    }
    let (seconds, max_samples, pace) = (argument("--seconds", 10), argument("--samples", 2000), argument("--pace", 1));
    net::install_crypto_provider();
    let mut receiver =
        Command::new(std::env::current_exe().unwrap()).arg("--receive").stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(receiver.stdout.take().unwrap()).read_line(&mut address).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let lane = LaneId::new("metrics").unwrap();
    let config = QueueConfig { min_free: MinFree::NONE, ..QueueConfig::new(directory.path()) };
    let specs = vec![DestinationSpec::new("a", vec![lane.clone()])];
    let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane.clone())], specs).unwrap();
    let intake = MetricIntake::new(queue.appender(&lane).unwrap());
    let config = DestinationConfig {
        name: "a".into(),
        url: url::Url::parse(&format!("http://{}/api/v1/write", address.trim())).unwrap(),
        endpoint_url: None,
        protocol: ProtocolConfig::Prometheus {
            metadata: MetadataConfig {
                send: false,
                send_interval: Duration::from_secs(60),
                max_samples_per_send: 2000,
            },
        },
        timeout: Duration::from_secs(30),
        client: net::HttpClientConfig::default(),
        external_labels: [("cluster", "eu-west-1a"), ("region", "eu-west-1")].into_iter().collect(),
        write_relabel: Vec::new(),
        native_histograms: false,
        backoff: Backoff { min: Duration::from_millis(30), max: Duration::from_secs(5), retry_on_http_429: true },
        batching: Batching { max_samples: max_samples as usize, max_bytes: 4 << 20, max_age: Duration::ZERO },
        shards: 4,
        max_in_flight_bytes: 16 << 20,
        max_age: None,
    };
    let outlet = Outlet::new(queue.reader("a", &lane).unwrap(), BaseVectors::default());
    let (tracker, stop, mut registry) = (TaskTracker::new(), CancellationToken::new(), Registry::default());
    let metrics = RemoteStorageMetrics::register(&mut registry);
    Destination::spawn(config, None, vec![outlet], &metrics, &tracker, stop.clone());

    let targets: Vec<_> = (0..TARGETS).map(|target| (target, tables(target))).collect();
    let mut values: Vec<f64> = (0..SERIES).map(|index| (index * 37) as f64).collect();
    let bases: Vec<BaseVector> = values.chunks(CHUNK).map(|part| BaseVector::new(part.to_vec())).collect();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / (10 * pace) as u32);
    let (mut frames, mut before, mut asked) = (0, (0, 0), 0);
    let warm = TARGETS;
    while frames < warm + seconds * 10 * pace {
        // The first round makes tables and connections and is not counted; it comes at once.
        if frames >= warm {
            ticks.tick().await;
        }
        let (target, tables) = &targets[(frames % TARGETS) as usize];
        values.iter_mut().enumerate().for_each(|(index, value)| *value += (index % 7) as f64);
        let chunk = |((table, base), values)| MetricChunk {
            table,
            base,
            present: Presence::All,
            timestamps: Timestamps::Common(1_700_000_000_000 + frames as i64),
            values,
        };
        let chunks = tables.iter().zip(&bases).zip(values.chunks(CHUNK)).map(chunk).collect();
        intake.append(&MetricBatch { stream: *target, chunks }).await.unwrap();
        frames += 1;
        if frames == warm {
            while queue.ledger().rows[0].delivered < warm * SERIES as u64 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            (before, asked) = (spent(), requests(&registry));
            ticks.reset();
        }
    }
    while queue.ledger().rows[0].delivered < frames * SERIES as u64 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (after, counted) = (spent(), (frames - warm) as f64);
    println!(
        "a frame of {SERIES} samples: {:.2} requests, {:.0} µs of CPU, {:.1} context switches",
        (requests(&registry) - asked) as f64 / counted,
        (after.0 - before.0) as f64 / counted / 1e3,
        (after.1 - before.1) as f64 / counted,
    );
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    receiver.kill().unwrap();
    receiver.wait().unwrap();
}
