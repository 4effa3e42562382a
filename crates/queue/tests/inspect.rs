//! Looking at a directory from outside: it changes nothing, and what it says is what the next start does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use queue::{
    Codec, ContextKey, DestinationSpec, Durability, Fault, Kind, LaneId, LaneSpec, MinFree, Outcome, Queue,
    QueueConfig, QueueError, Record, StartAt, inspect, verify,
};

const NAME: &str = "taker";

fn lane() -> LaneId {
    LaneId::new("metrics-default").expect("a good name")
}

fn open(directory: &Path) -> Queue {
    let mut config = QueueConfig::new(directory);
    config.min_free = MinFree::NONE;
    config.commit_interval = Duration::from_millis(5);
    config.cursor_interval = Duration::from_millis(5);
    config.segment_bytes = Some(8192);
    let mut spec = DestinationSpec::new(NAME, vec![lane()]);
    spec.start = StartAt::Oldest;
    Queue::open(config, vec![LaneSpec::new(lane())], vec![spec]).expect("open").0
}

fn record(number: u32) -> Record {
    let raw = format!("record {number} ").repeat(30).into_bytes();
    let zstd = number % 3 == 2;
    let contexts = [(ContextKey([1; 16]), Bytes::from(vec![1; 300])), (ContextKey([2; 16]), Bytes::from(vec![2; 200]))];
    Record {
        kind: Kind::MetricBatch,
        codec: if zstd { Codec::Zstd } else { Codec::None },
        stream: u64::from(number),
        items: number % 7 + 1,
        raw_len: u32::try_from(raw.len()).expect("small"),
        payload: Bytes::from(if zstd { zstd::bulk::compress(&raw, 1).expect("zstd") } else { raw }),
        contexts: contexts.into_iter().take(number as usize % 3).collect(),
    }
}

/// A queue of 200 records in several segments, 17 of them delivered, closed.
async fn filled(directory: &Path) {
    let queue = open(directory);
    let appender = queue.appender(&lane()).expect("appender");
    let mut last = None;
    for number in 0..200 {
        last = Some(appender.append(record(number), Durability::Soon).await.expect("append"));
    }
    last.expect("some").durable().await.expect("durable");
    let mut reader = queue.reader(NAME, &lane()).expect("reader");
    for _ in 0..17 {
        reader.next().await.expect("claim").settle(Outcome::Delivered);
    }
    queue.close(Duration::from_secs(20)).await.expect("close");
}

/// Takes everything; gives the damaged items and the records that came whole.
async fn drain(directory: &Path) -> (u64, u64) {
    let queue = open(directory);
    let mut reader = queue.reader(NAME, &lane()).expect("reader");
    let mut whole = 0;
    while queue.ledger().rows[0].pending_items > 0 {
        let next = tokio::time::timeout(Duration::from_millis(50), reader.next()).await;
        // Ranges without frames are settled without a claim.
        let Ok(claim) = next else { continue };
        let claim = claim.expect("claim");
        if claim.contexts().to_vec().iter().all(|key| claim.context(key).is_ok()) {
            whole += 1;
            claim.settle(Outcome::Delivered);
        } else {
            claim.settle(Outcome::Damaged);
        }
    }
    let row = queue.ledger().rows.remove(0);
    assert!(row.balances(), "{row:?}");
    (row.damaged, whole)
}

fn files(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut out = BTreeMap::new();
    let mut todo = vec![directory.to_path_buf()];
    while let Some(next) = todo.pop() {
        for entry in std::fs::read_dir(next).expect("readable") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let modified = path.metadata().expect("metadata").modified().expect("a time");
                out.insert(path.clone(), (std::fs::read(&path).expect("read"), modified));
            }
        }
    }
    out
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    files(directory).into_keys().filter(|path| path.extension().is_some_and(|e| e == "seg")).collect()
}

