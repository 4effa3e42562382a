//! What a delivered sample costs from the queue's files to the socket: read, decode, protobuf, snappy, HTTP. Unsigned.
//!
//! Prints CPU time of the whole process, the (small) receiver included: 400 frames of 2,000 samples from 40 targets.

use std::time::Duration;

use model::{
    BaseVector, EncodedTable, Labels, MetricBatch, MetricChunk, MetricType, Presence, SeriesTableBuilder, Timestamps,
};
use pipeline::{BaseVectors, MetricIntake, Outlet};
use queue::{DestinationSpec, LaneId, LaneSpec, MinFree, Queue, QueueConfig};
use remote_write::{
    Backoff, Batching, Destination, DestinationConfig, MetadataConfig, ProtocolConfig, RemoteStorageMetrics,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const TARGETS: u64 = 40;
const FRAMES: usize = 10;
const SERIES: usize = 2000;

fn tables(target: u64) -> Vec<EncodedTable> {
    let table = |part: usize| {
        let mut builder = SeriesTableBuilder::new();
        let family =
            builder.family("http_server_request_duration_seconds", MetricType::Histogram, "Duration.", "seconds");
        for index in part * 250..(part + 1) * 250 {
            let mut labels = Labels::new();
            labels.set(
                "__name__",
                &format!("http_server_request_duration_seconds_{}", ["bucket", "count", "sum"][index % 3]),
            );
            labels.set("instance", &format!("10.0.{target}.17:9100"));
            labels.set("job", "kubernetes-pods");
            labels.set("method", ["GET", "POST", "PUT"][index % 3]);
            labels.set("path", &format!("/api/v1/orders/{}", index / 9));
            labels.set("status", ["200", "404", "500"][index / 3 % 3]);
            builder.push(family, &labels).unwrap();
        }
        builder.build()
    };
    (0..SERIES / 250).map(table).collect()
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
        socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    }
}

/// User and system time of this process in seconds (clock ticks are hundredths on Linux).
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    net::install_crypto_provider();
    let directory = tempfile::tempdir().unwrap();
    let lane = LaneId::new("metrics").unwrap();
    let config = QueueConfig { min_free: MinFree::NONE, ..QueueConfig::new(directory.path()) };
    let specs = vec![DestinationSpec::new("a", vec![lane.clone()])];
    let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane.clone())], specs).unwrap();
    let intake = MetricIntake::new(queue.appender(&lane).unwrap());

    let targets: Vec<_> = (0..TARGETS).map(|target| (target, tables(target))).collect();
    let mut values: Vec<f64> = (0..SERIES).map(|index| (index * 37) as f64).collect();
    let bases: Vec<BaseVector> = values.chunks(250).map(|part| BaseVector::new(part.to_vec())).collect();
    let began = cpu();
    for frame in 0..FRAMES {
        for (index, value) in values.iter_mut().enumerate() {
            *value += (index % 7) as f64;
        }
        for (target, tables) in &targets {
            let chunk = |((table, base), values)| MetricChunk {
                table,
                base,
                present: Presence::All,
                timestamps: Timestamps::Common(1_700_000_000_000 + frame as i64 * 15_000),
                values,
            };
            let chunks = tables.iter().zip(&bases).zip(values.chunks(250)).map(chunk).collect();
            intake.append(&MetricBatch { stream: *target, chunks }).await.unwrap();
        }
    }
    let samples = (TARGETS as usize * FRAMES * SERIES) as f64;
    println!("into the queue: {:.0} ns of CPU a sample", (cpu() - began) / samples * 1e9);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url::Url::parse(&format!("http://{}/write", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(receive(socket));
        }
    });
    let config = DestinationConfig {
        name: "a".into(),
        url,
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
        batching: Batching { max_samples: 2000, max_bytes: 4 << 20, max_age: Duration::ZERO },
        shards: 4,
        max_in_flight_bytes: 16 << 20,
        max_age: None,
    };
    let outlet = Outlet::new(queue.reader("a", &lane).unwrap(), BaseVectors::default());
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let (began, clock) = (cpu(), std::time::Instant::now());
    Destination::spawn(config, None, vec![outlet], &RemoteStorageMetrics::default(), &tracker, stop.clone());
    while queue.ledger().rows[0].delivered < samples as u64 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let spent = cpu() - began;
    println!(
        "out of the queue: {:.0} ns of CPU a sample, {:.2}M samples a CPU second, {:.2}M a second of clock",
        spent / samples * 1e9,
        samples / spent / 1e6,
        samples / clock.elapsed().as_secs_f64() / 1e6
    );
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}
