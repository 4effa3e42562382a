//! Several sources of one job: what they share, and what each can say of its held lines.

mod support;

use prometheus_client::{encoding::text::encode, registry::Registry};
use stages::{Entry, Parts, Pipeline, StageMetrics};
use support::{SECOND, START_NS, config};

fn lines(pipeline: &mut Pipeline, labels: &str, text: &str, at: u64, now_ns: i64) -> Vec<(String, Vec<(u64, u64)>)> {
    let mut entry = Entry::new(support::labels(labels).0, now_ns, text);
    entry.parts = Parts::of(at..at + text.len() as u64 + 1);
    let mut out = Vec::new();
    pipeline.process(entry, now_ns, &mut |entry| out.push(entry));
    out.into_iter().map(|entry| (entry.line, entry.parts.iter().map(|p| (p.start, p.end)).collect())).collect()
}

fn held(pipeline: &Pipeline) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    pipeline.held(|part| all.push((part.start, part.end)));
    all.sort_unstable();
    all
}

#[test]
fn held_lines_tell_where_they_lie_until_they_come_out() {
    let mut pipeline =
        support::pipeline("- match: {selector: '{}', stages: [{multiline: {firstline: '^S'}}]}").unwrap();
    assert_eq!(lines(&mut pipeline, "{s=\"1\"}", "S1", 0, START_NS), []);
    assert_eq!(lines(&mut pipeline, "{s=\"2\"}", "S2", 3, START_NS), []);
    assert_eq!(lines(&mut pipeline, "{s=\"1\"}", "one", 6, START_NS), []);
    assert_eq!(held(&pipeline), [(0, 3), (3, 6), (6, 10)]);
    let out = lines(&mut pipeline, "{s=\"1\"}", "S3", 10, START_NS);
    assert_eq!(out, [("S1\none".to_owned(), vec![(0, 3), (6, 10)])]);
    assert_eq!(held(&pipeline), [(3, 6), (10, 13)]);
    let mut out = 0;
    pipeline.finish(START_NS, &mut |_| out += 1);
    assert_eq!((out, held(&pipeline)), (2, vec![]));
}

#[test]
fn unfinished_container_lines_are_held_with_all_their_parts() {
    let mut pipeline = support::pipeline("- cri: {}").unwrap();
    let cri = |flag: &str, text: &str| format!("2024-01-01T00:00:00Z stdout {flag} {text}");
    let (a, b) = (cri("P", "one "), cri("P", "two "));
    let end = a.len() as u64 + b.len() as u64 + 2;
    assert_eq!(lines(&mut pipeline, "{}", &a, 0, START_NS), []);
    assert_eq!(lines(&mut pipeline, "{}", &b, a.len() as u64 + 1, START_NS), []);
    assert_eq!(held(&pipeline), [(0, end)]);
    let out = lines(&mut pipeline, "{}", &cri("F", "three"), end, START_NS);
    assert_eq!((out[0].0.as_str(), out[0].1.len()), ("one two three", 1));
    assert_eq!(held(&pipeline), []);
}

#[test]
fn sources_share_rates_and_metrics_but_not_blocks() {
    let mut registry = Registry::default();
    let metrics = StageMetrics::with_clock(&mut registry, || START_NS + SECOND).of_instance("default");
    let yaml = "- multiline: {firstline: '^S'}\n- limit: {rate: 1, burst: 2, drop: true}\n\
                - metrics: {all_total: {type: counter, config: {match_all: true, action: inc}}}";
    let job = Pipeline::new(&config(yaml), "job", &metrics).unwrap();
    let (mut one, mut two) = (job.twin(), job.twin());
    let labels = "{app=\"a\"}";
    for (first, text) in [(true, "S1"), (false, "S2"), (false, "two"), (true, "one")] {
        let pipeline = if first { &mut one } else { &mut two };
        assert_eq!(lines(pipeline, labels, text, 0, START_NS), []);
    }
    assert_eq!(lines(&mut one, labels, "S3", 0, START_NS)[0].0, "S1\none");
    assert_eq!(lines(&mut two, labels, "S4", 0, START_NS)[0].0, "S2\ntwo");
    // The burst is used up by both together.
    assert_eq!(lines(&mut one, labels, "S5", 0, START_NS + SECOND / 10), []);
    drop((one, two));
    let mut page = String::new();
    encode(&mut page, &registry).unwrap();
    for line in [
        "promtail_custom_all_total{app=\"a\",logs_config=\"default\"} 2.0",
        "logentry_dropped_lines_total{logs_config=\"default\",reason=\"ratelimit_drop_stage\"} 1",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
    }
}
