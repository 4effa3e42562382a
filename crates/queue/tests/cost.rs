//! What the queue costs in CPU and wake-ups, printed: `cargo test --release -p queue --test cost -- --ignored --nocapture
//! --test-threads=1`. The figures of docs/performance.md are from here. Nothing is asserted that a busy machine could
//! falsify; the default run only sees to it that the measurements themselves work.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use queue::{
    Codec, DestinationSpec, Durability, Kind, LaneId, LaneSpec, MinFree, Outcome, Queue, QueueConfig, Reader, Record,
    StartAt,
};

fn lane() -> LaneId {
    LaneId::new("cost").expect("a good name")
}

fn open(directory: &Path, destinations: usize, change: impl FnOnce(&mut QueueConfig)) -> Queue {
    let mut config = QueueConfig::new(directory);
    config.min_free = MinFree::NONE;
    change(&mut config);
    let specs = (0..destinations)
        .map(|n| {
            let mut spec = DestinationSpec::new(format!("d{n}"), vec![lane()]);
            spec.start = StartAt::Oldest;
            spec
        })
        .collect();
    Queue::open(config, vec![LaneSpec::new(lane())], specs).expect("open").0
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

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime")
}

/// CPU time of the process, its ended threads included, and how often the threads that live went to sleep, by the
/// kernel's count.
#[derive(Clone, Copy)]
struct Spent {
    cpu: Duration,
    sleeps: u64,
}

fn spent() -> Spent {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu = Duration::new(clock.tv_sec.unsigned_abs(), u32::try_from(clock.tv_nsec).expect("below a second"));
    let mut out = Spent { cpu, sleeps: 0 };
    for task in std::fs::read_dir("/proc/self/task").expect("proc").flatten() {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap_or_default();
        out.sleeps += line.trim().parse::<u64>().unwrap_or(0);
    }
    out
}

/// One small record a commit, taken and settled by each destination as it becomes durable.
async fn rounds(queue: &Queue, readers: &mut [Reader], record: &Record, count: u32) {
    let appender = queue.appender(&lane()).expect("appender");
    for _ in 0..count {
        appender.append(record.clone(), Durability::Now).await.expect("append");
        let taken: Vec<_> = readers.iter_mut().map(|reader| async { reader.next().await.expect("claim") }).collect();
        for claim in taken {
            claim.await.settle(Outcome::Delivered);
        }
    }
}

fn wakeups(count: u32) {
    let runtime = runtime();
    for destinations in [1, 3] {
        let directory = tempfile::tempdir().expect("dir");
        let queue = open(directory.path(), destinations, |_| ());
        let mut readers: Vec<Reader> =
            (0..destinations).map(|n| queue.reader(&format!("d{n}"), &lane()).expect("reader")).collect();
        let record = record(4000);
        runtime.block_on(rounds(&queue, &mut readers, &record, 5));
        let before = spent();
        // On the runtime's own threads, as in the agent.
        let (queue, readers) = runtime.block_on(async {
            let task = tokio::spawn(async move {
                rounds(&queue, &mut readers, &record, count).await;
                (queue, readers)
            });
            task.await.expect("task")
        });
        let after = spent();
        println!(
            "{destinations} destinations: {:.1} sleeps and {:.0} us of CPU a commit",
            (after.sleeps - before.sleeps) as f64 / f64::from(count),
            (after.cpu - before.cpu).as_secs_f64() * 1e6 / f64::from(count),
        );
        drop((queue, readers));
    }
}

#[test]
#[ignore = "a measurement"]
fn sleeps_and_cpu_of_a_commit() {
    wakeups(500);
}

/// A commit a second for twenty seconds, one destination: the share of a core.
#[test]
#[ignore = "a measurement"]
fn cpu_of_a_queue_with_one_scrape_a_second() {
    const SECONDS: u32 = 20;
    let runtime = runtime();
    let directory = tempfile::tempdir().expect("dir");
    let queue = open(directory.path(), 1, |_| ());
    let before = spent();
    runtime.block_on(async {
        let reading = queue.clone();
        let mut reader = reading.reader("d0", &lane()).expect("reader");
        let taking = tokio::spawn(async move {
            for _ in 0..SECONDS {
                reader.next().await.expect("claim").settle(Outcome::Delivered);
            }
        });
        let appender = queue.appender(&lane()).expect("appender");
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        for _ in 0..SECONDS {
            ticks.tick().await;
            appender.append(record(4000), Durability::Soon).await.expect("append");
        }
        taking.await.expect("task");
    });
    let cpu = (spent().cpu - before.cpu).as_secs_f64();
    println!("one scrape of 4 kB a second: {:.3} % of a core", cpu * 100.0 / f64::from(SECONDS));
}

