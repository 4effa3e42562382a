//! Markers, timestamps, repeats and counts, as Prometheus' scrape loop has them.

mod cache_support;

use cache_support::{STALE, Target, at, config, stale};
use scrape::CacheConfig;

#[test]
fn a_series_that_vanishes_is_marked_once_with_the_time_of_that_scrape() {
    let mut target = Target::plain();
    assert_eq!(target.samples("a 1\nb 2\nc 3\n", 10), at(10, &[("a{}", 1.0), ("b{}", 2.0), ("c{}", 3.0)]));
    assert_eq!(target.samples("a 1\nc 4\n", 20), at(20, &[("a{}", 1.0), ("b{}", stale()), ("c{}", 4.0)]));
    assert_eq!(target.samples("a 1\nc 4\n", 30), at(30, &[("a{}", 1.0), ("c{}", 4.0)]));
    assert_eq!(target.samples("b 5\na 1\nc 4\n", 40), at(40, &[("a{}", 1.0), ("b{}", 5.0), ("c{}", 4.0)]));
}

#[test]
fn a_failed_scrape_marks_the_series_of_the_last_good_one_once() {
    let mut target = Target::plain();
    target.samples("a 1\nb 2\n", 10);
    target.samples("a 1\n", 20);
    target.cache.fail(30);
    assert_eq!(target.batch(&[("up", 0.0)]), at(30, &[("a{}", stale()), ("up{}", 0.0)]));
    target.cache.fail(40);
    assert_eq!(target.batch(&[("up", 0.0)]), at(40, &[("up{}", 0.0)]));
    assert_eq!(target.samples("a 2\n", 50), at(50, &[("a{}", 2.0)]));
}

#[test]
fn a_malformed_body_is_a_failed_scrape_and_leaves_nothing_behind() {
    let mut target = Target::plain();
    target.samples("a 1\nb 2\n", 10);
    let (outcome, samples) = target.scrape("b 3\nnew 1\nnewer{x=\"y\"} 2\na 2\nbroken\nc 1\n", 20);
    let counts = outcome.expect_err("broken").counts;
    assert_eq!((counts.scraped, counts.post_relabel, counts.added), (4, 4, 2));
    assert_eq!(samples, at(20, &[("a{}", stale()), ("b{}", stale())]));
    let heap = target.cache.heap_bytes();
    for round in 0..50 {
        let body = format!("x{round} 1\ny{round}{{a=\"b\"}} 1\na 1\nbroken\n");
        assert_eq!(target.scrape(body, 30 + round).1, []);
    }
    assert!(target.cache.heap_bytes() <= heap + 4096, "{heap} grew to {}", target.cache.heap_bytes());
    let (outcome, samples) = target.scrape("a 5\nb 6\nnew 7\n", 100);
    let counts = outcome.expect("right");
    assert_eq!((counts.scraped, counts.post_relabel, counts.added), (3, 3, 1), "a and b are known from before");
    assert_eq!(samples, at(100, &[("a{}", 5.0), ("b{}", 6.0), ("new{}", 7.0)]));
}

#[test]
fn series_with_timestamps_of_their_own_get_no_marker() {
    let mut target = Target::plain();
    let samples = target.samples("a 1 5\nb 2\n", 10);
    assert_eq!(samples, [at(5, &[("a{}", 1.0)]), at(10, &[("b{}", 2.0)])].concat());
    assert_eq!(target.samples("c 1\n", 20), at(20, &[("b{}", stale()), ("c{}", 1.0)]));
    target.samples("a 1 5\nb 2\n", 30);
    target.cache.fail(40);
    assert_eq!(target.batch(&[]), at(40, &[("b{}", stale())]));
}

#[test]
fn track_timestamps_staleness_marks_them_all_the_same() {
    let mut target = Target::new(CacheConfig { track_timestamps_staleness: true, ..config() });
    target.samples("a 1 5\n", 10);
    assert_eq!(target.samples("b 1\n", 20), at(20, &[("a{}", stale()), ("b{}", 1.0)]));
}

#[test]
fn honor_timestamps_off_ignores_them() {
    let mut target = Target::new(CacheConfig { honor_timestamps: false, ..config() });
    assert_eq!(target.samples("a 1 5\n", 10), at(10, &[("a{}", 1.0)]));
    assert_eq!(target.samples("b 1\n", 20), at(20, &[("a{}", stale()), ("b{}", 1.0)]));
}

#[test]
fn a_series_that_turns_to_timestamps_ends_under_the_scrapes_time() {
    let mut target = Target::plain();
    target.samples("a 1\n", 10);
    let samples = target.samples("a 2 15\n", 20);
    assert_eq!(samples, [at(15, &[("a{}", 2.0)]), at(20, &[("a{}", stale())])].concat());
    assert_eq!(target.samples("a 3 25\n", 30), at(25, &[("a{}", 3.0)]));
}

