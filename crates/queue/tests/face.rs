//! The public face, on the real file system.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use queue::{
    Claim, Codec, ContextKey, DestinationSpec, Durability, Kind, LaneId, LaneSpec, Ledger, LedgerRow, MinFree, OnFull,
    OpenReport, Outcome, Queue, QueueConfig, QueueError, Reader, Reason, Record, StartAt,
};

fn lane() -> LaneId {
    LaneId::new("metrics-default").expect("a good name")
}

fn config(dir: &Path) -> QueueConfig {
    let mut config = QueueConfig::new(dir);
    config.min_free = MinFree::NONE;
    config.commit_interval = Duration::from_millis(5);
    config.cursor_interval = Duration::from_millis(5);
    config
}

fn destination(name: &str) -> DestinationSpec {
    DestinationSpec::new(name, vec![lane()])
}

fn open(config: QueueConfig, destinations: Vec<DestinationSpec>) -> (Queue, OpenReport) {
    Queue::open(config, vec![LaneSpec::new(lane())], destinations).expect("open")
}

fn record(number: u32, items: u32, size: usize) -> Record {
    let mut payload = vec![7u8; size.max(4)];
    payload[..4].copy_from_slice(&number.to_le_bytes());
    Record {
        kind: Kind::MetricBatch,
        codec: Codec::None,
        stream: u64::from(number % 4),
        items,
        raw_len: 0,
        payload: Bytes::from(payload),
        contexts: Vec::new(),
    }
}

fn number(claim: &Claim) -> u32 {
    u32::from_le_bytes(claim.payload()[..4].try_into().expect("four bytes"))
}

async fn append(queue: &Queue, numbers: std::ops::Range<u32>, size: usize) {
    let appender = queue.appender(&lane()).expect("appender");
    let mut last = None;
    for n in numbers {
        last = Some(appender.append(record(n, 10, size), Durability::Soon).await.expect("append"));
    }
    last.expect("some").durable().await.expect("durable");
}

async fn next(reader: &mut Reader) -> Claim {
    tokio::time::timeout(Duration::from_secs(20), reader.next()).await.expect("in time").expect("a claim")
}

fn row<'a>(ledger: &'a Ledger, name: &str) -> &'a LedgerRow {
    ledger.rows.iter().find(|row| row.destination == name).expect("a row")
}

fn assert_balance(ledger: &Ledger) {
    for row in &ledger.rows {
        assert!(row.balances(), "{row:?}");
    }
}

#[tokio::test]
async fn what_is_appended_is_read_once_and_the_book_balances() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, report) = open(config(dir.path()), vec![destination("amp"), destination("other")]);
    assert_eq!(report.added, ["amp", "other"]);
    append(&queue, 0..100, 100).await;
    let mut reader = queue.reader("amp", &lane()).expect("reader");
    assert!(matches!(queue.reader("amp", &lane()), Err(QueueError::ReaderTaken { .. })));
    for n in 0..100 {
        let claim = next(&mut reader).await;
        assert_eq!(number(&claim), n);
        assert_eq!(claim.frame().first_item, u64::from(n) * 10);
        claim.settle(Outcome::Delivered);
    }
    let ledger = queue.ledger();
    assert_balance(&ledger);
    assert_eq!(row(&ledger, "amp").delivered, 1000);
    assert_eq!(row(&ledger, "amp").pending_items, 0);
    assert_eq!(row(&ledger, "other").pending_items, 1000);
    assert!(row(&ledger, "other").oldest_pending_ms.is_some());
    let report = queue.close(Duration::from_secs(20)).await.expect("close");
    assert_balance(&report.ledger);
}

/// Invariants 5, 21: the position is where the answers ended.
#[tokio::test]
async fn a_reopened_queue_continues_where_the_answers_ended() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("amp")]);
    append(&queue, 0..20, 100).await;
    let mut reader = queue.reader("amp", &lane()).expect("reader");
    let mut held = Vec::new();
    for _ in 0..12 {
        held.push(next(&mut reader).await);
    }
    // Frame 3 stays open: only 0..3 are a settled prefix.
    let open_claim = held.remove(3);
    for claim in held {
        claim.settle(Outcome::Delivered);
    }
    queue.close(Duration::from_secs(20)).await.expect("close");
    drop((open_claim, reader));
    let (queue, report) = open(config(dir.path()), vec![destination("amp")]);
    assert_eq!(report.resumed, ["amp"]);
    let ledger = queue.ledger();
    assert_balance(&ledger);
    assert_eq!((row(&ledger, "amp").accepted, row(&ledger, "amp").delivered), (200, 30));
    append(&queue, 20..25, 100).await;
    let mut reader = queue.reader("amp", &lane()).expect("reader");
    for n in 3..25 {
        let claim = next(&mut reader).await;
        assert_eq!(number(&claim), n);
        claim.settle(Outcome::Delivered);
    }
    assert_eq!(row(&queue.ledger(), "amp").delivered, 250);
}

#[tokio::test]
async fn a_dropped_claim_comes_back_first() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("amp")]);
    append(&queue, 0..3, 10).await;
    let mut reader = queue.reader("amp", &lane()).expect("reader");
    let first = next(&mut reader).await;
    let second = next(&mut reader).await;
    drop(second);
    drop(first);
    for n in 0..3 {
        let claim = next(&mut reader).await;
        assert_eq!(number(&claim), n);
        claim.settle(Outcome::Delivered);
    }
}

