//! A real queue, and what came to lie in it.
#![allow(dead_code)]

use std::{path::Path, time::Duration};

use log_receive::{Forward, ForwardConfig, ReceiveMetrics};
use model::{LogEntries, SourceMark, read_marks};
use pipeline::{LogIntake, LogOutlet, Outcome};
use queue::{DestinationSpec, LaneId, LaneSpec, MinFree, OnFull, Queue, QueueConfig};

pub struct Store {
    pub queue: Queue,
    pub lane: LaneId,
    pub outlet: LogOutlet,
    pub metrics: ReceiveMetrics,
    directory: tempfile::TempDir,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub labels: Vec<(String, String)>,
    pub timestamp_ns: i64,
    pub text: String,
    pub metadata: Vec<(String, String)>,
}

impl Line {
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }
}

impl Store {
    pub fn open() -> Self {
        Self::sized(64 << 20)
    }

    pub fn sized(max_bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lane = LaneId::new("logs-default").unwrap();
        let config = QueueConfig {
            max_bytes,
            min_free: MinFree::NONE,
            commit_interval: Duration::from_millis(5),
            ..QueueConfig::new(directory.path())
        };
        let destinations =
            vec![DestinationSpec { on_full: OnFull::Hold, ..DestinationSpec::new("loki", vec![lane.clone()]) }];
        let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane.clone())], destinations).unwrap();
        let outlet = LogOutlet::new(queue.reader("loki", &lane).unwrap());
        Self { queue, lane, outlet, metrics: ReceiveMetrics::default(), directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn forward(&self, kind: &'static str, config: ForwardConfig) -> Forward {
        self.staged(kind, config, None)
    }

    pub fn staged(&self, kind: &'static str, config: ForwardConfig, stages: Option<stages::Pipeline>) -> Forward {
        let intake = LogIntake::new(self.queue.appender(&self.lane).unwrap());
        Forward::new(kind, config, stages, intake, &self.metrics)
    }

    /// The lines of the next record, and its marks.
    pub async fn record(&mut self) -> (Vec<Line>, Vec<SourceMark>) {
        let claim = tokio::time::timeout(Duration::from_secs(30), self.outlet.next()).await.expect("a record").unwrap();
        let marks = read_marks(claim.payload()).unwrap();
        let mut lines = Vec::new();
        let mut raw = Vec::new();
        for stream in claim.batch().unwrap().streams {
            stream.unpack(&mut raw).unwrap();
            let places: Vec<u64> =
                stream.places().map_or_else(|| (0..u64::from(stream.count)).collect(), Iterator::collect);
            for (entry, place) in LogEntries::new(&raw).zip(places) {
                let entry = entry.unwrap();
                let pairs = |it: &mut dyn Iterator<Item = (&str, &str)>| -> Vec<(String, String)> {
                    it.map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
                };
                lines.push((
                    place,
                    Line {
                        labels: pairs(&mut stream.labels.iter()),
                        timestamp_ns: entry.timestamp_ns,
                        text: entry.line.to_owned(),
                        metadata: pairs(&mut entry.metadata()),
                    },
                ));
            }
        }
        claim.settle(Outcome::Delivered);
        lines.sort_by_key(|(place, _)| *place);
        (lines.into_iter().map(|(_, line)| line).collect(), marks)
    }

    /// Lines until there are so many; the last marks seen.
    pub async fn lines(&mut self, count: usize) -> (Vec<Line>, Vec<SourceMark>) {
        let (mut all, mut last): (Vec<Line>, Vec<SourceMark>) = (Vec::new(), Vec::new());
        while all.len() < count {
            let (lines, marks) = self.record().await;
            all.extend(lines);
            for mark in marks {
                last.retain(|known| known.key != mark.key);
                last.push(mark);
            }
        }
        (all, last)
    }
}

pub fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

/// Asks until it is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen in 30 s");
}
