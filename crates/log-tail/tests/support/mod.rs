//! A directory of logs, a real queue, and a tail between them that can be killed and started again.

#![allow(dead_code)] // each test file uses its part

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use discovery::TargetGroup;
use log_tail::{Book, FileJob, FileStatus, Pace, Tail, TailConfig, TailMetrics};
use model::{Labels, LogBatchView, LogEntries};
use pipeline::{LogIntake, MarkLane};
use prometheus_client::registry::Registry;
use queue::{DestinationSpec, LaneId, LaneSpec, MinFree, OnFull, Queue, QueueConfig};
use tokio::sync::watch;

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Times for tests: conditions are awaited, so these only have to be short.
pub fn quick() -> Pace {
    Pace {
        survey: Duration::from_millis(100),
        min_poll: Duration::from_millis(5),
        max_poll: Duration::from_millis(20),
        watched_poll: Duration::from_millis(20),
        drain: Duration::from_millis(200),
        linger: Duration::from_millis(600),
        suspicion: Duration::from_millis(700),
        discovery: Duration::from_secs(2),
        give_up: Duration::from_secs(600),
    }
}

pub struct House {
    pub root: tempfile::TempDir,
    pub logs: PathBuf,
    pub pattern: String,
    pub job: FileJob,
    pub config: TailConfig,
    pub queue: Option<Queue>,
    pub tail: Option<Tail>,
    pub metrics: Registry,
    groups: Option<watch::Sender<Arc<Vec<TargetGroup>>>>,
    /// Further jobs: their names and patterns.
    pub others: Vec<(String, String)>,
    /// Discovery has found nothing yet when reading starts, as that of a cluster: see [`speak`](House::speak).
    pub late: bool,
    /// The lists of further jobs.
    lists: Vec<watch::Sender<Arc<Vec<TargetGroup>>>>,
}

/// A line as it came out of the queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub labels: Labels,
    pub timestamp_ns: i64,
    pub text: String,
}

pub fn lane() -> LaneId {
    LaneId::new("logs-default").unwrap()
}

impl House {
    /// Logs lie in `logs`; `pattern` is relative to it.
    pub fn new(pattern: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let logs = root.path().join("logs");
        fs::create_dir(&logs).unwrap();
        let mut config = TailConfig::new("default", root.path().join("positions/default.json"));
        config.pace = quick();
        config.positions.sync_period = Duration::from_millis(50);
        let job = FileJob::new("files");
        Self {
            logs,
            root,
            pattern: pattern.to_owned(),
            job,
            config,
            queue: None,
            tail: None,
            metrics: Registry::default(),
            groups: None,
            others: Vec::new(),
            late: false,
            lists: Vec::new(),
        }
    }

    /// Another route of the same process, with the same logs.
    pub fn beside(&self, route: &str, pattern: &str) -> Self {
        let mut house = Self::new(pattern);
        house.logs.clone_from(&self.logs);
        house.config.route = route.to_owned();
        house.config.readership = self.config.readership.clone();
        house
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.logs.join(name)
    }

    pub fn append(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }

