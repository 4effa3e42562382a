//! Many hands at once: producers, readers that drop claims, small windows, reloads. Looks for lost wake-ups and
//! deadlocks (R8); ends with every item delivered and the book balanced.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use queue::{
    Codec, DestinationSpec, Durability, Kind, LaneId, LaneSpec, MinFree, Outcome, Queue, QueueConfig, QueueError,
    Record,
};

const PRODUCERS: u32 = 3;
const EACH: u32 = 1500;

fn lane() -> LaneId {
    LaneId::new("lane").expect("a good name")
}

fn specs(window: usize) -> Vec<DestinationSpec> {
    ["one", "two"]
        .into_iter()
        .map(|name| {
            let mut spec = DestinationSpec::new(name, vec![lane()]);
            spec.max_claims = window;
            spec.max_in_flight_bytes = 20_000;
            spec
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_hands_lose_no_wake_up() {
    let directory = tempfile::tempdir().expect("dir");
    let mut config = QueueConfig::new(directory.path());
    config.min_free = MinFree::NONE;
    config.commit_interval = Duration::from_millis(1);
    config.cursor_interval = Duration::from_millis(3);
    config.segment_bytes = Some(256 << 10);
    config.credit_bytes = 40_000;
    let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane())], specs(8)).expect("open");
    let done = Arc::new(AtomicBool::new(false));
    let mut producers = Vec::new();
    for producer in 0..PRODUCERS {
        let appender = queue.appender(&lane()).expect("appender");
        producers.push(tokio::spawn(async move {
            for n in 0..EACH {
                let number = producer * EACH + n;
                let mut payload = number.to_le_bytes().to_vec();
                payload.resize(4 + (number as usize * 37) % 5000, 1);
                let record = Record {
                    kind: Kind::LogBatch,
                    codec: Codec::None,
                    stream: u64::from(producer),
                    items: 1,
                    raw_len: 0,
                    payload: Bytes::from(payload),
                    contexts: Vec::new(),
                };
                let how = if n % 50 == 0 { Durability::Now } else { Durability::Soon };
                let receipt = appender.append(record, how).await.expect("append");
                if n % 50 == 0 {
                    receipt.durable().await.expect("durable");
                }
            }
        }));
    }
    let mut takers = Vec::new();
    for name in ["one", "two"] {
        let queue = queue.clone();
        takers.push(tokio::spawn(async move {
            let mut seen = BTreeSet::new();
            let mut random = fastrand::Rng::with_seed(1);
            let mut reader = queue.reader(name, &lane()).expect("reader");
            let mut held = Vec::new();
            let all = (PRODUCERS * EACH) as usize;
            while seen.len() < all {
                // `next` is dropped in the middle now and then: no frame may be lost by that.
                let patience = Duration::from_micros(random.u64(1..3000));
                match tokio::time::timeout(patience, reader.next()).await {
                    Ok(Ok(claim)) => held.push(claim),
                    Ok(Err(QueueError::Closed)) => panic!("closed"),
                    Ok(Err(error)) => panic!("{error}"),
                    Err(_) => {}
                }
                while held.len() > random.usize(0..7) {
                    let claim = held.swap_remove(random.usize(0..held.len()));
                    let number = u32::from_le_bytes(claim.payload()[..4].try_into().expect("four"));
                    if random.u8(0..10) == 0 {
                        drop(claim);
                    } else {
                        assert!(seen.insert(number), "settled twice");
                        claim.settle(Outcome::Delivered);
                    }
                }
                if random.u16(0..500) == 0 {
                    held.clear();
                    drop(reader);
                    reader = queue.reader(name, &lane()).expect("reader again");
                }
            }
        }));
    }
    let reloader = {
        let (queue, done) = (queue.clone(), Arc::clone(&done));
        tokio::task::spawn_blocking(move || {
            let mut window = 1;
            while !done.load(Ordering::Acquire) {
                window = window % 9 + 1;
                queue.apply(vec![LaneSpec::new(lane())], specs(window + 6)).expect("apply");
                for row in queue.ledger().rows {
                    assert!(row.balances(), "invariant 1: {row:?}");
                }
                std::thread::yield_now();
            }
        })
    };
    for task in producers.into_iter().chain(takers) {
        tokio::time::timeout(Duration::from_secs(120), task).await.expect("in time: a wake-up was lost").expect("task");
    }
    done.store(true, Ordering::Release);
    reloader.await.expect("reloader");
    let report = queue.close(Duration::from_secs(30)).await.expect("close");
    for row in report.ledger.rows {
        assert!(row.balances(), "{row:?}");
        assert_eq!((row.delivered, row.pending_items), (u64::from(PRODUCERS * EACH), 0));
    }
}