/// Invariant 13's sibling on the way out: bytes in claims are bounded, and a claim that comes back wakes the reader.
#[tokio::test]
async fn claims_are_bounded_in_bytes_and_in_number() {
    let dir = tempfile::tempdir().expect("dir");
    let mut few = destination("few");
    few.max_claims = 2;
    let mut small = destination("small");
    small.max_in_flight_bytes = 2500;
    let (queue, _) = open(config(dir.path()), vec![few, small]);
    append(&queue, 0..10, 1000).await;
    for name in ["few", "small"] {
        let mut reader = queue.reader(name, &lane()).expect("reader");
        let first = next(&mut reader).await;
        let _second = next(&mut reader).await;
        let mut third = Box::pin(reader.next());
        assert!(futures_pending(&mut third).await, "{name}");
        drop(first);
        let again = tokio::time::timeout(Duration::from_secs(20), third).await.expect("in time").expect("claim");
        assert_eq!(number(&again), 0, "{name}");
    }
}

/// R15: what a claim keeps in memory is what it was counted with, not the block that it was read in; references count too.
#[tokio::test]
async fn a_small_claim_keeps_no_more_in_memory_than_it_is_counted_with() {
    let dir = tempfile::tempdir().expect("dir");
    let mut narrow = destination("narrow");
    narrow.max_in_flight_bytes = 10_000;
    let (queue, _) = open(config(dir.path()), vec![destination("a"), narrow]);
    append(&queue, 0..100, 1000).await;
    let mut reader = queue.reader("a", &lane()).expect("reader");
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(next(&mut reader).await);
    }
    // As read by a blocking task, and where the reader stands.
    append(&queue, 100..140, 1000).await;
    for _ in 0..40 {
        held.push(next(&mut reader).await);
    }
    assert!(held.iter().all(|claim| claim.payload().is_unique()), "payloads are parts of something larger");
    held.drain(..).for_each(|claim| claim.settle(Outcome::Delivered));

    let mut reader = queue.reader("narrow", &lane()).expect("reader");
    for _ in 0..140 {
        next(&mut reader).await.settle(Outcome::Delivered);
    }
    let appender = queue.appender(&lane()).expect("appender");
    for n in 0..3u8 {
        let contexts = (0..200).map(|key| (ContextKey([key; 16]), Bytes::from_static(b"x"))).collect();
        let record = Record { contexts, ..record(u32::from(n), 1, 10) };
        appender.append(record, Durability::Now).await.expect("append").durable().await.expect("durable");
    }
    let first = next(&mut reader).await;
    let _second = next(&mut reader).await;
    let mut third = Box::pin(reader.next());
    assert!(futures_pending(&mut third).await, "200 references are 4800 bytes");
    drop(first);
    tokio::time::timeout(Duration::from_secs(60), third).await.expect("in time").expect("claim");
}

/// Invariant 13, R15: contexts count against the lane's memory, each once however many records name it.
#[tokio::test]
async fn contexts_that_wait_for_the_disk_are_counted_once() {
    let dir = tempfile::tempdir().expect("dir");
    let mut config = config(dir.path());
    config.credit_bytes = 100_000;
    // Nothing becomes durable by itself while this looks.
    config.commit_interval = Duration::from_secs(3600);
    let (queue, _) = open(config, vec![destination("a")]);
    let appender = queue.appender(&lane()).expect("appender");
    let with = |key: u8| Record {
        contexts: vec![(ContextKey([key; 16]), Bytes::from(vec![key; 30_000]))],
        ..record(u32::from(key), 1, 100)
    };
    let mut last = None;
    // The same table a hundred times, as long as it is not durable: 30 KB and a hundred small records.
    for _ in 0..100 {
        last = Some(appender.try_append(with(1), Durability::Soon).expect("its context is there"));
    }
    appender.try_append(with(2), Durability::Soon).expect("60 KB");
    assert!(matches!(appender.try_append(with(3), Durability::Soon), Err(QueueError::Full { .. })));
    // A sync gives all of it back, and a record that is larger than the credit is taken when nothing else waits.
    let now = appender.try_append(record(9, 1, 10), Durability::Now).expect("small");
    now.durable().await.expect("durable");
    last.expect("some").durable().await.expect("durable");
    let huge = Record { contexts: vec![(ContextKey([7; 16]), Bytes::from(vec![7; 300_000]))], ..record(7, 1, 10) };
    let huge = tokio::time::timeout(Duration::from_secs(60), appender.append(huge, Durability::Now)).await;
    huge.expect("in time").expect("append").durable().await.expect("durable");
    for key in 10..200 {
        let one = tokio::time::timeout(Duration::from_secs(60), appender.append(with(key), Durability::Now)).await;
        one.expect("in time").expect("append").durable().await.expect("durable");
    }
    queue.close(Duration::from_secs(60)).await.expect("close");
}

/// Restarts on a small budget: the backlog of a dead destination is what it was (invariant 12).
#[tokio::test]
async fn restarts_of_a_small_queue_evict_nothing_by_themselves() {
    let dir = tempfile::tempdir().expect("dir");
    let small = || {
        let mut config = config(dir.path());
        config.max_bytes = 16 << 20;
        config
    };
    let (queue, _) = open(small(), vec![destination("dead")]);
    // Less than a whole segment is left.
    append(&queue, 0..163, 100_000).await;
    queue.close(Duration::from_secs(60)).await.expect("close");
    for restart in 0..6 {
        let (queue, _) = open(small(), vec![destination("dead")]);
        append(&queue, restart..restart + 1, 1000).await;
        let ledger = queue.ledger();
        assert_eq!(row(&ledger, "dead").evicted, 0, "{restart}: {ledger:?}");
        assert!(ledger.lanes[0].bytes <= ledger.lanes[0].budget);
        queue.close(Duration::from_secs(60)).await.expect("close");
    }
}

/// True if the future is not ready although everything it could do was given time to be done.
async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
    tokio::time::timeout(Duration::from_millis(50), future).await.is_err()
}

