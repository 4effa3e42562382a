//! A child process appends and delivers; the parent kills it with SIGKILL at random moments, starts the next one and
//! compares. `SIGPOST_QUEUE_ROUNDS` sets the number of rounds (30), `SIGPOST_QUEUE_SEED` when they are killed.
//!
//! The child is this very test binary, told by the environment to run `child`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use queue::{
    Codec, ContextKey, DestinationSpec, Durability, Kind, LaneId, LaneSpec, MinFree, Outcome, Queue, QueueConfig,
    Record, StartAt,
};

const DIRECTORY: &str = "SIGPOST_QUEUE_CRASH_DIRECTORY";

fn lane() -> LaneId {
    LaneId::new("lane").expect("a good name")
}

fn open(directory: &Path) -> Queue {
    let mut config = QueueConfig::new(directory);
    config.min_free = MinFree::NONE;
    config.commit_interval = Duration::from_millis(2);
    config.cursor_interval = Duration::from_millis(10);
    config.segment_bytes = Some(64 << 10);
    let mut spec = DestinationSpec::new("taker", vec![lane()]);
    spec.start = StartAt::Oldest;
    Queue::open(config, vec![LaneSpec::new(lane())], vec![spec]).expect("open").0
}

fn record(number: u64) -> Record {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(8 + usize::try_from(number % 700).expect("small"), 3);
    let context = (ContextKey([u8::try_from(number % 3).expect("small"); 16]), Bytes::from(vec![1; 300]));
    Record {
        kind: Kind::LogBatch,
        codec: Codec::None,
        stream: 0,
        items: u32::try_from(number % 5 + 1).expect("small"),
        raw_len: 0,
        payload: Bytes::from(payload),
        contexts: vec![context],
    }
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().expect("eight bytes"))
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n@{line}").and_then(|()| out.flush()).expect("the parent reads");
}

/// Appends from the number given on, telling of each resolved receipt; takes and settles at the same time.
async fn child(directory: PathBuf) {
    let queue = open(&directory);
    let mut next: u64 = std::env::var("SIGPOST_QUEUE_CRASH_NEXT").expect("a number").parse().expect("a number");
    let appender = queue.appender(&lane()).expect("appender");
    let mut reader = queue.reader("taker", &lane()).expect("reader");
    tokio::spawn(async move {
        while let Ok(claim) = reader.next().await {
            say(&format!("taken {}", number(claim.payload())));
            claim.settle(Outcome::Delivered);
        }
    });
    let (resolved, mut receipts) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        while let Some((number, receipt)) = receipts.recv().await {
            let receipt: queue::Receipt = receipt;
            if receipt.durable().await.is_ok() {
                say(&format!("durable {number}"));
            }
        }
    });
    loop {
        let how = if next.is_multiple_of(7) { Durability::Now } else { Durability::Soon };
        say(&format!("given {next}"));
        let receipt = appender.append(record(next), how).await.expect("append");
        resolved.send((next, receipt)).await.expect("the other task");
        next += 1;
    }
}

#[derive(Default)]
struct Seen {
    given: u64,
    durable: u64,
    taken: BTreeMap<u64, u32>,
}

fn listen(out: impl std::io::Read, seen: &mut Seen) {
    let mut newest_durable = None;
    for line in BufReader::new(out).lines() {
        let Ok(line) = line else { break };
        let Some((what, number)) = line.strip_prefix('@').and_then(|line| line.split_once(' ')) else {
            continue;
        };
        // The last line may be cut off in the middle of its number.
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        match what {
            "given" => seen.given = seen.given.max(number),
            "durable" => newest_durable = Some(number).max(newest_durable),
            "taken" => *seen.taken.entry(number).or_default() += 1,
            _ => {}
        }
    }
    if let Some(number) = newest_durable {
        seen.durable = seen.durable.max(number);
    }
}

/// Invariants 1, 2, 4, 7, 8, 21, on the real file system.
#[test]
fn kill_minus_nine_loses_nothing_that_was_acknowledged() {
    if let Ok(directory) = std::env::var(DIRECTORY) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
        runtime.block_on(child(PathBuf::from(directory)));
        return;
    }
    let rounds: u64 = std::env::var("SIGPOST_QUEUE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let directory = tempfile::tempdir().expect("dir");
    let mut seen = Seen::default();
    let mut next = 1;
    let given = std::env::var("SIGPOST_QUEUE_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| fastrand::u64(..));
    println!("kill -9: seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..rounds {
        let mut process = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "kill_minus_nine_loses_nothing_that_was_acknowledged", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .env("SIGPOST_QUEUE_CRASH_NEXT", next.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("child");
        let out = process.stdout.take().expect("a pipe");
        let listener = std::thread::spawn(move || {
            let mut heard = Seen::default();
            listen(out, &mut heard);
            heard
        });
        std::thread::sleep(Duration::from_millis(random.u64(5..120)));
        process.kill().expect("kill");
        process.wait().expect("wait");
        let heard = listener.join().expect("listener");
        seen.given = seen.given.max(heard.given);
        seen.durable = seen.durable.max(heard.durable);
        for (number, times) in heard.taken {
            *seen.taken.entry(number).or_default() += times;
        }
        // What survived is read by opening it here.
        let queue = open(directory.path());
        let ledger = queue.ledger();
        let row = &ledger.rows[0];
        assert!(row.balances(), "round {round}: {row:?}");
        assert_eq!((row.damaged, row.evicted, row.rejected), (0, 0, 0), "round {round}: {row:?}");
        // All records up to some number survived, and at least those acknowledged.
        let mut items = 0;
        let mut survived = 0;
        while items < row.accepted {
            survived += 1;
            items += survived % 5 + 1;
        }
        assert_eq!(items, row.accepted, "round {round}: numbers end with a record");
        assert!(survived >= seen.durable, "round {round}: {} was acknowledged, {survived} survived", seen.durable);
        assert!(survived <= seen.given, "round {round}: {survived} survived, {} were given", seen.given);
        next = survived + 1;
        drop(queue);
    }
    assert!(seen.durable > rounds, "the children did some work: {}", seen.durable);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let mut book = None;
    runtime.block_on(async {
        let queue = open(directory.path());
        let mut reader = queue.reader("taker", &lane()).expect("reader");
        while queue.ledger().rows[0].pending_items > 0 {
            let claim = reader.next().await.expect("claim");
            *seen.taken.entry(number(claim.payload())).or_default() += 1;
            claim.settle(Outcome::Delivered);
        }
        let row = queue.ledger().rows.remove(0);
        assert!(row.balances() && row.delivered == row.accepted, "{row:?}");
        book = Some(row);
    });
    let missing: Vec<u64> = (1..next).filter(|number| !seen.taken.contains_key(number)).collect();
    assert!(missing.is_empty(), "never taken: {missing:?}");
    let repeats: u32 = seen.taken.values().map(|times| times - 1).sum();
    println!("rounds {rounds}, records {}, taken twice {repeats}; {:?}", next - 1, book.expect("the last round"));
}
