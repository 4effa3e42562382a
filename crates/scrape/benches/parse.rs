//! The hot path of a scrape: a body of 2,000 series, about 110 bytes a line, as it comes every fifteen seconds.
//!
//! `hot` is what a steady target costs, `slow` the same without recognition, `first` a target's first scrape;
//! `position` compares the two ways to tell that a line is the expected one, with one target and with so many that
//! nothing stays in the processor's caches.

use std::{fmt::Write, hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::Labels;
use relabel::Rule;
use scrape::{CacheConfig, Format, Limits, ScrapeCache};
use xxhash_rust::xxh3::xxh3_128_with_seed;

const FAMILIES: u64 = 100;
const PER_FAMILY: u64 = 20;
const SERIES: u64 = FAMILIES * PER_FAMILY;

fn series(target: u64, family: u64, at: u64) -> String {
    format!(
        "container_network_family_{family:03}_total{{namespace=\"shop\",pod=\"cart-{target:06x}-{at:04x}\",container=\"main\",device=\"eth{}\"}}",
        at % 3
    )
}

/// A third of the values never changes, the others grow or wander; decimals, integers, large counters.
fn value(family: u64, at: u64, round: u64) -> String {
    let seed = family * 31 + at * 7;
    match (family + at) % 6 {
        0 | 1 => format!("{seed}"),
        2 => format!("{}", 1_000_000 + seed * 1000 + round * (seed % 97)),
        3 => format!("{:.2}", (100_000 + seed * 13 + round * 1499) as f64 / 100.0),
        4 => format!("{:e}", (80_000_000_000 + seed * 1_000_003 + round * 123_457) as f64),
        _ => format!("{}", (seed * 7919 + round * 104_729) % 10_000),
    }
}

fn body(target: u64, round: u64) -> String {
    let mut text = String::new();
    for family in 0..FAMILIES {
        let _ = writeln!(text, "# HELP container_network_family_{family:03}_total Cumulative count of kind {family}.");
        let _ = writeln!(text, "# TYPE container_network_family_{family:03}_total counter");
        for at in 0..PER_FAMILY {
            let _ = writeln!(text, "{} {}", series(target, family, at), value(family, at, round));
        }
    }
    text
}

fn cache() -> ScrapeCache {
    ScrapeCache::new(
        1,
        CacheConfig {
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            metric_relabel: Arc::from(Vec::<Rule>::new()),
            limits: Limits::default(),
            target_labels: [("instance", "10.0.0.1:9100"), ("job", "cadvisor")].into_iter().collect::<Labels>(),
        },
    )
}

fn scrapes(c: &mut Criterion) {
    let bodies: Vec<String> = (0..16).map(|round| body(0, round)).collect();
    let mut group = c.benchmark_group("scrape");
    group.throughput(Throughput::Elements(SERIES));
    let mut round = 0usize;
    let mut next = || {
        round += 1;
        (&bodies[round % bodies.len()], round as i64 * 15_000)
    };

    let mut hot = cache();
    group.bench_function("hot", |b| {
        b.iter(|| {
            let (body, ts) = next();
            hot.ingest(body.as_bytes(), Format::Text004, ts).map(|counts| counts.scraped)
        });
    });
    let heap = hot.heap_bytes();
    println!("heap of the cache: {} B a series", heap as u64 / SERIES);

    let report = [("up", 1.0), ("scrape_duration_seconds", 0.0123), ("scrape_samples_scraped", 2000.0)];
    let mut payload = Vec::new();
    let (mut bytes, mut batches) = (0usize, 0usize);
    group.bench_function("hot with batch", |b| {
        b.iter(|| {
            let (body, ts) = next();
            let counts = hot.ingest(body.as_bytes(), Format::Text004, ts).map(|counts| counts.scraped);
            payload.clear();
            hot.batch(&report).encode(&mut payload);
            bytes += payload.len();
            batches += 1;
            counts
        });
    });
    println!("payload: {:.2} B a sample", bytes as f64 / (batches as f64 * SERIES as f64));

    let mut slow = cache().without_recognition();
    group.bench_function("slow", |b| {
        b.iter(|| {
            let (body, ts) = next();
            slow.ingest(body.as_bytes(), Format::Text004, ts).map(|counts| counts.scraped)
        });
    });
    group.bench_function("first", |b| {
        b.iter_batched(
            cache,
            |mut fresh| fresh.ingest(bodies[0].as_bytes(), Format::Text004, 1).map(|counts| counts.added),
            criterion::BatchSize::LargeInput,
        );
    });

    const TARGETS: u64 = 100;
    let mut many: Vec<(ScrapeCache, Vec<u8>)> =
        (0..TARGETS).map(|target| (cache(), body(target, 0).into_bytes())).collect();
    let mut turn = 0usize;
    group.bench_function("hot among 100 targets", |b| {
        b.iter(|| {
            turn += 1;
            let (cache, body) = &mut many[turn % TARGETS as usize];
            cache.ingest(body, Format::Text004, turn as i64).map(|counts| counts.scraped)
        });
    });
    group.finish();
}

/// Only the position test: is the text at this place the expected one?
fn position(c: &mut Criterion) {
    let mut group = c.benchmark_group("position");
    group.throughput(Throughput::Elements(SERIES));
    for targets in [1u64, 100] {
        let texts: Vec<Vec<Vec<u8>>> = (0..targets)
            .map(|target| (0..SERIES).map(|at| series(target, at / PER_FAMILY, at % PER_FAMILY).into_bytes()).collect())
            .collect();
        // One run of bytes with ends, as a body and as a cache of raw text would hold it.
        let bodies: Vec<Vec<u8>> = texts.iter().map(|lines| lines.concat()).collect();
        let raw = bodies.clone();
        let ends: Vec<Vec<u32>> = texts
            .iter()
            .map(|lines| {
                lines
                    .iter()
                    .scan(0u32, |end, line| {
                        *end += line.len() as u32;
                        Some(*end)
                    })
                    .collect()
            })
            .collect();
        let hashes: Vec<Vec<(u32, u128)>> = texts
            .iter()
            .map(|lines| lines.iter().map(|line| (line.len() as u32, xxh3_128_with_seed(line, 7))).collect())
            .collect();
        let mut turn = 0usize;
        group.bench_function(format!("raw bytes, {targets} targets"), |b| {
            b.iter(|| {
                turn = (turn + 1) % targets as usize;
                let (body, raw) = (&bodies[turn], &raw[turn]);
                let mut start = 0usize;
                let mut same = 0u32;
                for end in &ends[turn] {
                    let end = *end as usize;
                    same += u32::from(black_box(&body[start..end]) == &raw[start..end]);
                    start = end;
                }
                same
            });
        });
        group.bench_function(format!("fingerprint, {targets} targets"), |b| {
            b.iter(|| {
                turn = (turn + 1) % targets as usize;
                let body = &bodies[turn];
                let mut start = 0usize;
                let mut same = 0u32;
                for (len, hash) in &hashes[turn] {
                    let end = start + *len as usize;
                    same += u32::from(xxh3_128_with_seed(black_box(&body[start..end]), 7) == *hash);
                    start = end;
                }
                same
            });
        });
    }
    group.finish();
}

criterion_group!(benches, scrapes, position);
criterion_main!(benches);
