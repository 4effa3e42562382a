//! In its steady state a scrape allocates nothing for a sample: whatever the number of samples, the count is the same.
//! Alone in its process, whose allocator counts.

mod cache_support;

use std::{alloc::System, fmt::Write};

use cache_support::config;
use scrape::{Format, ScrapeCache};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 64;

/// Counters, gauges and constants with their comments, in families of twenty; in OpenMetrics with exemplars.
fn body(series: usize, round: usize, open_metrics: bool) -> String {
    let mut text = String::new();
    for at in 0..series {
        if at % 20 == 0 {
            let _ = writeln!(text, "# HELP family_{} What it counts.\n# TYPE family_{} gauge", at / 20, at / 20);
        }
        let value = match at % 4 {
            0 => format!("{at}"),
            1 => format!("{}", at * 1000 + round * (at % 97)),
            2 => format!("{:.2}", (at * 13 + round * 7) as f64 / 100.0),
            _ => format!("{:e}", (at * 1_000_003 + round * 1_457) as f64),
        };
        let exemplar =
            if open_metrics && at % 2 == 0 { format!(" # {{trace_id=\"{at:016x}\"}} 1") } else { String::new() };
        let _ =
            writeln!(text, "family_{}{{pod=\"cart-{:04x}\",device=\"eth{}\"}} {value}{exemplar}", at / 20, at, at % 3);
    }
    if open_metrics {
        text.push_str("# EOF\n");
    }
    text
}

/// Allocations and reallocations in each of the last rounds, of reading the body and of making the batch's bytes.
fn counts(series: usize, format: Format) -> Vec<(usize, usize)> {
    let bodies: Vec<String> = (0..ROUNDS).map(|round| body(series, round, format == Format::OpenMetrics1)).collect();
    let mut cache = ScrapeCache::new(7, config());
    let report = [("up", 1.0), ("scrape_duration_seconds", 0.01), ("scrape_samples_scraped", series as f64)];
    let mut payload = Vec::with_capacity(64 + series * 12);
    let mut counts = Vec::with_capacity(ROUNDS);
    for (round, body) in bodies.iter().enumerate() {
        let region = Region::new(COUNTING);
        let counted = cache.ingest(body.as_bytes(), format, 15_000 * round as i64).map(|counts| counts.scraped);
        let read = region.change();
        assert_eq!(counted, Ok(series as u32));
        payload.clear();
        let region = Region::new(COUNTING);
        cache.batch(&report).encode(&mut payload);
        let written = region.change();
        counts.push((read.allocations + read.reallocations, written.allocations + written.reallocations));
    }
    // The first rounds make lines, tables and bases.
    counts.split_off(ROUNDS / 2)
}

#[test]
fn a_steady_scrape_allocates_the_same_few_times_whatever_the_number_of_samples() {
    // The list of comments and, where there are exemplars, scratch for one; the batch's list of chunks.
    for (format, expected) in [(Format::Text004, (1, 1)), (Format::OpenMetrics1, (4, 1))] {
        for series in [50, 500, 5_000, 20_000] {
            assert_eq!(counts(series, format), vec![expected; ROUNDS / 2], "{format:?}, {series} series");
        }
    }
}