#[tokio::test]
async fn contexts_are_written_once_and_come_back_with_the_claim() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("amp")]);
    let appender = queue.appender(&lane()).expect("appender");
    let table = (ContextKey([1; 16]), Bytes::from_static(b"the table"));
    let base = (ContextKey([2; 16]), Bytes::from(vec![9; 5000]));
    let mut receipt = None;
    for n in 0..600 {
        let record = Record { contexts: vec![table.clone(), base.clone()], ..record(n, 1, 10) };
        receipt = Some(appender.append(record, Durability::Soon).await.expect("append"));
    }
    receipt.expect("some").durable().await.expect("durable");
    // 600 uses at 256 a copy: three copies of each.
    assert_eq!(queue.ledger().lanes[0].stats.contexts, 6);
    let mut reader = queue.reader("amp", &lane()).expect("reader");
    for _ in 0..600 {
        let claim = next(&mut reader).await;
        assert_eq!(claim.contexts(), [table.0, base.0]);
        assert_eq!(claim.context(&table.0).expect("context"), table.1);
        assert_eq!(claim.context(&base.0).expect("context"), base.1);
        assert!(matches!(claim.context(&ContextKey([3; 16])), Err(QueueError::UnknownContext { .. })));
        claim.settle(Outcome::Delivered);
    }
}

#[tokio::test]
async fn zstd_payloads_come_back_decompressed() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("amp")]);
    let appender = queue.appender(&lane()).expect("appender");
    let raw = vec![42u8; 100_000];
    let record = Record {
        codec: Codec::Zstd,
        raw_len: 100_000,
        payload: Bytes::from(zstd::bulk::compress(&raw, 1).expect("compress")),
        ..record(0, 5, 10)
    };
    let lying = Record { raw_len: 99, ..record.clone() };
    appender.append(lying, Durability::Soon).await.expect("append");
    appender.append(record, Durability::Now).await.expect("append").durable().await.expect("durable");
    let mut reader = queue.reader("amp", &lane()).expect("reader");
    let claim = next(&mut reader).await;
    assert_eq!(claim.payload().as_ref(), raw.as_slice());
    claim.settle(Outcome::Delivered);
    let ledger = queue.ledger();
    assert_eq!(row(&ledger, "amp").rejected_by.get(&Reason::UNDECODABLE), Some(&5));
    assert_balance(&ledger);
}

#[tokio::test]
async fn a_mixed_outcome_is_booked_in_its_columns() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("amp")]);
    append(&queue, 0..1, 10).await;
    let mut reader = queue.reader("amp", &lane()).expect("reader");
    let reason = Reason::new("too_old");
    next(&mut reader).await.settle(Outcome::Mixed {
        delivered: 3,
        filtered: 2,
        rejected: vec![(reason.clone(), 2), (Reason::new("too_new"), 1)],
        expired: 1,
        damaged: 1,
    });
    let ledger = queue.ledger();
    let row = row(&ledger, "amp");
    assert_eq!((row.delivered, row.filtered, row.rejected, row.expired, row.damaged), (3, 2, 3, 1, 1));
    assert_eq!(row.rejected_by.get(&reason), Some(&2));
    assert_eq!(row.rejected_by.get(&Reason::new("too_new")), Some(&1));
    assert_balance(&ledger);
}

#[tokio::test]
async fn a_second_opener_is_told_who_is_in_the_way() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![]);
    let second = Queue::open(config(dir.path()), vec![], vec![]);
    assert!(matches!(second, Err(QueueError::Locked { .. })));
    drop(queue);
    open(config(dir.path()), vec![]);
}

/// Invariants 11 and 12.
#[tokio::test]
async fn a_full_lane_evicts_the_oldest_and_stays_within_its_budget() {
    let dir = tempfile::tempdir().expect("dir");
    let mut config = config(dir.path());
    config.max_bytes = 1 << 20;
    config.segment_bytes = Some(128 << 10);
    let (queue, _) = open(config, vec![destination("dead"), destination("fast")]);
    let mut fast = queue.reader("fast", &lane()).expect("reader");
    for n in 0..400u32 {
        append(&queue, n..n + 1, 10_000).await;
        let claim = next(&mut fast).await;
        assert_eq!(number(&claim), n);
        claim.settle(Outcome::Delivered);
        let ledger = queue.ledger();
        assert!(ledger.lanes[0].bytes <= (1 << 20) + (128 << 10), "{:?}", ledger.lanes[0]);
    }
    let ledger = queue.ledger();
    assert_balance(&ledger);
    assert_eq!(row(&ledger, "fast").delivered, 4000);
    let dead = row(&ledger, "dead");
    assert!(dead.evicted > 2500 && dead.pending_items > 100, "{dead:?}");
    // What is left is the newest, whole, and in order.
    let mut reader = queue.reader("dead", &lane()).expect("reader");
    let mut expected = u32::try_from(dead.evicted / 10).expect("small");
    while expected < 400 {
        let claim = next(&mut reader).await;
        assert_eq!(number(&claim), expected);
        claim.settle(Outcome::Delivered);
        expected += 1;
    }
}

