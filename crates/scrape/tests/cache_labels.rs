//! Target labels, relabelling, limits, report series and descriptions.

mod cache_support;

use std::sync::Arc;

use cache_support::{Target, at, config, stale};
use model::Labels;
use relabel::{Action, Rule, RuleSource};
use scrape::{CacheConfig, IngestFault, Limits};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

fn rules(sources: Vec<RuleSource>) -> Arc<[Rule]> {
    sources.into_iter().map(|source| Rule::new(source).expect("a right rule")).collect()
}

fn with_job(honor_labels: bool) -> CacheConfig {
    let target_labels = labels(&[("job", "j"), ("instance", "i"), ("__meta_x", "hidden")]);
    CacheConfig { honor_labels, target_labels, ..config() }
}

#[test]
fn target_labels_win_and_what_they_displace_is_exported() {
    let mut target = Target::new(with_job(false));
    let body = "a{job=\"x\",exported_job=\"y\"} 1\nb{instance=\"\"} 2\nc{exported_exported_job=\"z\",job=\"w\"} 3\n";
    let expected = [
        ("a{exported_exported_job=\"x\",exported_job=\"y\",instance=\"i\",job=\"j\"}", 1.0),
        ("b{instance=\"i\",job=\"j\"}", 2.0),
        ("c{exported_exported_job=\"z\",exported_job=\"w\",instance=\"i\",job=\"j\"}", 3.0),
    ];
    for ts in [10, 20] {
        assert_eq!(target.samples(body, ts), at(ts, &expected));
    }
}

#[test]
fn honor_labels_keeps_what_is_exposed_even_if_empty() {
    let mut target = Target::new(with_job(true));
    let body = "a{job=\"x\"} 1\nb{instance=\"\"} 2\n";
    assert_eq!(target.samples(body, 10), at(10, &[("a{instance=\"i\",job=\"x\"}", 1.0), ("b{job=\"j\"}", 2.0)]));
}

#[test]
fn dropped_series_are_counted_as_scraped_and_stay_dropped() {
    let drop = RuleSource {
        action: Action::Drop,
        source_labels: vec!["__name__".into()],
        regex: "go_.*".into(),
        ..RuleSource::default()
    };
    let mut target = Target::new(CacheConfig { metric_relabel: rules(vec![drop]), ..config() });
    for ts in [10, 20, 30] {
        let (outcome, samples) = target.scrape("go_a 1\nx 2\ngo_b{c=\"d\"} 3\n", ts);
        let counts = outcome.expect("right");
        assert_eq!((counts.scraped, counts.post_relabel), (3, 1));
        assert_eq!(samples, at(ts, &[("x{}", 2.0)]));
    }
    assert!(target.scrape("go_a one\n", 40).0.is_err(), "the value of a dropped series must be a number too");
}

#[test]
fn series_that_relabelling_makes_equal_are_repeats() {
    let forget = RuleSource { action: Action::LabelDrop, regex: "id".into(), ..RuleSource::default() };
    let mut target = Target::new(CacheConfig { metric_relabel: rules(vec![forget]), ..config() });
    for ts in [10, 20] {
        let (outcome, samples) = target.scrape("a{id=\"1\"} 1\na{id=\"2\"} 2\n", ts);
        let counts = outcome.expect("right");
        assert_eq!((counts.post_relabel, counts.duplicates), (2, 1));
        assert_eq!(samples, at(ts, &[("a{}", 1.0)]));
    }
    assert_eq!(target.samples("a{id=\"2\"} 2\n", 30), at(30, &[("a{}", 2.0)]));
}

#[test]
fn a_series_without_a_name_fails_the_scrape() {
    let forget = RuleSource { action: Action::LabelDrop, regex: "__name__".into(), ..RuleSource::default() };
    let mut target = Target::new(CacheConfig { metric_relabel: rules(vec![forget]), ..config() });
    let error = target.scrape("a{b=\"c\"} 1\n", 10).0.expect_err("no name");
    assert!(matches!(error.fault, IngestFault::NoName { .. }), "{error}");
}

#[test]
fn the_sample_limit_counts_what_relabelling_left_over() {
    let drop = RuleSource {
        action: Action::Drop,
        source_labels: vec!["__name__".into()],
        regex: "go_.*".into(),
        ..RuleSource::default()
    };
    let limits = Limits { samples: 2, ..Limits::default() };
    let mut target = Target::new(CacheConfig { limits, metric_relabel: rules(vec![drop]), ..config() });
    let two = "a 1\ngo_x 1\nb 1\na 7\n";
    assert_eq!(target.samples(two, 10), at(10, &[("a{}", 1.0), ("b{}", 1.0)]));
    let (outcome, samples) = target.scrape("a 1\ngo_x 1\nb 1\nc 1\nd 1\n", 20);
    let error = outcome.expect_err("too many");
    assert!(matches!(error.fault, IngestFault::SampleLimit { found: 4, limit: 2 }), "{error}");
    assert_eq!((error.counts.scraped, error.counts.post_relabel), (5, 4));
    assert_eq!(samples, at(20, &[("a{}", stale()), ("b{}", stale())]));
    assert_eq!(target.samples(two, 30), at(30, &[("a{}", 1.0), ("b{}", 1.0)]));
    let known = Limits { samples: 1, ..Limits::default() };
    let mut target = Target::new(CacheConfig { limits: known, ..config() });
    for ts in [10, 20] {
        assert!(target.scrape("a 1\nb 2\n", ts).0.is_err());
    }
}

