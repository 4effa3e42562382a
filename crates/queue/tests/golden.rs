//! Invariant 23: files of every released format are readable. `testdata/v1` (cursor files 1.0) and `testdata/v1.1` (cursor
//! files 1.1) were written once each by `write_golden` below and are never rewritten; a change that breaks this test breaks
//! users' backlogs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use queue::{
    Codec, ContextKey, DestinationSpec, Durability, Kind, LaneId, LaneSpec, MinFree, Outcome, Queue, QueueConfig,
    QueueError, Reason, Record, StartAt,
};

fn lane() -> LaneId {
    LaneId::new("metrics-default").expect("a good name")
}

fn golden_of(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(version)
}

fn golden() -> PathBuf {
    golden_of("v1")
}

fn open(directory: &Path) -> Queue {
    let mut config = QueueConfig::new(directory);
    config.min_free = MinFree::NONE;
    config.segment_bytes = Some(4096);
    let mut spec = DestinationSpec::new("https://example.com/api/v1/write", vec![lane()]);
    spec.start = StartAt::Oldest;
    Queue::open(config, vec![LaneSpec::new(lane())], vec![spec]).expect("open").0
}

fn records() -> Vec<Record> {
    let text = |n: u32| format!("record {n} ").repeat(40).into_bytes();
    (0..12u32)
        .map(|n| {
            let raw = text(n);
            let zstd = n % 3 == 2;
            Record {
                kind: [Kind::MetricBatch, Kind::LogBatch, Kind::OtlpMetrics, Kind::OtlpLogs, Kind::OtlpTraces]
                    [n as usize % 5],
                codec: if zstd { Codec::Zstd } else { Codec::None },
                stream: u64::from(n) * 1_000_000_007,
                items: n + 1,
                raw_len: u32::try_from(raw.len()).expect("small"),
                payload: Bytes::from(if zstd { zstd::bulk::compress(&raw, 1).expect("zstd") } else { raw }),
                contexts: (0..n % 3).map(|c| (ContextKey([u8::try_from(c).expect("small"); 16]), context(c))).collect(),
            }
        })
        .collect()
}

fn context(number: u32) -> Bytes {
    Bytes::from(format!("context {number}").repeat(10))
}

/// Run once, by hand, when a format version is released: `cargo test -p queue --test golden -- --ignored`.
#[tokio::test]
#[ignore = "writes the files the other test reads"]
async fn write_golden() {
    let directory = golden_of("v1.1");
    assert!(!directory.exists(), "golden files are written once");
    let queue = open(&directory);
    let appender = queue.appender(&lane()).expect("appender");
    for record in records() {
        appender.append(record, Durability::Now).await.expect("append").durable().await.expect("durable");
    }
    let mut reader = queue.reader("https://example.com/api/v1/write", &lane()).expect("reader");
    reader.next().await.expect("claim").settle(Outcome::Delivered);
    reader.next().await.expect("claim").settle(Outcome::Rejected(Reason::new("too_old")));
    // Handed out and not answered: what version 1.1 knows and 1.0 does not.
    let open = reader.next().await.expect("claim");
    queue.close(Duration::from_secs(20)).await.expect("close");
    drop(open);
    std::fs::remove_file(directory.join("LOCK")).expect("lock");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("create");
    for entry in std::fs::read_dir(from).expect("golden files") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copy");
        }
    }
}

#[tokio::test]
async fn files_of_version_one_are_read() -> Result<(), QueueError> {
    for (version, minor, repeats) in [("v1", 0, 0), ("v1.1", 1, 1)] {
        let files = std::fs::read_dir(golden_of(version).join("cursors")).expect("cursor files");
        for file in files {
            let bytes = std::fs::read(file.expect("a file").path()).expect("read");
            assert_eq!(bytes[10..12], [minor, 0], "{version} is not what its name says");
        }
        files_are_read(version, repeats).await?;
    }
    Ok(())
}