/// Invariant 13.
#[tokio::test]
async fn under_hold_appends_wait_and_nothing_is_evicted() {
    let dir = tempfile::tempdir().expect("dir");
    let mut config = config(dir.path());
    config.max_bytes = 1 << 20;
    config.segment_bytes = Some(128 << 10);
    config.credit_bytes = 200_000;
    let mut holding = destination("must");
    holding.on_full = OnFull::Hold;
    let (queue, _) = open(config, vec![holding, destination("other")]);
    let appender = queue.appender(&lane()).expect("appender");
    let mut count = 0;
    loop {
        let append = appender.append(record(count, 10, 10_000), Durability::Soon);
        match tokio::time::timeout(Duration::from_millis(300), append).await {
            Ok(receipt) => drop(receipt.expect("append")),
            Err(_) => break,
        }
        count += 1;
        assert!(count < 200, "the lane never filled");
    }
    assert_eq!(appender.state(), queue::LaneState::Full);
    assert!(matches!(appender.try_append(record(0, 1, 10), Durability::Soon), Err(QueueError::Full { .. })));
    let ledger = queue.ledger();
    assert_eq!((row(&ledger, "must").evicted, row(&ledger, "other").evicted), (0, 0));
    assert_balance(&ledger);
    let mut reader = queue.reader("must", &lane()).expect("reader");
    for n in 0..count {
        let claim = next(&mut reader).await;
        assert_eq!(number(&claim), n);
        claim.settle(Outcome::Delivered);
    }
    append(&queue, count..count + 1, 10_000).await;
    assert_eq!(number(&next(&mut reader).await), count);
    assert_eq!(row(&queue.ledger(), "must").evicted, 0);
}

/// Invariant 22.
#[tokio::test]
async fn a_reload_keeps_positions_and_books_what_goes() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("a"), destination("b")]);
    append(&queue, 0..10, 10).await;
    let mut a = queue.reader("a", &lane()).expect("reader");
    for _ in 0..4 {
        next(&mut a).await.settle(Outcome::Delivered);
    }
    let mut b = queue.reader("b", &lane()).expect("reader");
    let orphan = next(&mut b).await;
    let mut late = destination("late");
    late.start = StartAt::Oldest;
    let mut changed = destination("a");
    changed.max_in_flight_bytes = 1000;
    let report = queue.apply(vec![LaneSpec::new(lane())], vec![changed, late, destination("new")]).expect("apply");
    assert_eq!(report.added, ["late", "new"]);
    assert_eq!(report.removed.len(), 1);
    assert_eq!((report.removed[0].destination.as_str(), report.removed[0].items), ("b", 100));
    orphan.settle(Outcome::Delivered);
    assert!(matches!(b.next().await, Err(QueueError::Closed)));
    append(&queue, 10..11, 10).await;
    assert_eq!(number(&next(&mut a).await), 4);
    let mut late = queue.reader("late", &lane()).expect("reader");
    assert_eq!(number(&next(&mut late).await), 0);
    let mut new = queue.reader("new", &lane()).expect("reader");
    assert_eq!(number(&next(&mut new).await), 10);
    assert_balance(&queue.ledger());
    drop((a, late, new, b, queue));
    // Removed at start: the same.
    let (queue, report) = open(config(dir.path()), vec![destination("a")]);
    let mut names: Vec<&str> = report.removed.iter().map(|removed| removed.destination.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["late", "new"]);
    assert_eq!(row(&queue.ledger(), "a").delivered, 40);
}

/// Invariant 22: whatever a reload cannot do, it is as if it had not been tried.
#[tokio::test]
async fn a_reload_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("a"), destination("b")]);
    append(&queue, 0..10, 10).await;
    let logs = LaneId::new("logs-default").expect("name");
    let lanes = || vec![LaneSpec::new(lane()), LaneSpec::new(logs.clone())];
    // "a" gets a lane, "b" goes, "new" comes.
    let wanted = || {
        let mut new = destination("new");
        new.start = StartAt::Oldest;
        vec![DestinationSpec::new("a", vec![lane(), logs.clone()]), new]
    };
    let positions = || {
        let ledger = queue.ledger();
        let rows = ledger.rows.iter().map(|row| (row.destination.clone(), row.lane.clone(), row.pending_items));
        (rows.collect::<Vec<_>>(), ledger.removed, ledger.lanes.len())
    };
    let before = positions();
    // Something that is not ours stands where a lane or a cursor file is to be.
    for obstacle in ["lanes/logs-default", "cursors/new.cur.tmp/full"] {
        let path = dir.path().join(obstacle);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
        std::fs::write(&path, "in the way").expect("file");
        assert!(queue.apply(lanes(), wanted()).is_err(), "{obstacle}");
        assert_eq!(positions(), before, "{obstacle}");
        assert!(matches!(queue.appender(&logs), Err(QueueError::UnknownLane { .. })), "{obstacle}");
        let mut b = queue.reader("b", &lane()).expect("b is still there");
        assert_eq!(number(&next(&mut b).await), 0);
        drop(b);
        let way = dir.path().join(obstacle.trim_end_matches("/full"));
        if way.is_dir() { std::fs::remove_dir_all(way) } else { std::fs::remove_file(way) }.expect("cleared");
    }
    append(&queue, 10..11, 10).await;
    let report = queue.apply(lanes(), wanted()).expect("nothing is in the way");
    assert_eq!(
        (report.added.as_slice(), report.added_lanes.as_slice()),
        (&["new".to_owned()][..], &[logs.clone()][..])
    );
    assert_eq!((report.removed.len(), report.removed[0].items), (1, 110));
    let appender = queue.appender(&logs).expect("appender");
    appender.append(record(5, 3, 10), Durability::Now).await.expect("append").durable().await.expect("durable");
    let mut reader = queue.reader("a", &logs).expect("reader");
    assert_eq!(number(&next(&mut reader).await), 5);
    let mut new = queue.reader("new", &lane()).expect("reader");
    assert_eq!(number(&next(&mut new).await), 0);
    assert_balance(&queue.ledger());
}