#[test]
fn label_limits_are_checked_on_the_final_labels() {
    for (limits, body, fails) in [
        (Limits { labels: 4, ..Limits::default() }, "a{x=\"1\"} 1\n", false),
        (Limits { labels: 3, ..Limits::default() }, "a{x=\"1\"} 1\n", true),
        (Limits { label_name_length: 8, ..Limits::default() }, "a{long_name=\"1\"} 1\n", true),
        (Limits { label_name_length: 9, ..Limits::default() }, "a{long_name=\"1\"} 1\n", false),
        (Limits { label_value_length: 3, ..Limits::default() }, "name 1\n", true),
        (Limits { label_value_length: 4, ..Limits::default() }, "name 1\n", false),
    ] {
        let mut target = Target::new(CacheConfig { limits, ..with_job(false) });
        assert_eq!(target.scrape(body, 1).0.is_err(), fails, "{limits:?} {body}");
    }
}

#[test]
fn report_series_carry_target_labels_and_escape_rules_and_limits() {
    let drop = RuleSource {
        action: Action::Drop,
        source_labels: vec!["__name__".into()],
        regex: ".*".into(),
        ..RuleSource::default()
    };
    let limits = Limits { samples: 1, labels: 1, ..Limits::default() };
    let mut target = Target::new(CacheConfig { limits, metric_relabel: rules(vec![drop]), ..with_job(true) });
    target.ingest("a 1\n", 10).expect("right");
    let samples = target.batch(&[("up", 1.0), ("scrape_samples_scraped", 1.0)]);
    let expected = [("scrape_samples_scraped{instance=\"i\",job=\"j\"}", 1.0), ("up{instance=\"i\",job=\"j\"}", 1.0)];
    assert_eq!(samples, at(10, &expected));
    target.cache.fail(20);
    let samples = target.batch(&[("up", 0.0)]);
    assert_eq!(samples, at(20, &[("up{instance=\"i\",job=\"j\"}", 0.0)]));
}

#[test]
fn a_changed_description_reaches_the_table() {
    let mut target = Target::plain();
    let body = |help: &str| format!("# HELP a {help}\n# TYPE a gauge\na{{x=\"1\"}} 1\na{{x=\"2\"}} 2\nb 1\n");
    target.samples(body("old"), 10);
    target.samples(body("old"), 20);
    assert_eq!(target.families()[0].1, "a gauge \"old\" \"\"");
    let samples = target.samples(body("new"), 30);
    assert_eq!(samples.len(), 3, "no series ends for it");
    let families = target.families();
    assert_eq!(families[0].1, "a gauge \"new\" \"\"");
    assert_eq!(families[1].1, "a gauge \"new\" \"\"");
    assert_eq!(families[2].1, " unknown \"\" \"\"");
    target.scrape(format!("{}broken\n", body("broken")), 40).0.expect_err("malformed");
    target.samples(body("new"), 50);
    assert_eq!(target.families()[0].1, "a gauge \"new\" \"\"");
    target.scrape(format!("{}broken\n", body("third")), 55).0.expect_err("malformed");
    target.samples(body("third"), 56);
    assert_eq!(target.families()[0].1, "a gauge \"third\" \"\"", "the refused body changed nothing");
    target.samples("a{x=\"1\"} 1\na{x=\"2\"} 2\nb 1\n", 60);
    assert_eq!(target.families()[0].1, " unknown \"\" \"\"");
    target.samples(format!("{}# TYPE a counter\na{{x=\"3\"}} 1\n", body("new")), 70);
    let families = target.families();
    assert!(
        families[..3].iter().all(|(_, family)| family == "a counter \"new\" \"\""),
        "the last word counts: {families:?}"
    );
}

#[test]
fn without_a_sample_limit_a_body_has_a_million_samples_at_most_and_a_small_body_as_many_as_it_holds() {
    let body = |count: usize| (0..count).map(|at| format!("a{at} 1\n")).collect::<String>();
    let ingest = |limits, body: &str| Target::new(CacheConfig { limits, ..config() }).ingest(body, 0);
    let error = ingest(Limits::default(), &body((1 << 20) + 1)).unwrap_err();
    assert!(matches!(error.fault, IngestFault::TooManySamples { found: 1_048_577, limit: 1_048_576 }), "{error}");
    let few = body(20);
    let small = Limits { body_size: few.len() as u64, ..Limits::default() };
    for limits in [small, Limits { samples: 20, ..small }, Limits::default()] {
        assert_eq!(ingest(limits, &few).unwrap().scraped, 20, "{limits:?}");
    }
    assert!(matches!(
        ingest(Limits { samples: 19, ..small }, &few).unwrap_err().fault,
        IngestFault::SampleLimit { .. }
    ));
}

#[test]
fn a_series_with_more_labels_than_a_table_takes_is_refused() {
    let labels = |count: usize| (0..count).map(|at| format!("l{at}=\"v\",")).collect::<String>();
    let error = Target::plain().ingest(format!("a{{{}}} 1\n", labels(65_537)), 0).unwrap_err();
    assert!(error.to_string().contains("more than 65536 labels"), "{error}");
    assert_eq!(Target::plain().ingest(format!("a{{{}}} 1\n", labels(10_000)), 0).unwrap().scraped, 1);
}