#[tokio::test]
async fn a_sound_queue_is_described_and_left_as_it_was() {
    let data = tempfile::tempdir().expect("dir");
    let directory = data.path().join("queue");
    filled(&directory).await;
    let before = files(&directory);
    // The data directory around it does as well.
    let found = verify(data.path()).expect("verify");
    assert_eq!(files(&directory), before);
    assert!(found.is_sound(), "{:?}", found.damage);
    assert!(!found.inspection.in_use);
    let lane = &found.inspection.lanes[0];
    assert_eq!(lane.segments.len(), segments(&directory).len());
    assert!(lane.segments.len() > 3 && lane.newest_ms >= lane.oldest_ms && lane.oldest_ms.is_some(), "{lane:?}");
    let on_disk: u64 = lane.segments.iter().map(|segment| segment.items).sum();
    assert_eq!(found.items, on_disk);
    let cursor = &found.inspection.cursors[0];
    let items = |range: std::ops::Range<u32>| -> u64 { range.map(|n| u64::from(n % 7 + 1)).sum() };
    assert_eq!((cursor.row.accepted, cursor.row.delivered), (items(0..200), items(0..17)));
    assert_eq!((cursor.settled_item, cursor.row.pending_items), (items(0..17), items(17..200)));
    assert!(cursor.row.balances() && cursor.row.pending_bytes > 0);
    assert_eq!(found.inspection, inspect(&directory).expect("inspect"));
    assert_eq!(drain(&directory).await, (0, 183));
}

#[tokio::test]
async fn a_damaged_body_is_told_with_its_place_and_its_items() {
    let data = tempfile::tempdir().expect("dir");
    filled(data.path()).await;
    let sound = verify(data.path()).expect("verify");
    let path = segments(data.path()).pop().expect("a segment");
    let mut bytes = std::fs::read(&path).expect("read");
    let body = bytes.windows(7).position(|w| w == b"record ").expect("a payload that is not compressed");
    bytes[body] ^= 1;
    std::fs::write(&path, &bytes).expect("write");
    let found = verify(data.path()).expect("verify");
    assert_eq!(found.damage.len(), 1, "{:?}", found.damage);
    let damage = &found.damage[0];
    assert_eq!((damage.fault, &damage.path), (Fault::Body, &path));
    let range = damage.position..damage.position + damage.bytes;
    assert!(range.contains(&(body as u64)), "{damage:?} {body}");
    assert_eq!(&bytes[usize::try_from(damage.position).expect("small")..][..4], [0xf7, b'S', b'Q', 0x1b]);
    assert_eq!((found.frames + 1, found.items + damage.items.expect("known")), (sound.frames, sound.items));
    assert_eq!(drain(data.path()).await.0, found.damaged_items());
}

/// Invariant 14: a long segment holds several copies of a context; losing one of them loses nothing.
#[tokio::test]
async fn a_damaged_context_is_read_from_another_copy() {
    let data = tempfile::tempdir().expect("dir");
    let mut config = QueueConfig::new(data.path());
    config.min_free = MinFree::NONE;
    let mut spec = DestinationSpec::new(NAME, vec![lane()]);
    spec.start = StartAt::Oldest;
    let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane())], vec![spec]).expect("open");
    let appender = queue.appender(&lane()).expect("appender");
    let mut last = None;
    for _ in 0..600 {
        last = Some(appender.append(record(1), Durability::Soon).await.expect("append"));
    }
    last.expect("some").durable().await.expect("durable");
    assert_eq!(queue.ledger().lanes[0].stats.contexts, 3);
    queue.close(Duration::from_secs(20)).await.expect("close");

    let path = segments(data.path()).pop().expect("a segment");
    let pristine = std::fs::read(&path).expect("read");
    // Key and bytes of a copy.
    let copies: Vec<usize> =
        pristine.windows(316).enumerate().filter(|(_, w)| w.iter().all(|b| *b == 1)).map(|(at, _)| at).collect();
    assert_eq!(copies.len(), 3, "{copies:?}");
    let flipped = |which: &[usize]| {
        let mut bytes = pristine.clone();
        which.iter().for_each(|copy| bytes[copies[*copy] + 100] ^= 1);
        std::fs::write(&path, bytes).expect("write");
        verify(data.path()).expect("verify")
    };
    let all = flipped(&[0, 1, 2]);
    assert_eq!((all.damaged_items(), all.frames, all.damage.len()), (600 * 2, 0, 603));
    let found = flipped(&[0, 2]);
    assert_eq!((found.damage.len(), found.damaged_items(), found.frames), (2, 0, 600), "{:?}", found.damage);
    assert_eq!(drain(data.path()).await, (0, 600));
}