#[tokio::test]
async fn a_lane_can_come_and_go_at_run_time() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("a")]);
    let logs = LaneId::new("logs-default").expect("name");
    let both = DestinationSpec::new("a", vec![lane(), logs.clone()]);
    let report = queue.apply(vec![LaneSpec::new(lane()), LaneSpec::new(logs.clone())], vec![both]).expect("apply");
    assert_eq!(report.added_lanes, std::slice::from_ref(&logs));
    let appender = queue.appender(&logs).expect("appender");
    appender.append(record(5, 3, 10), Durability::Now).await.expect("append").durable().await.expect("durable");
    let mut reader = queue.reader("a", &logs).expect("reader");
    assert_eq!(number(&next(&mut reader).await), 5);
    let report = queue.apply(vec![LaneSpec::new(lane())], vec![destination("a")]).expect("apply");
    assert_eq!(report.removed[0].items, 3);
    assert!(matches!(appender.append(record(5, 3, 10), Durability::Now).await, Err(QueueError::Closed)));
    assert!(matches!(reader.next().await, Err(QueueError::Closed)));
    assert!(!dir.path().join("lanes/logs-default").exists());
}

#[tokio::test]
async fn old_frames_expire_without_being_claimed() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("a")]);
    append(&queue, 0..5, 10).await;
    let appended = std::time::Instant::now();
    while appended.elapsed() < Duration::from_millis(5) {
        std::thread::yield_now();
    }
    let mut impatient = destination("a");
    impatient.max_age = Some(Duration::from_millis(1));
    queue.apply(vec![LaneSpec::new(lane())], vec![impatient]).expect("apply");
    let mut reader = queue.reader("a", &lane()).expect("reader");
    let mut waiting = Box::pin(reader.next());
    while row(&queue.ledger(), "a").expired < 50 {
        assert!(futures_pending(&mut waiting).await);
    }
    assert_balance(&queue.ledger());
}

/// Invariant 10: a destination that takes nothing does not stop another one.
#[tokio::test]
async fn a_stuck_destination_does_not_stop_others() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("stuck"), destination("quick")]);
    let mut stuck = queue.reader("stuck", &lane()).expect("reader");
    append(&queue, 0..1, 10).await;
    let _held = next(&mut stuck).await;
    let mut quick = queue.reader("quick", &lane()).expect("reader");
    for n in 0..1000 {
        if n % 100 == 0 && n > 0 {
            append(&queue, n..n + 100, 10).await;
        } else if n == 0 {
            append(&queue, 1..100, 10).await;
        }
        let claim = next(&mut quick).await;
        assert_eq!(number(&claim), n);
        claim.settle(Outcome::Delivered);
    }
    assert_eq!(row(&queue.ledger(), "stuck").pending_items, 10_000);
}

#[tokio::test]
async fn closing_ends_readers_and_appenders() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("a")]);
    let appender = queue.appender(&lane()).expect("appender");
    let mut reader = queue.reader("a", &lane()).expect("reader");
    let waiting = tokio::spawn(async move { reader.next().await.map(|_| ()) });
    let receipt = appender.append(record(0, 1, 10), Durability::Soon).await.expect("append");
    waiting.await.expect("task").expect("the one frame");
    queue.close(Duration::from_secs(20)).await.expect("close");
    receipt.durable().await.expect("durable by closing");
    assert!(matches!(appender.append(record(1, 1, 10), Durability::Soon).await, Err(QueueError::Closed)));
}

#[tokio::test]
async fn too_large_a_record_is_refused_with_its_limit() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("a")]);
    let appender = queue.appender(&lane()).expect("appender");
    let refused = appender.append(record(0, 1, (16 << 20) + 1), Durability::Soon).await;
    assert!(matches!(refused, Err(QueueError::TooLarge { limit, .. }) if limit == 16 << 20));
    // The largest one is taken, though it is larger than a segment and than the credit.
    append(&queue, 1..2, 16 << 20).await;
    let mut reader = queue.reader("a", &lane()).expect("reader");
    assert_eq!(number(&next(&mut reader).await), 1);
}

/// Invariant 25: nothing in the directory changes while nobody does anything.
#[tokio::test]
async fn an_idle_queue_opens_without_writing_segments() {
    let dir = tempfile::tempdir().expect("dir");
    drop(open(config(dir.path()), vec![destination("a")]));
    let before = listing(dir.path());
    drop(open(config(dir.path()), vec![destination("a")]));
    assert_eq!(listing(dir.path()), before);
}

fn listing(dir: &Path) -> Vec<(std::path::PathBuf, u64, std::time::SystemTime)> {
    let mut out = Vec::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).expect("list") {
            let entry = entry.expect("entry");
            let meta = entry.metadata().expect("metadata");
            if meta.is_dir() {
                todo.push(entry.path());
            } else {
                out.push((entry.path(), meta.len(), meta.modified().expect("time")));
            }
        }
    }
    out.sort();
    out
}

/// Waits until it holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A destination's first answer after a pause is on disk at once, also while another's file was written a moment ago.
#[tokio::test]
async fn each_destination_has_its_own_cursor_interval() {
    let dir = tempfile::tempdir().expect("dir");
    let mut config = config(dir.path());
    config.cursor_interval = Duration::from_secs(3600);
    let (queue, _) = open(config, vec![destination("fast"), destination("slow")]);
    append(&queue, 0..3, 10).await;
    let settled = |name: &str| {
        let found = queue::inspect(dir.path()).expect("inspect");
        found.cursors.iter().find(|cursor| cursor.row.destination == name).map(|cursor| cursor.settled_item)
    };
    let mut fast = queue.reader("fast", &lane()).expect("reader");
    next(&mut fast).await.settle(Outcome::Delivered);
    until("the fast one's file", || settled("fast") == Some(10)).await;
    next(&mut fast).await.settle(Outcome::Delivered);
    let mut slow = queue.reader("slow", &lane()).expect("reader");
    next(&mut slow).await.settle(Outcome::Delivered);
    until("the slow one's file", || settled("slow") == Some(10)).await;
    // The fast one's next write is an hour away, or at the end.
    assert_eq!(settled("fast"), Some(10));
    queue.close(Duration::from_secs(20)).await.expect("close");
    assert_eq!(settled("fast"), Some(20));
}