async fn files_are_read(version: &str, repeats: u64) -> Result<(), QueueError> {
    let directory = tempfile::tempdir().expect("dir");
    copy(&golden_of(version), directory.path());
    let queue = open(directory.path());
    let name = "https://example.com/api/v1/write";
    let row = queue.ledger().rows.remove(0);
    assert_eq!((row.accepted, row.delivered, row.rejected), (78, 1, 2));
    assert_eq!(row.rejected_by.get(&Reason::new("too_old")), Some(&2));
    let mut reader = queue.reader(name, &lane())?;
    for (index, record) in records().into_iter().enumerate().skip(2) {
        let claim = reader.next().await?;
        let frame = claim.frame().clone();
        assert_eq!((frame.kind, frame.items, frame.stream), (record.kind, record.items, record.stream));
        assert_eq!(claim.payload().as_ref(), format!("record {index} ").repeat(40).as_bytes());
        for (key, bytes) in &record.contexts {
            assert_eq!(claim.context(key)?, bytes);
        }
        assert_eq!(claim.contexts().len(), record.contexts.len());
        claim.settle(Outcome::Delivered);
    }
    let row = queue.ledger().rows.remove(0);
    assert_eq!((row.delivered, row.pending_items, row.damaged), (76, 0, 0), "{version}");
    assert_eq!(row.repeats, repeats, "{version}");
    assert!(row.balances());
    Ok(())
}