/// Invariants 14 and 16 from outside: whatever is flipped, what is told is what a destination then loses.
#[tokio::test]
async fn what_is_told_of_damage_is_what_readers_book() {
    let pristine = tempfile::tempdir().expect("dir");
    filled(pristine.path()).await;
    let mut random = fastrand::Rng::with_seed(11);
    let mut kinds = BTreeMap::new();
    for round in 0..60 {
        let data = tempfile::tempdir().expect("dir");
        for (path, (bytes, _)) in files(pristine.path()) {
            let to = data.path().join(path.strip_prefix(pristine.path()).expect("inside"));
            std::fs::create_dir_all(to.parent().expect("a parent")).expect("create");
            std::fs::write(to, bytes).expect("write");
        }
        let all = segments(data.path());
        let victim = &all[random.usize(..all.len())];
        if round % 10 == 9 {
            std::fs::remove_file(victim).expect("remove");
        } else {
            let mut bytes = std::fs::read(victim).expect("read");
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..bytes.len());
                let len = random.usize(1..200).min(bytes.len() - at);
                bytes[at..at + len].iter_mut().for_each(|byte| *byte = random.u8(..));
            }
            std::fs::write(victim, bytes).expect("write");
        }
        let before = files(data.path());
        let found = verify(data.path()).expect("verify");
        assert_eq!(files(data.path()), before, "round {round}");
        for damage in &found.damage {
            *kinds.entry(damage.fault.word()).or_insert(0) += 1;
        }
        // The 17 delivered records are not read again; damage in them costs nobody anything.
        let settled = found.inspection.cursors[0].settled_offset;
        if found.damage.iter().all(|damage| damage.offset >= settled) {
            let told = found.damaged_items();
            let (booked, _) = drain(data.path()).await;
            assert_eq!(booked, told, "round {round}: {:#?}", found.damage);
        }
    }
    println!("faults met: {kinds:?}");
    assert!(kinds.len() >= 4, "{kinds:?}");
}

/// Invariant 14 from outside, for files that are shorter than they were promised to be: emptied, gone, or cut anywhere; and for a
/// newest segment of which nothing is left, where a part of what is told is an estimate.
#[tokio::test]
async fn what_is_told_of_a_file_cut_short_is_what_readers_book() {
    let pristine = tempfile::tempdir().expect("dir");
    filled(pristine.path()).await;
    let settled = inspect(pristine.path()).expect("inspect").cursors[0].settled_offset;
    let all = inspect(pristine.path()).expect("inspect").lanes.remove(0).segments;
    let count = all.len();
    let mut told_of_tails = 0;
    for (index, segment) in all.iter().enumerate().filter(|(_, segment)| segment.base >= settled) {
        for cut in [None, Some(0), Some(100), Some(128), Some(3000), Some(segment.file_bytes - 1)] {
            let data = tempfile::tempdir().expect("dir");
            for (path, (bytes, _)) in files(pristine.path()) {
                let to = data.path().join(path.strip_prefix(pristine.path()).expect("inside"));
                std::fs::create_dir_all(to.parent().expect("a parent")).expect("create");
                std::fs::write(to, bytes).expect("write");
            }
            let victim = data.path().join(segment.path.strip_prefix(pristine.path()).expect("inside"));
            match cut {
                None => std::fs::remove_file(&victim).expect("remove"),
                Some(len) => {
                    let file = std::fs::OpenOptions::new().write(true).open(&victim).expect("open");
                    file.set_len(len).expect("cut");
                }
            }
            let found = verify(data.path()).expect("verify");
            assert!(!found.is_sound(), "segment {index} cut to {cut:?}");
            assert!(found.damage.iter().all(|damage| !damage.estimated), "{:?}", found.damage);
            let told = found.damaged_items();
            if index + 1 == count {
                assert!(found.damage.iter().any(|damage| damage.fault == Fault::Tail), "{cut:?}: {:?}", found.damage);
                assert_eq!(found.inspection.lanes[0].unsynced_bytes, 0);
                told_of_tails += 1;
            }
            let (booked, _) = drain(data.path()).await;
            assert_eq!(booked, told, "segment {index} of {count} cut to {cut:?}: {:#?}", found.damage);
            assert!(told > 0);
        }
    }
    assert_eq!(told_of_tails, 6);
    // No cursor file knows of anything in the newest segment, and nothing of it can be read.
    let path = segments(pristine.path()).pop().expect("a segment");
    let cursor = pristine.path().join("cursors").join(format!("{NAME}.cur"));
    let before = std::fs::read(&cursor).expect("read");
    drop(open(pristine.path()));
    std::fs::write(&cursor, &before).expect("write");
    let mut bytes = std::fs::read(&path).expect("read");
    let len = bytes.len() as u64;
    bytes.fill(0x5a);
    std::fs::write(&path, &bytes).expect("write");
    let extra = all.last().expect("some").base + len + (64 << 10);
    let behind = path.with_file_name(format!("{:016x}.seg", extra / 4096 * 4096));
    std::fs::write(&behind, &bytes).expect("write");
    let found = verify(pristine.path()).expect("verify");
    let estimated: Vec<_> = found.damage.iter().filter(|damage| damage.estimated).collect();
    assert_eq!(estimated.len(), 1, "{:?}", found.damage);
    assert!(estimated[0].path == behind && estimated[0].items.is_some_and(|items| items > 0), "{estimated:?}");
    let told = found.damaged_items();
    let (booked, _) = drain(pristine.path()).await;
    assert_eq!(booked, told, "{:#?}", found.damage);
}

