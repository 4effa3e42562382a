//! What stages count: drops by reason, custom metrics, waiting, and reports.

mod support;

use prometheus_client::{encoding::text::encode, registry::Registry};
use stages::{Entry, Fate, Pipeline, StageMetrics};
use support::{SECOND, START_NS, config};

fn frozen() -> i64 {
    START_NS + 600 * SECOND
}

struct Run {
    registry: Registry,
    metrics: StageMetrics,
    pipeline: Pipeline,
}

impl Run {
    fn new(yaml: &str) -> Self {
        let mut registry = Registry::default();
        let metrics = StageMetrics::with_clock(&mut registry, frozen);
        let pipeline = Pipeline::new(&config(yaml), "job", &metrics).unwrap();
        Self { registry, metrics, pipeline }
    }

    fn line(&mut self, labels: &str, line: &str, seconds: i64) -> usize {
        let now_ns = START_NS + seconds * SECOND;
        let mut count = 0;
        self.pipeline.process(Entry::new(support::labels(labels).0, now_ns, line), now_ns, &mut |_| count += 1);
        count
    }

    fn page(&self) -> String {
        let mut page = String::new();
        encode(&mut page, &self.registry).unwrap();
        page
    }

    #[track_caller]
    fn serves(&self, line: &str) {
        let page = self.page();
        assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
    }
}

#[test]
fn drops_are_counted_by_reason() {
    let mut run = Run::new(
        "- drop: {expression: a}\n- drop: {expression: b, drop_counter_reason: bees}\n\
         - match: {selector: '{} |= \"c\"', action: drop}\n- json: {expressions: {x: }, drop_malformed: true}\n\
         - limit: {rate: 1, burst: 1, drop: true}\n- sampling: {rate: 0}",
    );
    for line in ["a", "a", "b", "c", "not json", "{}", "{}"] {
        assert_eq!(run.line("{}", line, 0), 0);
    }
    for (reason, count) in [
        ("drop_stage", 2),
        ("bees", 1),
        ("match_stage", 1),
        ("malformed_json", 1),
        ("ratelimit_drop_stage", 1),
        ("sampling_stage", 1),
    ] {
        run.serves(&format!("logentry_dropped_lines_total{{reason=\"{reason}\"}} {count}"));
    }
}

#[test]
fn custom_metrics_keep_their_exact_names_and_labels() {
    let mut run = Run::new(
        "- logfmt: {mapping: {took: , lvl: , ok: }}\n- metrics:\n\
         \x20   lines_total: {type: Counter, description: lines, config: {match_all: true, action: inc}}\n\
         \x20   bytes_total: {type: counter, config: {match_all: true, count_entry_bytes: true, action: add}}\n\
         \x20   bad_words: {type: counter, source: ok, config: {value: 'no', action: inc}}\n\
         \x20   level: {type: gauge, source: lvl, prefix: my_, config: {action: set}}\n\
         \x20   took_seconds: {type: histogram, source: took, config: {buckets: [0.1, 1]}}",
    );
    run.line("{app=\"a\", __tenant_id__=\"t\"}", "took=250ms lvl=4 ok=no", 590);
    run.line("{app=\"a\"}", "took=5s lvl=2.5 ok=yes", 591);
    run.line("{app=\"a\"}", "took=never lvl=many", 592);
    run.serves("promtail_custom_lines_total{app=\"a\"} 3.0");
    run.serves("# HELP promtail_custom_lines lines");
    run.serves("# HELP promtail_custom_bad_words Made of log lines by a metrics stage");
    run.serves("promtail_custom_bytes_total{app=\"a\"} 63.0");
    run.serves("promtail_custom_bad_words{app=\"a\"} 1.0");
    run.serves("my_level{app=\"a\"} 2.5");
    run.serves("promtail_custom_took_seconds_bucket{le=\"1.0\",app=\"a\"} 1");
    run.serves("promtail_custom_took_seconds_sum{app=\"a\"} 5.25");
}

#[test]
fn idle_series_and_pipelines_that_are_gone_are_not_served() {
    let yaml =
        "- metrics: {seen_total: {type: counter, max_idle_duration: 1m, config: {match_all: true, action: inc}}}";
    let mut run = Run::new(yaml);
    run.line("{app=\"old\"}", "x", 530);
    run.line("{app=\"young\"}", "x", 550);
    let page = run.page();
    assert!(page.contains("young") && !page.contains("old"), "{page}");
    // A second pipeline of the same definition shares the name.
    let other = |run: &Run, yaml: &str| {
        let mut other = Pipeline::new(&config(yaml), "other", &run.metrics).unwrap();
        let labels = support::labels("{app=\"young\"}").0;
        other.process(Entry::new(labels, 0, "x"), START_NS + 550 * SECOND, &mut |_| ());
        other
    };
    let same = other(&run, yaml);
    run.serves("promtail_custom_seen_total{app=\"young\"} 2.0");
    // One that defines it differently, as after a reload, is served alone.
    let gauge = other(&run, "- metrics: {seen_total: {type: gauge, source: app, config: {action: dec}}}");
    run.serves("promtail_custom_seen_total{app=\"young\"} -1.0");
    drop(gauge);
    run.serves("promtail_custom_seen_total{app=\"young\"} 2.0");
    drop(same);
    run.serves("promtail_custom_seen_total{app=\"young\"} 1.0");
    run.pipeline = Pipeline::new(&config("[]"), "job", &run.metrics).unwrap();
    assert!(!run.page().contains("promtail_custom_seen"));
}