#[test]
fn one_series_may_come_several_times_with_different_timestamps() {
    let mut target = Target::plain();
    for ts in [10, 20] {
        let (outcome, samples) =
            target.scrape("# TYPE a gauge\na 1 1\na 2 2\nb{x=\"y\"} 3 1\na 9 2\na 4 3\nb{x=\"y\"} 5 0\n", ts);
        let counts = outcome.expect("right");
        assert_eq!((counts.scraped, counts.post_relabel, counts.duplicates), (6, 6, 1));
        let values: Vec<_> = samples.iter().map(|(s, t, v)| (s.as_str(), *t, f64::from_bits(*v))).collect();
        assert_eq!(
            values,
            [("a{}", 1, 1.0), ("a{}", 2, 2.0), ("a{}", 3, 4.0), ("b{x=\"y\"}", 1, 3.0), ("b{x=\"y\"}", 0, 5.0),]
        );
    }
}

#[test]
fn more_repeats_than_a_table_takes_all_come() {
    let body: String = (0..1300).map(|time| format!("a{{k=\"v\"}} {time} {time}\n")).collect();
    let samples = Target::plain().samples(&body, 5000);
    assert_eq!(samples.len(), 1300);
    assert!(samples.iter().zip(0..).all(|((_, time, value), at)| *time == at && *value == (at as f64).to_bits()));
}

#[test]
fn of_repeats_at_one_time_the_first_counts() {
    let mut target = Target::plain();
    for ts in [10, 20] {
        let (outcome, samples) =
            target.scrape("a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 2\na{x=\"1\",y=\"2\"} 3\n", ts);
        let counts = outcome.expect("right");
        assert_eq!((counts.scraped, counts.post_relabel, counts.duplicates), (3, 3, 2));
        assert_eq!(counts.added, u32::from(ts == 10));
        assert_eq!(samples, at(ts, &[("a{x=\"1\",y=\"2\"}", 1.0)]));
    }
}

#[test]
fn a_sample_more_than_ten_minutes_ahead_is_left_out() {
    let mut target = Target::plain();
    let (outcome, samples) = target.scrape("a 1 600010\nb 2 600011\n", 10);
    assert_eq!(outcome.expect("right").out_of_bounds, 1);
    assert_eq!(samples, at(600_010, &[("a{}", 1.0)]));
}

#[test]
fn added_counts_series_that_the_last_good_scrape_did_not_have() {
    let mut target = Target::plain();
    let mut added = |body: &str, ts| target.scrape(body, ts).0.expect("right").added;
    assert_eq!(added("a 1\nb 1\n", 1), 2);
    assert_eq!(added("a 1\nb 1\n", 2), 0);
    assert_eq!(added("a 1\n", 3), 0);
    assert_eq!(added("a 1\nb 1\nc 1\n", 4), 2);
    assert_eq!(added("", 5), 0);
    assert_eq!(added("a 1\nb 1\nc 1\n", 6), 0, "an empty answer does not make it forget");
}

#[test]
fn an_empty_answer_marks_everything() {
    let mut target = Target::plain();
    target.samples("a 1\n", 10);
    assert_eq!(target.samples("", 20), at(20, &[("a{}", stale())]));
}

#[test]
fn the_end_of_a_target_marks_data_and_report_series() {
    let mut target = Target::plain();
    target.ingest("a 1\nb 2 5\n", 10).expect("right");
    let report = [("up", 1.0), ("scrape_duration_seconds", 0.25)];
    assert_eq!(target.batch(&report).len(), 4);
    target.cache.end(20);
    let samples = target.batch(&[]);
    assert_eq!(samples, at(20, &[("a{}", stale()), ("scrape_duration_seconds{}", stale()), ("up{}", stale())]));
}

#[test]
fn a_process_that_stops_marks_series_with_timestamps_of_their_own_as_well() {
    let mut target = Target::plain();
    target.samples("a 1\nb 2 5\nc 3 5\n", 10);
    target.samples("a 1\nb 2 15\n", 20);
    target.cache.stop(30);
    assert_eq!(target.batch(&[]), at(30, &[("a{}", stale()), ("b{}", stale())]));
    let mut target = Target::plain();
    target.samples("a 1\nb 2 5\n", 10);
    target.cache.fail(20);
    target.batch(&[]);
    target.scrape("b 1\nbroken\n", 25).0.expect_err("malformed");
    target.cache.stop(30);
    assert_eq!(target.batch(&[]), at(30, &[("b{}", stale())]), "a was marked by the failure");
}

#[test]
fn the_end_of_a_target_that_never_answered_is_silent() {
    let mut target = Target::plain();
    target.cache.end(20);
    assert_eq!(target.batch(&[]), []);
}

#[test]
fn a_refused_body_alone_writes_nothing() {
    let mut target = Target::plain();
    target.samples("a 1\n", 10);
    target.ingest("a\n", 20).expect_err("malformed");
    assert_eq!(target.batch(&[("up", 0.0)]), []);
    target.cache.fail(20);
    assert_eq!(target.batch(&[]), [("a{}".to_owned(), 20, STALE)]);
}

#[test]
fn a_name_that_begins_like_the_expected_one_is_another() {
    let mut target = Target::plain();
    target.samples("m 1\nn{a=\"b\"} 2\n", 10);
    let expected = [("m1{}", 5.0), ("m{}", stale()), ("n{a=\"b\"}", 7.0)];
    assert_eq!(target.samples("m1 5\nn{a=\"b\"}7\n", 20), at(20, &expected));
    let expected = [("m1{}", stale()), ("m{x=\"y\"}", 1.0), ("n{a=\"b\"}", stale())];
    assert_eq!(target.samples("m {x=\"y\"} 1\n", 30), at(30, &expected));
}