/// What is said of a lane whose every segment was delivered.
#[tokio::test]
async fn an_emptied_lane_is_told_by_what_cursor_files_know() {
    let data = tempfile::tempdir().expect("dir");
    filled(data.path()).await;
    let before = inspect(data.path()).expect("inspect").lanes.remove(0);
    assert_eq!(drain(data.path()).await.0, 0);
    drop(open(data.path()));
    let found = inspect(data.path()).expect("inspect").lanes.remove(0);
    assert!(found.segments.is_empty(), "{found:?}");
    assert!(found.durable_offset >= before.durable_offset, "{found:?} {before:?}");
    assert_eq!(found.next_item, before.next_item);
    assert!(verify(data.path()).expect("verify").is_sound());
}

#[tokio::test]
async fn a_queue_in_use_is_told_so_and_only_what_is_durable_is_shown() {
    let data = tempfile::tempdir().expect("dir");
    let queue = open(data.path());
    let appender = queue.appender(&lane()).expect("appender");
    for number in 0..50 {
        appender.append(record(number), Durability::Now).await.expect("append").durable().await.expect("durable");
        let found = verify(data.path()).expect("verify");
        assert!(found.inspection.in_use && found.is_sound(), "{number}: {:?}", found.damage);
        let row = &queue.ledger().rows[0];
        let told = &found.inspection.cursors[0].row;
        assert!(told.accepted <= row.accepted && told.balances(), "{told:?} {row:?}");
    }
    // All but what the newest frame cannot testify to.
    let told = inspect(data.path()).expect("inspect").cursors[0].row.accepted;
    assert!(told + u64::from(record(49).items) >= queue.ledger().rows[0].accepted, "{told}");
    queue.close(Duration::from_secs(20)).await.expect("close");
    let found = inspect(data.path()).expect("inspect");
    assert!(!found.in_use);
}

#[tokio::test]
async fn what_is_no_queue_is_refused_with_a_reason() {
    let data = tempfile::tempdir().expect("dir");
    let missing = inspect(&data.path().join("nothing")).expect_err("no directory");
    assert!(matches!(missing, QueueError::Io { .. }), "{missing}");
    let none = inspect(data.path()).expect_err("no queue");
    assert!(matches!(none, QueueError::NoQueue { .. }), "{none}");
    filled(data.path()).await;
    let path = segments(data.path()).pop().expect("a segment");
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..124]);
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes).expect("write");
    let newer = verify(data.path()).expect_err("a newer format");
    assert!(matches!(newer, QueueError::Format { found: 2, supported: 1, .. }), "{newer}");
}

/// The first record that is not settled says how old the backlog is, not the segment it happens to be in.
#[tokio::test]
async fn the_age_of_a_backlog_is_that_of_its_oldest_record() {
    let directory = tempfile::tempdir().expect("dir");
    let queue = open(directory.path());
    let appender = queue.appender(&lane()).expect("appender");
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_millis();
    let mut times = Vec::new();
    for number in 0..3 {
        let begun = now();
        while now() == begun {
            tokio::task::yield_now().await;
        }
        times.push(i64::try_from(now()).expect("small"));
        let receipt = appender.append(record(number), Durability::Now).await.expect("append");
        receipt.durable().await.expect("durable");
    }
    let mut reader = queue.reader(NAME, &lane()).expect("reader");
    let first = reader.next().await.expect("claim");
    assert_eq!(queue.ledger().rows[0].in_flight_bytes, first.payload().len() as u64);
    first.settle(Outcome::Delivered);
    drop(reader);
    queue.close(Duration::from_secs(20)).await.expect("close");
    let told = inspect(directory.path()).expect("inspect").cursors.remove(0).row.oldest_pending_ms.expect("a time");
    assert!((times[1]..=times[2]).contains(&told), "{told} is not of the second of {times:?}");
}
