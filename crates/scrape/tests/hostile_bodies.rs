//! What a body that means harm costs in memory: never more than a small multiple of its own size. Alone in its process,
//! whose allocator counts.

mod cache_support;

use std::{alloc::System, fmt::Write};

use cache_support::config;
use scrape::{Format, ScrapeCache};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Characters that do not compress, from a fixed seed.
fn noise(length: usize, mut seed: u64) -> String {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let _ = write!(text, "{:08x}", seed >> 32);
    }
    text.truncate(length);
    text
}

struct Cost {
    /// All that was asked of the allocator, kept or not, a multiple of the body.
    asked: f64,
    /// What the cache holds after, a multiple of the body.
    held: f64,
}

fn cost(what: &str, bodies: &[String]) -> Cost {
    let mut cache = ScrapeCache::new(7, config());
    let size = bodies.iter().map(String::len).sum::<usize>() as f64;
    let region = Region::new(COUNTING);
    for (body, round) in bodies.iter().zip(0..) {
        if let Err(error) = cache.ingest(body.as_bytes(), Format::Text004, round * 15_000) {
            println!("{what}: {error}");
            cache.fail(round * 15_000);
        }
    }
    let change = region.change();
    let cost = Cost { asked: change.bytes_allocated as f64 / size, held: cache.heap_bytes() as f64 / size };
    println!("{what}: {size} bytes, asked for {:.1} times as much, held {:.1} times", cost.asked, cost.held);
    cost
}

#[test]
fn no_body_costs_more_than_a_small_multiple_of_itself() {
    let mut shapes: Vec<(&str, Vec<String>)> = Vec::new();
    // A long description, and members of the family in turn.
    let mut text = format!("# HELP h {}\n# TYPE h histogram\n", noise(200_000, 1));
    for at in 0..20_000 {
        let _ = writeln!(text, "h_{}{{a=\"{at}\"}} 1", if at % 2 == 0 { "sum" } else { "count" });
    }
    shapes.push(("a long help of a family of many", vec![text]));
    // The shortest series there are.
    let text: String = (0..100_000).fold(String::new(), |mut text, at| {
        let _ = writeln!(text, "a{at:x} 1");
        text
    });
    shapes.push(("many short series", vec![text]));
    // As many labels as there is place for.
    let labels: String = (0..60_000).fold(String::new(), |mut text, at| {
        let _ = write!(text, "l{at:x}=\"\u{1}\",");
        text
    });
    shapes.push(("one series of many labels", vec![format!("a{{{labels}}} 1\n")]));
    shapes.push(("a label of a megabyte", vec![format!("a{{b=\"{}\"}} 1\n", noise(1 << 20, 2))]));
    let families: String = (0..20_000).fold(String::new(), |mut text, at| {
        let _ = writeln!(text, "# HELP f{at:x} {at:x}\n# TYPE f{at:x} gauge");
        text
    });
    shapes.push(("families without series", vec![families]));
    // Everything is new each time.
    let churn = (0..10).map(|round| {
        (0..10_000).fold(String::new(), |mut text, at| {
            let _ = writeln!(text, "a{round}_{at:x} 1");
            text
        })
    });
    shapes.push(("other series each time", churn.collect()));
    let text: String = (0..50_000).fold(String::new(), |mut text, at| {
        let _ = writeln!(text, "a 1 {}", 1000 + at);
        text
    });
    shapes.push(("one series at many times", vec![text]));
    for (what, bodies) in shapes {
        let cost = cost(what, &bodies);
        assert!(cost.asked < 200.0 && cost.held < 10.0, "{what}");
    }
}