#[test]
fn a_limit_without_drop_asks_the_source_to_wait() {
    let mut run = Run::new("- limit: {rate: 2, burst: 2}");
    for _ in 0..2 {
        assert_eq!(run.line("{}", "x", 0), 1);
        assert_eq!(run.pipeline.hold_until(), None);
    }
    assert_eq!(run.line("{}", "x", 0), 1);
    assert_eq!(run.pipeline.hold_until(), Some(START_NS + SECOND / 2));
    assert_eq!(run.line("{}", "x", 0), 1);
    assert_eq!(run.pipeline.hold_until(), Some(START_NS + SECOND));
    // Two seconds later the debt is paid.
    assert_eq!(run.line("{}", "x", 2), 1);
    assert_eq!(run.pipeline.hold_until(), None);
}

#[test]
fn a_limit_by_label_counts_drops_by_label() {
    let mut run = Run::new("- limit: {rate: 1, burst: 1, drop: true, by_label_name: ns}");
    let passed: Vec<usize> =
        ["{ns=\"a\"}", "{ns=\"a\"}", "{ns=\"b\"}", "{}", "{}"].iter().map(|l| run.line(l, "x", 0)).collect();
    assert_eq!(passed, [1, 0, 1, 1, 1]);
    run.serves("logentry_dropped_lines_by_label_total{label_name=\"ns\",label_value=\"a\"} 1");
}

#[test]
fn sampling_keeps_about_its_share() {
    let mut run = Run::new("- sampling: {rate: 0.25}");
    let kept: usize = (0..20_000).map(|_| run.line("{}", "x", 0)).sum();
    // Twenty standard deviations to each side.
    assert!((3_700..6_300).contains(&kept), "{kept}");
}

#[test]
fn reports_tell_what_each_stage_did() {
    let mut run = Run::new(
        "- json: {expressions: {level: , msg: }}\n- labels: {level: }\n\
         - match:\n    selector: '{level=\"info\"}'\n    stages:\n    - output: {source: msg}\n\
         - match: {selector: '{level=\"debug\"}', action: drop}\n- multiline: {firstline: '^S'}",
    );
    let labels = support::labels("{job=\"j\"}").0;
    let reports =
        run.pipeline.explain(Entry::new(labels.clone(), START_NS, r#"{"level":"info","msg":"Start"}"#), START_NS);
    let told: Vec<(&str, &Fate)> = reports.iter().map(|r| (r.path.as_str(), &r.fate)).collect();
    assert_eq!(
        told,
        [
            ("pipeline_stages[0].json", &Fate::Passed),
            ("pipeline_stages[1].labels", &Fate::Passed),
            ("pipeline_stages[2].match", &Fate::Entered),
            ("pipeline_stages[2].match.stages[0].output", &Fate::Passed),
            ("pipeline_stages[3].match", &Fate::NotMatched),
            ("pipeline_stages[4].multiline", &Fate::Held),
        ]
    );
    assert_eq!(reports[0].before.extracted, [("job".to_owned(), Some("j".to_owned()))]);
    assert_eq!(reports[0].after[0].extracted.len(), 3);
    assert_eq!(reports[1].after[0].labels.len(), 2);
    assert_eq!((reports[3].before.line.len(), reports[3].after[0].line.as_str()), (30, "Start"));
    assert!(reports[5].after.is_empty());

    let reports = run.pipeline.explain(Entry::new(labels, START_NS, r#"{"level":"debug"}"#), START_NS);
    assert_eq!(reports.last().unwrap().fate, Fate::Dropped { reason: "match_stage".into() });
}

#[test]
fn deadlines_tell_when_to_flush() {
    let mut run = Run::new("- multiline: {firstline: '^S', max_wait_time: 3s}");
    assert_eq!(run.pipeline.deadline(), None);
    run.line("{}", "S", 0);
    assert_eq!(run.pipeline.deadline(), Some(START_NS + 3 * SECOND));
    run.line("{}", "x", 2);
    // A deadline may be early, never late: flushing then does nothing but find the next one.
    let mut out = 0;
    run.pipeline.flush(START_NS + 3 * SECOND, &mut |_| out += 1);
    assert_eq!((out, run.pipeline.deadline()), (0, Some(START_NS + 5 * SECOND)));
    run.pipeline.flush(START_NS + 5 * SECOND, &mut |_| out += 1);
    assert_eq!((out, run.pipeline.deadline()), (1, None));
}

#[test]
fn no_stages_leave_a_line_alone() {
    let mut pipeline = support::pipeline("[]").unwrap();
    assert!(pipeline.is_empty());
    let mut out = None;
    pipeline.process(Entry::new(support::labels("{a=\"1\"}").0, 7, "x"), 9, &mut |entry| out = Some(entry));
    let entry = out.unwrap();
    assert_eq!((entry.line.as_str(), entry.timestamp_ns, entry.extracted.is_empty()), ("x", 7, true));
}

#[test]
fn a_pipeline_can_move_between_threads() {
    let pipeline = support::pipeline("- template: {source: a, template: x}\n- multiline: {firstline: x}").unwrap();
    let job = std::thread::spawn(move || pipeline.job_name().to_owned()).join().unwrap();
    assert_eq!(job, "job");
}

#[test]
fn lines_of_a_tenant_are_counted_with_all_others() {
    let mut run = Run::new("- metrics: {n_total: {type: counter, config: {match_all: true, action: inc}}}");
    run.line("{app=\"a\", __tenant_id__=\"t\"}", "x", 590);
    run.line("{app=\"a\"}", "x", 590);
    run.serves("promtail_custom_n_total{app=\"a\"} 2.0");
}