    /// As `gzip` does it: beside, under another name until it is whole, and the original away.
    pub fn compress(&self, name: &str) {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(&fs::read(self.path(name)).unwrap()).unwrap();
        let unfinished = self.path(&format!("{name}.tmp"));
        fs::write(&unfinished, out.finish().unwrap()).unwrap();
        fs::rename(unfinished, self.path(&format!("{name}.gz"))).unwrap();
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Copies a file and cuts the original to nothing.
    pub fn copy_truncate(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
        File::options().write(true).open(self.path(from)).unwrap().set_len(0).unwrap();
    }

    /// Follows another pattern from now on. Gives what the old list came from.
    pub fn follow(&mut self, pattern: &str) -> watch::Sender<Arc<Vec<TargetGroup>>> {
        let (sender, groups) = watch::channel(Arc::new(vec![self.group(pattern)]));
        self.tail.as_ref().unwrap().follow(&self.job.job_name, groups);
        self.groups.replace(sender).unwrap()
    }

    pub fn group(&self, pattern: &str) -> TargetGroup {
        let pattern = self.logs.join(pattern).display().to_string();
        let labels: Labels = [("__path__", pattern.as_str()), ("job", "varlogs")].into_iter().collect();
        TargetGroup { source: "static".into(), targets: vec![Labels::new()], labels }
    }

    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub fn open_queue(&mut self) {
        let mut config = QueueConfig::new(self.root.path().join("queue"));
        config.min_free = MinFree::NONE;
        config.max_bytes = 512 << 20;
        config.segment_bytes = Some(256 << 10);
        config.commit_interval = Duration::from_millis(10);
        let lanes = vec![LaneSpec::new(lane()).marked()];
        let mut keeper = DestinationSpec::new("keeper", vec![lane()]);
        keeper.on_full = OnFull::Hold;
        let (queue, _) = Queue::open(config, lanes, vec![keeper]).unwrap();
        self.queue = Some(queue);
    }

    pub fn start(&mut self) {
        if self.queue.is_none() {
            self.open_queue();
        }
        let queue = self.queue.clone().unwrap();
        let book = Book::open(self.config.positions.clone(), MarkLane::new(queue.clone(), lane())).unwrap();
        let intake = LogIntake::new(queue.appender(&lane()).unwrap());
        let first = |pattern: &str| match self.late {
            true => watch::channel(Arc::default()),
            false => watch::channel(Arc::new(vec![self.group(pattern)])),
        };
        let (sender, groups) = first(&self.pattern);
        let (lists, of_others): (Vec<_>, Vec<_>) = self.others.iter().map(|(_, pattern)| first(pattern)).unzip();
        (self.groups, self.lists) = (Some(sender), lists);
        let metrics = TailMetrics::registered(&mut self.metrics);
        let mut jobs = vec![(self.job.clone(), groups)];
        for ((name, _), groups) in self.others.iter().zip(of_others) {
            jobs.push((FileJob { job_name: name.clone(), ..self.job.clone() }, groups));
        }
        let tail = Tail::spawn(self.config.clone(), jobs, intake, book, &metrics).unwrap();
        self.tail = Some(tail);
    }

    /// What discovery found at last: for the first job (`None`) or a further one.
    pub fn speak(&self, other: Option<usize>) {
        let (sender, pattern) = match other {
            None => (self.groups.as_ref().unwrap(), &self.pattern),
            Some(at) => (&self.lists[at], &self.others[at].1),
        };
        sender.send_replace(Arc::new(vec![self.group(pattern)]));
    }

    /// As if the process had been killed: nothing is written down. The queue keeps what is in it.
    pub async fn kill(&mut self) {
        if let Some(tail) = self.tail.take() {
            tail.kill().await;
        }
        drop(self.queue.take());
    }

    pub async fn stop(&mut self) {
        if let Some(tail) = self.tail.take() {
            tail.shutdown().await.unwrap();
        }
        drop(self.queue.take());
    }

    /// Every line in the queue, in order.
    pub fn lines(&self) -> Vec<Line> {
        let mut out = Vec::new();
        let mut raw = Vec::new();
        for (_, payload) in self.queue.as_ref().unwrap().scan(&lane(), 0).unwrap() {
            let batch = LogBatchView::decode(&payload).unwrap();
            for stream in &batch.streams {
                stream.unpack(&mut raw).unwrap();
                for entry in LogEntries::new(&raw) {
                    let entry = entry.unwrap();
                    out.push(Line {
                        labels: stream.labels.clone(),
                        timestamp_ns: entry.timestamp_ns,
                        text: entry.line.to_owned(),
                    });
                }
            }
        }
        out
    }

    pub fn texts(&self) -> Vec<String> {
        self.lines().into_iter().map(|line| line.text).collect()
    }

    /// Waits until as many lines as are expected came, and a moment longer for those that should not; compares as sets
    /// with counts.
    pub async fn expect(&self, expected: &[&str]) {
        let expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        self.expect_all(&expected).await;
    }

    pub async fn expect_all(&self, expected: &[String]) {
        let count = |texts: &[String]| {
            let mut counts: BTreeMap<String, i64> = BTreeMap::new();
            for text in texts {
                *counts.entry(text.clone()).or_default() += 1;
            }
            counts
        };
        let wanted = count(expected);
        let begun = Instant::now();
        loop {
            let found = count(&self.texts());
            if found == wanted {
                return;
            }
            let surplus: Vec<_> =
                found.iter().filter(|(text, n)| wanted.get(*text).copied().unwrap_or(0) < **n).collect();
            if !surplus.is_empty() || begun.elapsed() > PATIENCE {
                let missing: Vec<_> =
                    wanted.iter().filter(|(text, n)| found.get(*text).copied().unwrap_or(0) < **n).collect();
                let short = |list: &[(&String, &i64)]| {
                    list.iter().take(20).map(|(t, n)| format!("{n} x {:.60}", t)).collect::<Vec<_>>()
                };
                panic!(
                    "surplus {}: {:#?}\nmissing {}: {:#?}\nfiles {:#?}\ndirectory {:#?}",
                    surplus.len(),
                    short(&surplus),
                    missing.len(),
                    short(&missing),
                    self.files(),
                    listing(&self.logs),
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Positions say that a pattern was looked up.
    pub fn has_looked(&self) -> bool {
        let text = fs::read_to_string(&self.config.positions.state_file).unwrap_or_default();
        text.contains("\"looked\":{\"")
    }

    pub fn files(&self) -> Vec<FileStatus> {
        self.tail.as_ref().map(Tail::files).unwrap_or_default()
    }

    /// Waits until a condition holds.
    pub async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < PATIENCE, "waiting until {what}: {:#?}", self.files());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn listing(directory: &Path) -> Vec<String> {
    let mut all: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            format!("{:?} {}", entry.file_name(), entry.metadata().unwrap().len())
        })
        .collect();
    all.sort();
    all
}
