//! What one scrape costs beyond its samples: a pool of fifty targets of ten series each over loopback, into a real queue that
//! nobody reads. The exporter is another process, so that everything this one does is the pool's doing; run it under
//! `strace -c -f` or callgrind to see what.
//!
//! Prints processor time for each scrape. Rounds can be given as an argument.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use model::Labels;
use pipeline::MetricIntake;
use prometheus_client::registry::Registry;
use queue::{LaneId, LaneSpec, MinFree, Queue, QueueConfig};
use scrape::{JobConfig, Limits, Scheme, ScrapeContext, ScrapeMetrics, ScrapePool, ScrapeProtocol};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const TARGETS: usize = 50;

/// Answers every request with the same page until it is killed.
fn exporter() {
    let body: String = (0..10).map(|at| format!("metric_{at}{{a=\"b\"}} {at}\n")).collect();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    println!("{}", listener.local_addr().expect("bound"));
    let serve = |mut stream: TcpStream, answer: String| {
        let mut asked = vec![0; 16 << 10];
        while matches!(stream.read(&mut asked), Ok(1..)) && stream.write_all(answer.as_bytes()).is_ok() {}
    };
    for stream in listener.incoming().flatten() {
        let answer = answer.clone();
        std::thread::spawn(move || serve(stream, answer));
    }
}

/// User and system time of this process, in seconds.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn job() -> JobConfig {
    JobConfig {
        job_name: "bench".into(),
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(100),
        metrics_path: "/metrics".into(),
        scheme: Scheme::Http,
        params: Default::default(),
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        protocols: vec![ScrapeProtocol::OpenMetricsText1_0_0, ScrapeProtocol::PrometheusText0_0_4],
        enable_compression: true,
        limits: Limits::default(),
        relabel: Vec::new(),
        metric_relabel: Vec::new(),
        client: net::HttpClientConfig::default(),
        extra_metrics: false,
        fallback_protocol: ScrapeProtocol::PrometheusText0_0_4,
    }
}

async fn scrape(address: &str, rounds: u64) {
    net::install_crypto_provider();
    let folder = tempfile::tempdir().expect("a folder");
    let lane = LaneId::new("metrics-default").expect("a name");
    let mut config = QueueConfig::new(folder.path());
    config.min_free = MinFree::NONE;
    let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane.clone())], vec![]).expect("a queue");
    let intake = MetricIntake::new(queue.appender(&lane).expect("the lane"));
    let mut registry = Registry::default();
    let metrics = ScrapeMetrics::registered(&mut registry);
    let target = |at: usize| -> Labels {
        [("__address__", address), ("instance", &format!("target-{at}"))].into_iter().collect()
    };
    let targets = (0..TARGETS).map(target).collect();
    let group = discovery::TargetGroup { source: "bench".into(), targets, labels: Labels::new() };
    let (groups, mut receiver) = watch::channel(Arc::new(vec![group]));
    receiver.mark_changed();
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let context = ScrapeContext::new(1);
    let pool = ScrapePool::spawn(job(), receiver, intake, metrics, context, &tracker, stop.clone()).expect("a pool");
    let scrapes = || {
        let mut text = String::new();
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        let line = "prometheus_target_interval_length_seconds_count{interval=\"100ms\"} ";
        text.lines().find_map(|l| l.strip_prefix(line)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let wait = async |goal: u64| {
        while scrapes() < goal {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    wait(TARGETS as u64 * 10).await;
    let (begun, before) = (processor_time(), scrapes());
    wait(before + TARGETS as u64 * rounds).await;
    let (spent, done) = (processor_time() - begun, scrapes() - before);
    println!("{done} scrapes, {:.0} microseconds of processor time each", spent / done as f64 * 1e6);
    drop((pool, groups));
    stop.cancel();
    queue.close(Duration::from_secs(1)).await.expect("the queue closes");
}

fn main() {
    let argument = std::env::args().skip(1).find(|argument| argument != "--bench");
    if argument.as_deref() == Some("exporter") {
        return exporter();
    }
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program).arg("exporter").stdout(Stdio::piped()).spawn().expect("the exporter starts");
    let mut address = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut address).expect("its address");
    let rounds = argument.and_then(|rounds| rounds.parse().ok()).unwrap_or(100);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(scrape(address.trim(), rounds));
    drop(runtime);
    let _ = child.kill();
    let _ = child.wait();
}
