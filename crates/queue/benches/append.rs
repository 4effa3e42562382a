//! Append with commit, and reading back, in bytes of payload. Run on a quiet machine; the files are in the page cache.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use queue::{
    Codec, DestinationSpec, Durability, Kind, LaneId, LaneSpec, MinFree, Outcome, Queue, QueueConfig, Record, StartAt,
};

fn lane() -> LaneId {
    LaneId::new("bench").expect("a good name")
}

fn open(directory: &Path, commit: Duration) -> Queue {
    let mut config = QueueConfig::new(directory);
    config.min_free = MinFree::NONE;
    config.commit_interval = commit;
    config.max_bytes = 8 << 30;
    let mut spec = DestinationSpec::new("reader", vec![lane()]);
    spec.start = StartAt::Oldest;
    spec.max_in_flight_bytes = 64 << 20;
    Queue::open(config, vec![LaneSpec::new(lane())], vec![spec]).expect("open").0
}

fn record(size: usize) -> Record {
    let mut payload = vec![0; size];
    fastrand::fill(&mut payload);
    Record {
        kind: Kind::MetricBatch,
        codec: Codec::None,
        stream: 1,
        items: 1000,
        raw_len: 0,
        payload: Bytes::from(payload),
        contexts: Vec::new(),
    }
}

async fn fill(queue: &Queue, record: &Record, count: u64) {
    let appender = queue.appender(&lane()).expect("appender");
    for _ in 1..count {
        appender.append(record.clone(), Durability::Soon).await.expect("append");
    }
    let last = appender.append(record.clone(), Durability::Now).await.expect("append");
    last.durable().await.expect("durable");
}

async fn drain(queue: &Queue, count: u64) {
    let mut reader = queue.reader("reader", &lane()).expect("reader");
    for _ in 0..count {
        reader.next().await.expect("claim").settle(Outcome::Delivered);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime")
}

/// Many records, one or few syncs: what the code costs beside the disk.
fn append(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("append_and_commit");
    group.sample_size(10);
    for size in [2 << 10, 16 << 10, 256 << 10] {
        let count = (64 << 20) / size as u64;
        group.throughput(Throughput::Bytes(count * size as u64));
        let record = record(size);
        group.bench_function(BenchmarkId::from_parameter(size), |bench| {
            bench.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let directory = tempfile::tempdir().expect("dir");
                    let queue = open(directory.path(), Duration::from_secs(10));
                    let begun = Instant::now();
                    runtime.block_on(fill(&queue, &record, count));
                    spent += begun.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("read_back");
    group.sample_size(10);
    for size in [2 << 10, 16 << 10, 256 << 10] {
        let count = (64 << 20) / size as u64;
        group.throughput(Throughput::Bytes(count * size as u64));
        let record = record(size);
        group.bench_function(BenchmarkId::from_parameter(size), |bench| {
            bench.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let directory = tempfile::tempdir().expect("dir");
                    let queue = open(directory.path(), Duration::from_millis(200));
                    runtime.block_on(fill(&queue, &record, count));
                    let begun = Instant::now();
                    runtime.block_on(drain(&queue, count));
                    spent += begun.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

/// One record, durable: the latency an OTLP client sees.
fn now(c: &mut Criterion) {
    let runtime = runtime();
    let directory = tempfile::tempdir().expect("dir");
    let queue = open(directory.path(), Duration::from_millis(200));
    let record = record(16 << 10);
    let appender = queue.appender(&lane()).expect("appender");
    c.bench_function("append_now_16k", |bench| {
        bench.iter(|| {
            runtime.block_on(async {
                let receipt = appender.append(record.clone(), Durability::Now).await.expect("append");
                receipt.durable().await.expect("durable");
            });
        });
    });
}

/// CPU time of the whole process, its ended threads included, which a busy machine falsifies little.
fn cpu_time() -> Duration {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(clock.tv_sec.unsigned_abs(), u32::try_from(clock.tv_nsec).expect("below a second"))
}

/// Prints payload bytes per second of CPU, both directions, kernel included: the median of some rounds, and their spread.
/// `SIGPOST_BENCH_SIZES=2048,16384` sets the sizes of records.
fn cpu(_: &mut Criterion) {
    const ROUNDS: usize = 15;
    const BYTES: u64 = 64 << 20;
    let sizes = std::env::var("SIGPOST_BENCH_SIZES").unwrap_or_else(|_| "2048,16384,262144".to_owned());
    let runtime = runtime();
    for size in sizes.split(',').map(|size| size.parse::<usize>().expect("sizes in bytes")) {
        let record = record(size);
        let count = BYTES / size as u64;
        let (mut appending, mut reading) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let directory = tempfile::tempdir().expect("dir");
            let queue = open(directory.path(), Duration::from_millis(200));
            let begun = cpu_time();
            runtime.block_on(fill(&queue, &record, count));
            let filled = cpu_time();
            runtime.block_on(drain(&queue, count));
            let rate = |spent: Duration| BYTES as f64 / 1e9 / spent.as_secs_f64().max(1e-9);
            appending.push(rate(filled - begun));
            reading.push(rate(cpu_time() - filled));
        }
        for (what, rates) in [("append", &mut appending), ("read", &mut reading)] {
            rates.sort_unstable_by(f64::total_cmp);
            let [slowest, median, fastest] = [0, ROUNDS / 2, ROUNDS - 1].map(|at| rates[at]);
            println!("cpu/{size}: {what} {median:.2} GB/s of CPU (of {ROUNDS} rounds {slowest:.2} to {fastest:.2})");
        }
    }
}

criterion_group!(benches, cpu, append, read, now);
criterion_main!(benches);