/// The same files, every bit of them flipped in turn (a sample of them): the start never fails, the book balances.
/// Invariants 14, 15, 16 on the real file system.
#[tokio::test]
async fn flipped_bits_in_golden_files_never_stop_a_start() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut files = Vec::new();
    let mut todo = vec![golden()];
    while let Some(next) = todo.pop() {
        for entry in std::fs::read_dir(next).expect("golden files") {
            let path = entry.expect("entry").path();
            if path.is_dir() { todo.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    for round in 0..60 {
        let directory = tempfile::tempdir().expect("dir");
        copy(&golden(), directory.path());
        let victim = &files[round % files.len()];
        let victim = directory.path().join(victim.strip_prefix(golden()).expect("inside"));
        let mut bytes = std::fs::read(&victim).expect("read");
        for _ in 0..random.usize(1..20) {
            let bit = random.usize(0..bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        std::fs::write(&victim, bytes).expect("write");
        let queue = open(directory.path());
        let mut reader = queue.reader("https://example.com/api/v1/write", &lane()).expect("reader");
        let appender = queue.appender(&lane()).expect("appender");
        let last = Record { stream: 99, ..records().remove(0) };
        appender.append(last, Durability::Now).await.expect("append").durable().await.expect("durable");
        loop {
            let claim =
                tokio::time::timeout(Duration::from_secs(20), reader.next()).await.expect("in time").expect("claim");
            let stream = claim.frame().stream;
            claim.settle(Outcome::Delivered);
            if stream == 99 {
                break;
            }
        }
        let row = queue.ledger().rows.remove(0);
        assert!(row.balances() && row.pending_items == 0, "round {round}: {row:?}");
    }
}

/// docs/queue-format.md is enough to write a reader: `read_by_document.py` was written from it alone, in another language.
/// It and this crate must see the same in the golden files, and in files of this version with a torn and a rotten place.
#[tokio::test]
async fn a_reader_written_from_the_document_sees_the_same() {
    let Ok(version) = std::process::Command::new("python3").arg("--version").output() else {
        println!("SKIPPED: there is no python3 here");
        return;
    };
    assert!(version.status.success(), "{version:?}");
    assert_same(&golden());
    assert_same(&golden_of("v1.1"));

    let directory = tempfile::tempdir().expect("dir");
    let queue = open(directory.path());
    let appender = queue.appender(&lane()).expect("appender");
    for record in records().into_iter().chain(records()).chain(records()) {
        appender.append(record, Durability::Now).await.expect("append").durable().await.expect("durable");
    }
    let mut reader = queue.reader("https://example.com/api/v1/write", &lane()).expect("reader");
    for reason in ["too_old", "refused", "too_old"] {
        reader.next().await.expect("claim").settle(Outcome::Rejected(Reason::new(reason)));
    }
    reader.next().await.expect("claim").settle(Outcome::Delivered);
    drop(reader);
    queue.close(Duration::from_secs(20)).await.expect("close");
    assert_same(directory.path());

    let mut segments: Vec<PathBuf> = std::fs::read_dir(directory.path().join("lanes/metrics-default"))
        .expect("list")
        .map(|entry| entry.expect("entry").path())
        .collect();
    segments.sort();
    assert!(segments.len() > 3, "{segments:?}");
    let change = |path: &Path, work: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(path).expect("read");
        work(&mut bytes);
        std::fs::write(path, bytes).expect("write");
    };
    // A header that only the next segment can replace, a rotten body, and a last write that was cut off.
    change(&segments[1], &|bytes| bytes[20] ^= 1);
    change(&segments[2], &|bytes| bytes[128 + 64 + 3] ^= 1);
    change(segments.last().expect("some"), &|bytes| bytes.extend_from_slice(&[0xf7, b'S', b'Q', 0x1b, 1, 2, 3]));
    assert_same(directory.path());
    // Headers that only the frames can replace: the nonce is still there, and it is not.
    change(segments.last().expect("some"), &|bytes| bytes[40] ^= 1);
    assert_same(directory.path());
    for path in &segments[segments.len() - 2..] {
        change(path, &|bytes| bytes[..128].fill(0xee));
    }
    assert_same(directory.path());
    // A file that ends before what a cursor file knows of.
    change(segments.last().expect("some"), &|bytes| bytes.truncate(bytes.len() * 2 / 3));
    assert_same(directory.path());
}

fn assert_same(directory: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_by_document.py");
    let out = std::process::Command::new("python3").arg(script).arg(directory).output().expect("python3");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let theirs: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let ours = queue::verify(directory).expect("verify");

    let lanes: Vec<serde_json::Value> = ours
        .inspection
        .lanes
        .iter()
        .map(|lane| {
            let segment = |segment: &queue::SegmentInspection| {
                serde_json::json!({
                    "base": segment.base,
                    "end": segment.end,
                    "first_item": segment.first_item,
                    "items": segment.items,
                    "created_ms": segment.created_ms,
                })
            };
            let segments: Vec<_> = lane.segments.iter().map(segment).collect();
            serde_json::json!({"lane": lane.lane.as_str(), "next_item": lane.next_item, "segments": segments})
        })
        .collect();
    for (ours, theirs) in lanes.iter().zip(theirs["lanes"].as_array().expect("lanes")) {
        for key in ["lane", "next_item", "segments"] {
            assert_eq!(ours[key], theirs[key], "{key} in {}", directory.display());
        }
    }
    let of = |key: &str| -> u64 {
        let sum = |lane: &serde_json::Value| match &lane[key] {
            serde_json::Value::Array(list) => list.len() as u64,
            other => other.as_u64().unwrap_or(0),
        };
        theirs["lanes"].as_array().expect("lanes").iter().map(sum).sum()
    };
    assert_eq!((of("records"), of("contexts")), (ours.frames, ours.contexts));

    let cursors = theirs["cursors"].as_array().expect("cursors");
    assert_eq!(cursors.len(), ours.inspection.cursors.len());
    for (cursor, theirs) in ours.inspection.cursors.iter().zip(cursors) {
        let row = &cursor.row;
        assert_eq!(theirs["destination"], row.destination.as_str());
        let numbers = [
            ("start_item", cursor.start_item),
            ("settled_offset", cursor.settled_offset),
            ("settled_item", cursor.settled_item),
            ("delivered", row.delivered),
            ("rejected", row.rejected),
            ("evicted", row.evicted),
            ("pending_items", row.pending_items),
        ];
        for (key, number) in numbers {
            assert_eq!(theirs[key], number, "{key}");
        }
        assert_eq!(theirs["oldest_pending_ms"].as_i64(), row.oldest_pending_ms);
        for (reason, items) in &row.rejected_by {
            assert_eq!(theirs["rejected_by"][reason.as_str()], *items);
        }
    }
}
