//! Instructions per sample of the hot path, counted by valgrind's callgrind: the same on a busy machine as on an idle one.
//!
//! Without arguments it runs itself under valgrind, once for each step and twice for its rounds, and prints the difference
//! per sample; with a step and a number of rounds it does just that. `raw` and `fingerprint` are the two ways to tell that a
//! line is the expected one, with nothing else around them.

use std::{fmt::Write, hint::black_box, process::Command, sync::Arc};

use model::Labels;
use relabel::Rule;
use scrape::{CacheConfig, Format, Limits, ScrapeCache};
use xxhash_rust::xxh3::xxh3_128_with_seed;

const SERIES: usize = 2_000;
const STEPS: [&str; 5] =
    ["parse", "parse, batch and encode", "line by raw bytes", "line by fingerprint", "first scrape"];
const FEW: usize = 20;
const MANY: usize = 60;

fn series(at: usize) -> String {
    let family = at / 20;
    format!(
        "container_network_family_{family:03}_total{{namespace=\"shop\",pod=\"cart-00002a-{at:04x}\",container=\"main\",device=\"eth{}\"}}",
        at % 3
    )
}

fn body(round: usize) -> String {
    let mut text = String::new();
    for at in 0..SERIES {
        if at % 20 == 0 {
            let family = at / 20;
            let _ = writeln!(text, "# HELP container_network_family_{family:03}_total Cumulative count.");
            let _ = writeln!(text, "# TYPE container_network_family_{family:03}_total counter");
        }
        let value = match at % 5 {
            0 => format!("{at}"),
            1 | 2 => format!("{}", 1_000_000 + at * 1000 + round * (at % 97)),
            3 => format!("{:.2}", (100_000 + at * 13 + round * 1499) as f64 / 100.0),
            _ => format!("{:e}", (80_000_000_000 + at * 1_000_003 + round * 123_457) as f64),
        };
        let _ = writeln!(text, "{} {value}", series(at));
    }
    text
}

fn cache() -> ScrapeCache {
    let config = CacheConfig {
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        metric_relabel: Arc::from(Vec::<Rule>::new()),
        limits: Limits::default(),
        target_labels: [("instance", "10.0.0.1:9100"), ("job", "cadvisor")].into_iter().collect::<Labels>(),
    };
    ScrapeCache::new(1, config)
}

fn run(step: &str, rounds: usize) {
    let bodies: Vec<String> = (0..8).map(body).collect();
    let lines: Vec<String> = (0..SERIES).map(series).collect();
    let (text, seed) = (lines.concat().into_bytes(), black_box(7));
    let ends: Vec<usize> = lines
        .iter()
        .scan(0, |end, line| {
            *end += line.len();
            Some(*end)
        })
        .collect();
    let hashes: Vec<u128> = lines.iter().map(|line| xxh3_128_with_seed(line.as_bytes(), seed)).collect();
    let known = black_box(text.clone());
    let mut hot = cache();
    let mut payload = Vec::new();
    let is_same = |same: &dyn Fn(usize, usize, usize) -> bool| {
        let mut start = 0;
        ends.iter().enumerate().filter(|(at, end)| same(*at, std::mem::replace(&mut start, **end), **end)).count()
    };
    for round in 0..rounds {
        let body = &bodies[round % bodies.len()];
        match step {
            "parse" | "parse, batch and encode" => {
                let counted = hot.ingest(body.as_bytes(), Format::Text004, 15_000 * round as i64);
                assert!(black_box(counted).is_ok());
                if step != "parse" {
                    payload.clear();
                    hot.batch(&[("up", 1.0)]).encode(&mut payload);
                }
            }
            "first scrape" => assert!(black_box(cache().ingest(body.as_bytes(), Format::Text004, 0)).is_ok()),
            "line by raw bytes" => {
                assert_eq!(is_same(&|_, start, end| black_box(&text)[start..end] == known[start..end]), SERIES);
            }
            "line by fingerprint" => {
                let same =
                    |at: usize, start, end| xxh3_128_with_seed(&black_box(&text)[start..end], seed) == hashes[at];
                assert_eq!(is_same(&same), SERIES);
            }
            _ => panic!("there is no step {step:?}"),
        }
    }
}

/// Instructions of this program doing `rounds` of `step`.
fn count(step: &str, rounds: usize) -> Option<u64> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([step, &rounds.to_string()])
        .output()
        .ok()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let collected = told.lines().find_map(|line| line.split_once("Collected :"))?.1;
    collected.trim().parse().ok()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [step, rounds] = arguments.as_slice() {
        return run(step, rounds.parse().expect("a number of rounds"));
    }
    for step in STEPS {
        let (Some(few), Some(many)) = (count(step, FEW), count(step, MANY)) else {
            println!("valgrind is not installed or says nothing; instructions are not counted");
            return;
        };
        println!("{step}: {} instructions a sample", many.saturating_sub(few) / ((MANY - FEW) * SERIES) as u64);
    }
}
