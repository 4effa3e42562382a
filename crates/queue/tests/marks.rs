//! What sources need of a lane: its durable end, a scan that destinations do not matter to, and the floor.

use std::time::Duration;

use bytes::Bytes;
use queue::{
    Codec, DestinationSpec, Durability, Kind, LaneId, LaneSpec, MinFree, OnFull, Outcome, Queue, QueueConfig, Record,
};

fn lane() -> LaneId {
    LaneId::new("logs-default").expect("a good name")
}

fn open(directory: &std::path::Path, max_bytes: u64) -> Queue {
    let mut config = QueueConfig::new(directory);
    config.min_free = MinFree::NONE;
    config.max_bytes = max_bytes;
    config.segment_bytes = Some(16 << 10);
    config.cursor_interval = Duration::from_millis(10);
    let mut destination = DestinationSpec::new("d", vec![lane()]);
    destination.on_full = OnFull::Evict;
    Queue::open(config, vec![LaneSpec::new(lane()).marked()], vec![destination]).expect("it opens").0
}

async fn append(queue: &Queue, number: u32) {
    let payload = Bytes::from(vec![u8::try_from(number % 251).expect("small"); 4000]);
    let raw_len = 4000;
    let (kind, codec) = (Kind::LogBatch, Codec::None);
    let record = Record { kind, codec, stream: 1, items: number, raw_len, payload, contexts: Vec::new() };
    let appender = queue.appender(&lane()).expect("known");
    let receipt = appender.append(record, Durability::Now).await.expect("room");
    receipt.durable().await.expect("open");
}

async fn deliver(queue: &Queue, count: usize) {
    let mut reader = queue.reader("d", &lane()).expect("free");
    for _ in 0..count {
        reader.next().await.expect("a frame").settle(Outcome::Delivered);
    }
}

fn items(queue: &Queue, from: u64) -> Vec<u32> {
    queue.scan(&lane(), from).expect("known").map(|(meta, _)| meta.items).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_destination_took_stays_until_the_floor_rises() {
    let dir = tempfile::tempdir().expect("a directory");
    let queue = open(dir.path(), 64 << 20);
    for number in 1..=20 {
        append(&queue, number).await;
    }
    deliver(&queue, 20).await;
    let all: Vec<u32> = (1..=20).collect();
    assert_eq!(items(&queue, 0), all);
    drop(queue);
    let queue = open(dir.path(), 64 << 20);
    assert_eq!(items(&queue, 0), all, "a start removes nothing before the source spoke");
    let offsets: Vec<u64> = queue.scan(&lane(), 0).expect("known").map(|(meta, _)| meta.offset).collect();
    assert_eq!(items(&queue, offsets[12]), all[12..]);
    queue.keep_from(&lane(), offsets[12]).expect("known");
    let left = items(&queue, 0);
    assert!(left.len() < 20 && left.ends_with(&all[12..]), "{left:?}");
    let end = queue.durable_end(&lane()).expect("known");
    assert!(end > offsets[19]);
    queue.keep_from(&lane(), end).expect("known");
    assert_eq!(items(&queue, 0), Vec::<u32>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn want_of_room_overrides_the_floor_and_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let queue = open(dir.path(), 64 << 10);
    let pressed = queue.pressed(&lane()).expect("known");
    for number in 1..=40 {
        append(&queue, number).await;
    }
    assert!(pressed.has_changed().expect("open"));
    let left = items(&queue, 0);
    assert!(left.len() < 40 && left.last() == Some(&40), "{left:?}");
}
