//! How much a cache holds, and that it does not grow with time.

mod cache_support;

use std::fmt::Write;

use cache_support::Target;

/// A target like a node or container exporter: 2,000 series, about 110 bytes a line.
fn body(round: u64, generation: impl Fn(u64) -> u64) -> String {
    let mut text = String::new();
    for family in 0..40u64 {
        let _ = writeln!(text, "# HELP container_metric_{family}_total What the container did, of kind {family}.");
        let _ = writeln!(text, "# TYPE container_metric_{family}_total counter");
        for series in 0..50u64 {
            let pod = generation(series);
            let _ = writeln!(
                text,
                "container_metric_{family}_total{{namespace=\"shop\",pod=\"cart-{pod:08x}\",container=\"main\",device=\"d{}\"}} {}",
                series % 5,
                family * 1000 + series * 7 + round * (series % 11)
            );
        }
    }
    text
}

fn steady(target: &mut Target) -> usize {
    for round in 0..12 {
        target.samples(body(round, |series| series), round as i64);
    }
    target.cache.heap_bytes()
}

#[test]
fn an_active_series_costs_about_seventy_bytes() {
    let mut target = Target::plain();
    let bytes = steady(&mut target);
    let series = target.cache.series();
    assert_eq!(series, 2000);
    let each = bytes / series;
    println!("{each} bytes a series");
    assert!(each <= 75, "{each} bytes a series");
}

#[test]
fn columns_do_not_move_while_nothing_changes() {
    let mut target = Target::plain();
    steady(&mut target);
    let before = target.cache.heap_bytes();
    for round in 12..16 {
        target.ingest(body(round, |series| series), round as i64).expect("right");
        assert_eq!(target.cache.heap_bytes(), before, "no column, index or line was made");
    }
}

#[test]
fn churn_does_not_make_it_grow() {
    let mut target = Target::plain();
    let before = steady(&mut target);
    // Each round a pod or two of fifty are replaced, with their forty series each: all are new after fifty rounds.
    let mut peaks = [0; 2];
    for round in 0..200u64 {
        let text = body(round, |series| series + (round + series) / 50 * 1000);
        target.samples(text, 100 + round as i64);
        assert_eq!(target.cache.series(), 2000);
        let peak = &mut peaks[usize::from(round >= 100)];
        *peak = target.cache.heap_bytes().max(*peak);
    }
    // While series change the indexes are there as well, and up to a quarter of the slots and lines is dead.
    let [first, second] = peaks;
    assert!(first <= before * 11 / 4, "{before} grew to {first}");
    assert!(second <= first * 21 / 20, "{first} grew to {second}");
}