/// Payload a second of CPU, both ways, the files in the page cache.
fn throughput(bytes: u64) {
    let runtime = runtime();
    for size in [2 << 10, 16 << 10, 256 << 10] {
        let directory = tempfile::tempdir().expect("dir");
        let queue = open(directory.path(), 1, |config| config.max_bytes = 4 << 30);
        let (record, count) = (record(size), bytes / size as u64);
        let begun = spent().cpu;
        runtime.block_on(async {
            let appender = queue.appender(&lane()).expect("appender");
            for _ in 1..count {
                appender.append(record.clone(), Durability::Soon).await.expect("append");
            }
            let last = appender.append(record.clone(), Durability::Now).await.expect("append");
            last.durable().await.expect("durable");
        });
        let filled = spent().cpu;
        let mut reader = queue.reader("d0", &lane()).expect("reader");
        runtime.block_on(async {
            for _ in 0..count {
                reader.next().await.expect("claim").settle(Outcome::Delivered);
            }
        });
        let drained = spent().cpu;
        let rate = |spent: Duration| bytes as f64 / f64::from(1 << 30) / spent.as_secs_f64().max(1e-9);
        println!(
            "records of {size} bytes: append {:.2} GiB, read {:.2} GiB a CPU second",
            rate(filled - begun),
            rate(drained - filled)
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn payload_per_cpu_second() {
    throughput(512 << 20);
}

/// A backlog of `bytes` is written, the queue opened again with it, one record taken and the rest left.
fn backlog(bytes: u64) {
    let runtime = runtime();
    let directory = tempfile::tempdir().expect("dir");
    let budget = bytes + bytes / 4 + (1 << 28);
    let settings = |config: &mut QueueConfig| config.max_bytes = budget;
    let queue = open(directory.path(), 1, settings);
    let record = record(256 << 10);
    let count = bytes / (256 << 10);
    runtime.block_on(async {
        let appender = queue.appender(&lane()).expect("appender");
        for _ in 1..count {
            appender.append(record.clone(), Durability::Soon).await.expect("append");
        }
        let last = appender.append(record.clone(), Durability::Now).await.expect("append");
        last.durable().await.expect("durable");
    });
    drop(queue);
    let resident = |when: &str| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
        println!("anonymous memory {when}: {}", anonymous.trim());
    };
    resident("before");
    let (before, begun) = (spent(), Instant::now());
    let queue = open(directory.path(), 1, settings);
    let (after, taken) = (spent(), begun.elapsed());
    let row = queue.ledger().rows.remove(0);
    assert_eq!(row.pending_items, count * 1000);
    println!(
        "a backlog of {:.2} GiB in {} segments opens in {:.1} ms, {:.1} ms of CPU",
        row.pending_bytes as f64 / f64::from(1 << 30),
        queue.ledger().lanes[0].segments,
        taken.as_secs_f64() * 1e3,
        (after.cpu - before.cpu).as_secs_f64() * 1e3,
    );
    resident("with the backlog open");
    let mut reader = queue.reader("d0", &lane()).expect("reader");
    let begun = Instant::now();
    let first = runtime.block_on(reader.next()).expect("claim");
    println!("the first record comes after {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    first.settle(Outcome::Delivered);
    let (before, goal) = (spent(), count.min(4096));
    runtime.block_on(async {
        for _ in 1..goal {
            reader.next().await.expect("claim").settle(Outcome::Delivered);
        }
    });
    let gib = (goal - 1) as f64 / 4096.0;
    let cpu = (spent().cpu - before.cpu).as_secs_f64();
    println!("reading {gib:.2} GiB of it: {:.2} GiB a CPU second", gib / cpu.max(1e-9));
    resident("while it is read");
}

#[test]
#[ignore = "a measurement, and ten gigabytes of disk"]
fn a_backlog_of_ten_gibibytes_opens_in_no_time() {
    backlog(10 << 30);
}

#[test]
fn the_measurements_work() {
    wakeups(3);
    throughput(4 << 20);
    backlog(24 << 20);
}
