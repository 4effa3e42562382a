//! What a line costs in the stages that most pipelines have. The entry is made anew each time, outside the measurement.

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use stages::Entry;
use support::START_NS;

const JSON: &str = r#"{"time":"2024-05-07T18:57:50.904275087Z","level":"info","msg":"request served","status":200,"path":"/api/v1/query","took":0.0231,"user":{"id":17,"name":"ann"}}"#;
const LOGFMT: &str =
    r#"time=2024-05-07T18:57:50.904275087Z level=info msg="request served" status=200 path=/api/v1/query took=23ms"#;
const ACCESS: &str =
    r#"10.0.0.17 - frank [25/Jan/2024:14:00:01 +0000] "GET /api/v1/query HTTP/1.1" 200 932 "-" "curl/8.5""#;
const CRI: &str = "2024-05-07T18:57:50.904275087Z stdout F request served path=/api/v1/query";

fn stages(c: &mut Criterion) {
    let cases = [
        ("none", "[]", JSON),
        ("json", "- json: {expressions: {level: , msg: , status: }}", JSON),
        ("json_labels", "- json: {expressions: {level: , user: user.name}}\n- labels: {level: , user: }", JSON),
        ("json_jmespath", "- json: {expressions: {level: , user: 'user.name || ''none'''}}", JSON),
        ("logfmt_labels", "- logfmt: {mapping: {level: , path: }}\n- labels: {level: }", LOGFMT),
        (
            "regex_labels",
            "- regex: {expression: '^(?P<ip>\\S+) \\S+ (?P<user>\\S+) \\[[^\\]]+\\] \"(?P<method>\\S+) (?P<path>\\S+)'}\n- labels: {method: }",
            ACCESS,
        ),
        ("json_timestamp", "- json: {expressions: {time: }}\n- timestamp: {source: time, format: RFC3339Nano}", JSON),
        ("cri", "- cri: {}", CRI),
        ("match_drop", "- match: {selector: '{job=\"app\"} |= \"served\" != \"query\"', action: drop}", JSON),
        ("template", "- template: {source: job, template: '{{ ToUpper .Value }}-x'}", JSON),
    ];
    let mut group = c.benchmark_group("stages");
    let labels = support::labels("{job=\"app\", filename=\"/var/log/app.log\", host=\"a1\"}").0;
    for (name, yaml, line) in cases {
        let mut pipeline = support::pipeline(yaml).unwrap();
        group.bench_function(name, |b| {
            b.iter_batched(
                || Entry::new(labels.clone(), START_NS, line),
                |entry| {
                    let mut out = None;
                    pipeline.process(entry, START_NS, &mut |entry| out = Some(entry));
                    out
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, stages);
criterion_main!(benches);