/// Invariant 14: while nothing is delivered a cursor file still says within its interval how far the log goes, so that whatever
/// becomes of the newest segment, its items are counted; and it comes to rest (invariant 25).
#[tokio::test]
async fn a_cursor_file_says_how_far_the_log_goes_while_nothing_is_delivered() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("dead"), destination("other")]);
    append(&queue, 0..190, 100).await;
    // Its newest file gone, an inspection knows of the log's end what cursor files say.
    let segment = listing(dir.path()).into_iter().find(|(path, ..)| path.extension().is_some_and(|e| e == "seg"));
    let (segment, ..) = segment.expect("a segment");
    let known = || {
        let aside = tempfile::tempdir().expect("dir");
        for (path, ..) in listing(dir.path()).into_iter().filter(|(path, ..)| *path != segment) {
            let to = aside.path().join(path.strip_prefix(dir.path()).expect("inside"));
            std::fs::create_dir_all(to.parent().expect("a parent")).expect("create");
            std::fs::copy(path, to).expect("copy");
        }
        std::fs::create_dir_all(aside.path().join("lanes/metrics-default")).expect("create");
        let found = queue::verify(aside.path()).expect("verify");
        (found.inspection.lanes[0].next_item, found.damaged_items())
    };
    until("a cursor file to say so", || known() == (1900, 1900)).await;
    let before = listing(dir.path());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(listing(dir.path()), before, "and then nothing is written");
    queue.close(Duration::from_secs(20)).await.expect("close");
}

/// Invariant 12: a destination that is a little behind loses nothing while finished segments can go instead.
#[tokio::test]
async fn nothing_is_evicted_while_finished_segments_can_go() {
    let dir = tempfile::tempdir().expect("dir");
    let mut config = config(dir.path());
    config.max_bytes = 512 << 10;
    config.segment_bytes = Some(64 << 10);
    config.cursor_interval = Duration::from_millis(1);
    let (queue, _) = open(config, vec![destination("behind")]);
    let mut reader = queue.reader("behind", &lane()).expect("reader");
    let mut held = std::collections::VecDeque::new();
    for n in 0..1500u32 {
        append(&queue, n..n + 1, 10_000).await;
        held.push_back(next(&mut reader).await);
        // Three to four segments of six records.
        if held.len() > 20 {
            held.pop_front().expect("some").settle(Outcome::Delivered);
        }
    }
    assert_eq!(row(&queue.ledger(), "behind").evicted, 0);
}

/// Invariants 11, 12, 22: a smaller budget is kept to from the next commit on, and what that costs is booked.
#[tokio::test]
async fn a_smaller_budget_evicts_down_to_it() {
    let dir = tempfile::tempdir().expect("dir");
    let mut config = config(dir.path());
    config.max_bytes = 4 << 20;
    config.segment_bytes = Some(128 << 10);
    let (queue, _) = open(config, vec![destination("dead")]);
    append(&queue, 0..300, 10_000).await;
    assert_eq!(row(&queue.ledger(), "dead").evicted, 0);
    queue.resize(1 << 20, MinFree::NONE);
    append(&queue, 300..301, 10_000).await;
    until("the evictions", || queue.ledger().lanes[0].bytes <= 1 << 20).await;
    let ledger = queue.ledger();
    assert_balance(&ledger);
    let dead = row(&ledger, "dead");
    assert!(dead.evicted > 1500 && dead.pending_items > 500, "{dead:?}");
    assert_eq!(ledger.lanes[0].budget, 1 << 20);
    // Shares are of the new budget: another lane with three times the weight takes three quarters of it.
    let logs = LaneSpec { weight: 3, ..LaneSpec::new(LaneId::new("logs-default").expect("a good name")) };
    queue.apply(vec![LaneSpec::new(lane()), logs], vec![destination("dead")]).expect("apply");
    append(&queue, 301..302, 10_000).await;
    until("more evictions", || queue.ledger().lanes.iter().all(|lane| lane.bytes <= lane.budget)).await;
    let budgets: Vec<u64> = queue.ledger().lanes.iter().map(|lane| lane.budget).collect();
    assert_eq!(budgets, [3 << 18, 1 << 18]);
    assert_balance(&queue.ledger());
    // And a larger one gives the room back.
    queue.resize(16 << 20, MinFree::NONE);
    let evicted = row(&queue.ledger(), "dead").evicted;
    append(&queue, 302..500, 10_000).await;
    assert_eq!(row(&queue.ledger(), "dead").evicted, evicted);
}

#[tokio::test]
async fn the_age_of_what_is_not_durable_is_told() {
    let dir = tempfile::tempdir().expect("dir");
    let mut config = config(dir.path());
    config.commit_interval = Duration::from_secs(3600);
    let (queue, _) = open(config, vec![destination("a")]);
    let appender = queue.appender(&lane()).expect("appender");
    assert_eq!(queue.ledger().lanes[0].oldest_unsynced_ms, None);
    appender.append(record(0, 1, 10), Durability::Soon).await.expect("append");
    // On its way from the box to the writer it is in neither for an instant.
    let told = std::cell::Cell::new(None);
    until("its age", || {
        told.set(queue.ledger().lanes[0].oldest_unsynced_ms);
        told.get().is_some()
    })
    .await;
    let first = told.get().expect("told");
    let receipt = appender.append(record(1, 1, 10), Durability::Now).await.expect("append");
    assert!(queue.ledger().lanes[0].oldest_unsynced_ms.is_none_or(|ms| ms == first));
    receipt.durable().await.expect("durable");
    until("the age to go", || queue.ledger().lanes[0].oldest_unsynced_ms.is_none()).await;
    assert!(queue.ledger().lanes[0].oldest_ms.is_some());
}

