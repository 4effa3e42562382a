//! Lines in through a log intake, out through a log outlet, with a real queue in between.

use std::time::Duration;

use bytes::Bytes;
use model::{Labels, LogBatch, LogEntries, SourceMark, read_marks};
use pipeline::{Durability, LogIntake, LogOutlet, Outcome};
use queue::{Codec, DestinationSpec, Kind, LaneId, LaneSpec, MinFree, Queue, QueueConfig, Reason, Record};

fn open(directory: &std::path::Path) -> (Queue, LaneId) {
    let lane = LaneId::new("logs-default").unwrap();
    let config = QueueConfig {
        max_bytes: 64 << 20,
        min_free: MinFree::NONE,
        commit_interval: Duration::from_millis(5),
        ..QueueConfig::new(directory)
    };
    let destinations = vec![DestinationSpec::new("loki", vec![lane.clone()])];
    let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane.clone())], destinations).unwrap();
    (queue, lane)
}

fn lines(claim: &pipeline::LogClaim) -> Vec<(String, i64, String)> {
    let mut all = Vec::new();
    let mut raw = Vec::new();
    for stream in claim.batch().unwrap().streams {
        stream.unpack(&mut raw).unwrap();
        for entry in LogEntries::new(&raw) {
            let entry = entry.unwrap();
            all.push((stream.labels.get("job").unwrap().to_owned(), entry.timestamp_ns, entry.line.to_owned()));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_and_the_position_behind_them_travel_together_and_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (queue, lane) = open(directory.path());
    let intake = LogIntake::new(queue.appender(&lane).unwrap());
    let mut batch = LogBatch::new();
    for round in 0..3i64 {
        batch.clear();
        let stream = batch.stream(&[("job", "a")].into_iter().collect::<Labels>()).unwrap();
        batch.push(stream, round, format!("line {round}").as_bytes(), &[]).unwrap();
        batch.mark(SourceMark { key: "cursor-a".into(), cursor: round.to_string(), file: None });
        intake.append(&mut batch, 7, Durability::Now).await.unwrap().durable().await.unwrap();
    }
    let mut outlet = LogOutlet::new(queue.reader("loki", &lane).unwrap());
    let first = outlet.next().await.unwrap();
    assert_eq!(lines(&first), [("a".to_owned(), 0, "line 0".to_owned())]);
    first.settle(Outcome::Delivered);
    let second = outlet.next().await.unwrap();
    drop((second, outlet, intake));
    queue.close(Duration::from_secs(5)).await.unwrap();

    let (queue, lane) = open(directory.path());
    let mut outlet = LogOutlet::new(queue.reader("loki", &lane).unwrap());
    for round in 1..3i64 {
        let claim = outlet.next().await.unwrap();
        assert_eq!(lines(&claim), [("a".to_owned(), round, format!("line {round}"))]);
        assert_eq!(read_marks(claim.payload()).unwrap()[0].cursor, round.to_string());
        claim.settle(Outcome::Delivered);
    }
    queue.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_log_batch_is_counted_and_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let (queue, lane) = open(directory.path());
    let appender = queue.appender(&lane).unwrap();
    for (kind, payload, items) in [(Kind::MetricBatch, &b"\x01"[..], 3), (Kind::LogBatch, b"\xffgarbage", 4)] {
        let record = Record {
            kind,
            codec: Codec::None,
            stream: 1,
            items,
            raw_len: payload.len() as u32,
            payload: Bytes::from_static(payload),
            contexts: Vec::new(),
        };
        appender.append(record, Durability::Soon).await.unwrap();
    }
    // One whose header counts more lines than it holds.
    let mut batch = LogBatch::new();
    let stream = batch.stream(&Labels::new()).unwrap();
    batch.push(stream, 1, b"only one", &[]).unwrap();
    let mut payload = Vec::new();
    batch.encode(&mut payload).unwrap();
    let record = Record {
        kind: Kind::LogBatch,
        codec: Codec::None,
        stream: 1,
        items: 2,
        raw_len: payload.len() as u32,
        payload: payload.into(),
        contexts: Vec::new(),
    };
    appender.append(record, Durability::Soon).await.unwrap();
    let stream = batch.stream(&[("job", "a")].into_iter().collect::<Labels>()).unwrap();
    batch.push(stream, 2, b"good", &[]).unwrap();
    LogIntake::new(appender).append(&mut batch, 1, Durability::Soon).await.unwrap();

    let mut outlet = LogOutlet::new(queue.reader("loki", &lane).unwrap());
    let good = outlet.next().await.unwrap();
    assert_eq!((good.frame().items, outlet.unreadable()), (2, 3));
    good.settle(Outcome::Delivered);
    let ledger = queue.ledger();
    let rejected = |reason: Reason| ledger.rows[0].rejected_by.get(&reason).copied().unwrap_or(0);
    assert_eq!((rejected(Reason::UNKNOWN_KIND), rejected(Reason::UNDECODABLE)), (3, 6));
    queue.close(Duration::from_secs(5)).await.unwrap();
}