/// What is taken from a destination is told to whoever works on it.
#[tokio::test]
async fn a_claim_tells_when_it_was_evicted() {
    let dir = tempfile::tempdir().expect("dir");
    let mut config = config(dir.path());
    config.max_bytes = 1 << 20;
    config.segment_bytes = Some(128 << 10);
    let (queue, _) = open(config, vec![destination("dead"), destination("gone")]);
    append(&queue, 0..20, 10_000).await;
    let mut dead = queue.reader("dead", &lane()).expect("reader");
    let first = next(&mut dead).await;
    let mut gone = queue.reader("gone", &lane()).expect("reader");
    let removed = next(&mut gone).await;
    assert!(!first.evicted() && !removed.evicted());
    let (waiting, waiting_too) = (tokio::spawn(first.evicted_wait()), tokio::spawn(removed.evicted_wait()));
    append(&queue, 20..200, 10_000).await;
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time").expect("task");
    assert!(first.evicted());
    let newest = loop {
        let claim = next(&mut dead).await;
        if !claim.evicted() {
            break claim;
        }
    };
    queue.apply(vec![LaneSpec::new(lane())], vec![destination("dead")]).expect("apply");
    tokio::time::timeout(Duration::from_secs(20), waiting_too).await.expect("in time").expect("task");
    assert!(removed.evicted() && !newest.evicted());
    let removed_rows = queue.ledger().removed;
    assert_eq!(removed_rows.len(), 1);
    assert!(removed_rows[0].destination == "gone" && removed_rows[0].items > 0, "{removed_rows:?}");
    // A late success is informational, and anything else is not.
    first.settle(Outcome::Delivered);
    assert_eq!(row(&queue.ledger(), "dead").late_delivered, 10);
}

/// `try_next` gives what can be had at once, and says nothing else.
#[tokio::test]
async fn what_can_be_had_at_once_is_had_without_waiting() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("a")]);
    let mut reader = queue.reader("a", &lane()).expect("reader");
    assert!(reader.try_next().expect("open").is_none());
    append(&queue, 0..5, 100).await;
    // The first of a segment is read by a blocking task, together with what is there.
    let mut held = vec![next(&mut reader).await];
    while let Some(claim) = reader.try_next().expect("open") {
        held.push(claim);
    }
    assert_eq!(held.iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    held.pop();
    assert_eq!(number(&reader.try_next().expect("open").expect("given back")), 4);
    queue.close(Duration::from_secs(20)).await.expect("close");
    assert!(matches!(reader.try_next(), Err(QueueError::Closed)));
}

/// Invariant 15: whatever stands under a name of ours and is no file of ours does not stop a start, and is left alone.
#[tokio::test]
async fn directories_and_links_under_our_names_do_not_stop_a_start() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("a")]);
    append(&queue, 0..3, 10).await;
    queue.close(Duration::from_secs(20)).await.expect("close");
    for name in ["cursors/other.cur", "lanes/metrics-default/00000000000f0000.seg", "quarantine/x.bad", "lanes/logs"] {
        std::fs::create_dir_all(dir.path().join(name).join("inside")).expect("create");
    }
    std::os::unix::fs::symlink("nowhere", dir.path().join("cursors/link.cur")).expect("link");
    std::os::unix::fs::symlink("nowhere", dir.path().join("lanes/metrics-default/0000000000800000.seg")).expect("link");
    for name in
        ["lanes/metrics-default/zzz.seg", "lanes/Upper", "lanes/file", "cursors/foo.txt", "quarantine/y", "stray"]
    {
        std::fs::write(dir.path().join(name), "not ours").expect("write");
    }
    std::os::unix::fs::symlink("nowhere", dir.path().join("lanes/dangling")).expect("link");
    std::fs::write(dir.path().join("cursors/foo.cur"), "garbage").expect("write");
    let damaged = queue::inspect(dir.path()).expect("inspect").damaged_cursors;
    assert_eq!(damaged, [dir.path().join("cursors/foo.cur")]);
    let (queue, report) = open(config(dir.path()), vec![destination("a")]);
    assert_eq!(report.damaged_cursors, damaged);
    queue.close(Duration::from_secs(20)).await.expect("close");
    let strays = [
        "cursors/foo.txt",
        "cursors/link.cur",
        "cursors/other.cur",
        "lanes/Upper",
        "lanes/dangling",
        "lanes/file",
        "lanes/logs/inside",
        "lanes/metrics-default/00000000000f0000.seg",
        "lanes/metrics-default/0000000000800000.seg",
        "lanes/metrics-default/zzz.seg",
        "quarantine/x.bad",
        "quarantine/y",
        "stray",
    ];
    for _ in 0..2 {
        let told = queue::inspect(dir.path()).expect("inspect");
        let (queue, report) = open(config(dir.path()), vec![destination("a")]);
        // Both by the same rules, and each thing once.
        assert_eq!(report.foreign, told.foreign);
        let names: Vec<_> = told
            .foreign
            .iter()
            .map(|path| path.strip_prefix(dir.path()).expect("inside").display().to_string())
            .collect();
        assert_eq!(names, strays);
        let row = row(&queue.ledger(), "a").clone();
        assert_eq!((row.pending_items, row.damaged), (30, 0), "{row:?}");
        let mut reader = queue.reader("a", &lane()).expect("reader");
        assert_eq!(number(&next(&mut reader).await), 0);
        drop(reader);
        queue.close(Duration::from_secs(20)).await.expect("close");
    }
    assert!(dir.path().join("cursors/other.cur/inside").exists());
    assert!(dir.path().join("lanes/metrics-default/00000000000f0000.seg/inside").exists());
}

/// Opens, appends and closes: a segment for each.
async fn segments(dir: &Path, count: u32) {
    for n in 0..count {
        let (queue, _) = open(config(dir), vec![destination("a")]);
        append(&queue, n * 3..n * 3 + 3, 100).await;
        queue.close(Duration::from_secs(20)).await.expect("close");
    }
}

/// Everything is still there, in order, and the book says so.
async fn all_of_it(dir: &Path, count: u32) -> OpenReport {
    let (queue, report) = open(config(dir), vec![destination("a")]);
    let mut reader = queue.reader("a", &lane()).expect("reader");
    for n in 0..count {
        let claim =
            tokio::time::timeout(Duration::from_secs(60), reader.next()).await.expect("in time").expect("claim");
        assert_eq!(number(&claim), n);
        claim.settle(Outcome::Delivered);
    }
    let ledger = queue.ledger();
    let row = row(&ledger, "a");
    assert_eq!((row.delivered, row.damaged, row.pending_items), (row.accepted, 0, 0), "{row:?}");
    assert_balance(&ledger);
    queue.close(Duration::from_secs(20)).await.expect("close");
    report
}

/// Invariant 15: a file that is not of the log hides nothing of it, wherever its name says that it belongs.
#[tokio::test]
async fn a_stray_under_a_segments_name_hides_nothing() {
    for (stray, copied) in
        [("0000000000000040.seg", true), ("0000000000000040.seg", false), ("3ffffffffffff000.seg", false)]
    {
        let dir = tempfile::tempdir().expect("dir");
        segments(dir.path(), 3).await;
        let lane = dir.path().join("lanes/metrics-default");
        let last =
            std::fs::read_dir(&lane).expect("list").map(|entry| entry.expect("entry").path()).max().expect("a file");
        let bytes = if copied { std::fs::read(&last).expect("read") } else { vec![1; 5000] };
        std::fs::write(lane.join(stray), bytes).expect("write");
        let told = queue::verify(dir.path()).expect("verify");
        assert!(told.is_sound(), "{stray}: {:?}", told.damage);
        let report = all_of_it(dir.path(), 9).await;
        assert_eq!(report.foreign, [lane.join(stray)], "{report:?}");
        let told = queue::inspect(dir.path()).expect("inspect");
        assert_eq!(
            (told.cursors[0].row.accepted, told.lanes[0].next_item > 0),
            (told.lanes[0].next_item, true),
            "{stray}"
        );
        assert!(lane.join(stray).exists(), "{stray} was not left alone");
    }
}

/// Whoever removes the cursor files gets everything again, and is told; nothing is lost.
#[tokio::test]
async fn without_any_cursor_file_everything_comes_again() {
    for whole in [false, true] {
        let dir = tempfile::tempdir().expect("dir");
        segments(dir.path(), 2).await;
        let cursors = dir.path().join("cursors");
        std::fs::remove_dir_all(&cursors).expect("remove");
        if !whole {
            std::fs::create_dir(&cursors).expect("create");
        }
        let told = queue::inspect(dir.path()).expect("inspect");
        assert_eq!((told.cursors.len(), told.lanes[0].segments.len()), (0, 2));
        let report = all_of_it(dir.path(), 6).await;
        assert_eq!(report.unclaimed.len(), 1, "{report:?}");
        assert!(all_of_it(dir.path(), 0).await.unclaimed.is_empty());
    }
}

/// Invariant 15: also where the directory has the name of a destination's own file.
#[tokio::test]
async fn a_directory_under_a_destinations_own_name_does_not_stop_a_start() {
    let dir = tempfile::tempdir().expect("dir");
    segments(dir.path(), 1).await;
    std::fs::remove_file(dir.path().join("cursors/a.cur")).expect("remove");
    std::fs::create_dir(dir.path().join("cursors/a.cur")).expect("create");
    let report = all_of_it(dir.path(), 3).await;
    assert_eq!(report.foreign, [dir.path().join("cursors/a.cur")]);
    let report = all_of_it(dir.path(), 0).await;
    assert_eq!(report.resumed, ["a"], "{report:?}");
}

/// Invariant 2: a file that somebody removes under a running queue takes its records along, and no later ones.
#[tokio::test]
async fn what_comes_after_somebody_removed_the_files_is_on_disk() {
    let dir = tempfile::tempdir().expect("dir");
    let (queue, _) = open(config(dir.path()), vec![destination("a")]);
    append(&queue, 0..3, 100).await;
    for own in ["lanes", "cursors"] {
        std::fs::remove_dir_all(dir.path().join(own)).expect("remove");
    }
    let appender = queue.appender(&lane()).expect("appender");
    let receipt = appender.append(record(3, 1, 100), Durability::Now).await.expect("append");
    tokio::time::timeout(Duration::from_secs(60), receipt.durable()).await.expect("in time").expect("durable");
    queue.close(Duration::from_secs(20)).await.expect("close");
    let (queue, _) = open(config(dir.path()), vec![destination("a")]);
    let mut reader = queue.reader("a", &lane()).expect("reader");
    let claim = tokio::time::timeout(Duration::from_secs(60), reader.next()).await.expect("in time").expect("claim");
    assert_eq!(number(&claim), 3);
    claim.settle(Outcome::Delivered);
    let ledger = queue.ledger();
    assert!(row(&ledger, "a").damaged > 0, "{ledger:?}");
    assert_balance(&ledger);
}
