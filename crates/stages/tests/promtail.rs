//! The corners of each stage, as Promtail's source and documentation have them. Our own data.

mod support;

use support::run;

#[test]
fn json_values_become_texts() {
    run(
        "scalars",
        "- json: {expressions: {f: , i: , b: , n: , s: , big: }}\n- labels: {f: , i: , b: , n: , s: , big: }",
        "in | {\"f\":1.50,\"i\":-7,\"b\":true,\"n\":null,\"s\":\"x\",\"big\":1e3}
         out {f=\"1.5\", i=\"-7\", b=\"true\", s=\"x\", big=\"1000\"} | {\"f\":1.50,\"i\":-7,\"b\":true,\"n\":null,\"s\":\"x\",\"big\":1e3}",
    );
    run(
        "objects",
        "- json: {expressions: {o: }}\n- output: {source: o}",
        "in | {\"o\":{\"b\":[1,2.0],\"a\":\"<\"}}\nout | {\"a\":\"\\\\u003c\",\"b\":[1,2]}",
    );
}

#[test]
fn json_sets_null_over_a_label_of_the_same_name() {
    run(
        "null hides",
        "- json: {expressions: {stream: nowhere}}\n- labels: {copy: stream}",
        "in {stream=\"old\"} | {}\nout {stream=\"old\"} | {}",
    );
}

#[test]
fn json_drops_malformed_lines_only_when_told() {
    run(
        "drop_malformed",
        "- json: {expressions: {a: }, drop_malformed: true}",
        "in | {\"a\": 1\nin | [1]\nin | {} x\nin | null\nout | null\nin | {\"a\": 1}\nout | {\"a\": 1}",
    );
    run(
        "the same with JMESPath",
        "- json: {expressions: {a: 'length(b)'}, drop_malformed: true}\n- labels: {a: }",
        "in | {\"b\": [1\nin | 7\nin | {\"b\": [1,2]}\nout {a=\"2\"} | {\"b\": [1,2]}\nin | {\"b\": 1}\nout | {\"b\": 1}",
    );
}

#[test]
fn json_takes_the_last_of_equal_keys() {
    run(
        "equal keys",
        "- json: {expressions: {x: a.b, y: c}}\n- labels: {x: , y: }",
        "in | {\"a\": {\"b\": 1}, \"c\": 1, \"a\": {}, \"c\": 2}\nout {y=\"2\"} | {\"a\": {\"b\": 1}, \"c\": 1, \"a\": {}, \"c\": 2}",
    );
}

#[test]
fn a_missing_source_changes_nothing() {
    run(
        "no source",
        "- json: {expressions: {a: }, source: none}\n- logfmt: {mapping: {a: }, source: none}\n\
         - regex: {expression: '(?P<a>.)', source: none}\n- replace: {expression: '.', source: none, replace: x}\n\
         - timestamp: {source: none, format: Unix}\n- output: {source: none}\n- tenant: {source: none}\n\
         - labels: {a: }\n- drop: {source: none}",
        "in {b=\"1\"} | line\nout {b=\"1\"} @2024-01-01T00:00:00Z | line",
    );
}

#[test]
fn regex_groups_that_took_no_part_are_empty() {
    run(
        "empty group",
        "- regex: {expression: '^(?P<a>x)?(?P<b>y)'}\n- template: {source: a, template: '[{{ .Value }}]'}\n- labels: {a: , b: }",
        "in | y\nout {a=\"[]\", b=\"y\"} | y",
    );
}

#[test]
fn replace_follows_promtail_in_nested_and_adjacent_groups() {
    run("every match", "- replace: {expression: '(\\d+)', replace: '<{{ .Value }}>'}", "in | a1b22c\nout | a<1>b<22>c");
    run("adjacent", "- replace: {expression: '(a)(b)', replace: '{{ ToUpper .Value }}'}", "in | xab\nout | xAb");
    run("nested", "- replace: {expression: 'x((a)b)', replace: '{{ ToUpper .Value }}'}", "in | xab\nout | xAB");
    run("no groups", "- replace: {expression: 'ab', replace: '_{{ .Value }}_'}", "in | abab\nout | _ab__ab_");
    run(
        "of a source, with other values",
        "- logfmt: {mapping: {a: , b: }}\n- replace: {source: a, expression: '(.)$', replace: '{{ .b }}'}\n- labels: {a: }",
        "in | a=xyz b=Q\nout {a=\"xyQ\"} | a=xyz b=Q",
    );
    run("empty replacement", "- replace: {expression: '(b)'}", "in | abc\nout | ac");
}

#[test]
fn templates_see_values_the_line_and_the_time() {
    run(
        "missing value",
        "- template: {source: new, template: '{{ .Value }}|{{ .Entry }}|{{ .job }}|{{ now | date \"15:04:05\" }}'}\n- output: {source: new}",
        "in {job=\"j\"} | text\nout {job=\"j\"} | <no value>|text|j|00:00:00",
    );
    run(
        "failing template",
        "- template: {source: job, template: 'x{{ ToLower .nothing }}'}\n- output: {source: job}",
        "in {job=\"j\"} | text\nout {job=\"j\"} | j",
    );
    run(
        "empty result",
        "- template: {source: job, template: '{{ if false }}x{{ end }}'}\n- output: {source: job}",
        "in {job=\"j\"} | text\nout {job=\"j\"} | text",
    );
}

#[test]
fn timestamps_of_all_named_formats() {
    for (format, text, expected) in [
        ("Unix", "1562708916", "2019-07-09T21:48:36Z"),
        ("Unix", "1562708916.414123", "2019-07-09T21:48:36.414123Z"),
        ("UnixMs", "1562708916414", "2019-07-09T21:48:36.414Z"),
        ("UnixUs", "1562708916414123", "2019-07-09T21:48:36.414123Z"),
        ("UnixNs", "1562708916000000123", "2019-07-09T21:48:36.000000123Z"),
        ("ANSIC", "Mon Jan _2 15:04:05 2006", "never"),
        ("RFC3339", "2019-07-09T21:48:36+02:00", "2019-07-09T19:48:36Z"),
        ("RFC1123Z", "Tue, 09 Jul 2019 21:48:36 +0000", "2019-07-09T21:48:36Z"),
        ("RFC822", "09 Jul 19 21:48 UTC", "2019-07-09T21:48:00Z"),
    ] {
        let yaml = format!("- timestamp: {{source: t, format: {format}, action_on_failure: skip}}");
        let expected = if expected == "never" { "2024-01-01T00:00:00Z" } else { expected };
        let example = format!("in {{t=\"{text}\"}} | x\nout {{t=\"{text}\"}} @{expected} | x");
        run(format, &yaml, &example);
    }
    // Numbers of JSON need no text first.
    run(
        "JSON number",
        "- json: {expressions: {t: }}\n- timestamp: {source: t, format: UnixNs}",
        "in | {\"t\": 1562708916000000123}\nout @2019-07-09T21:48:36.000000123Z | {\"t\": 1562708916000000123}",
    );
}

#[test]
fn fudged_timestamps_are_kept_for_each_label_set() {
    run(
        "fudge",
        "- regex: {expression: '^(?P<t>\\d+)$'}\n- timestamp: {source: t, format: Unix}",
        "in {a=\"1\"} | 100\nout {a=\"1\"} @1970-01-01T00:01:40Z | 100
         in {a=\"2\"} | 200\nout {a=\"2\"} @1970-01-01T00:03:20Z | 200
         in {a=\"1\"} | x\nout {a=\"1\"} @1970-01-01T00:01:40.000000001Z | x
         in {a=\"1\"} | y\nout {a=\"1\"} @1970-01-01T00:01:40.000000002Z | y
         in {a=\"2\"} | x\nout {a=\"2\"} @1970-01-01T00:03:20.000000001Z | x
         in {a=\"3\"} | x\nout {a=\"3\"} @2024-01-01T00:00:05Z | x",
    );
}

#[test]
fn cri_lets_go_of_all_when_there_are_too_many_partial_lines() {
    run(
        "limit",
        "- cri: {max_partial_lines: 2}",
        "in {s=\"1\"} | 2024-01-01T00:00:00Z stdout P a
         in {s=\"2\"} | 2024-01-01T00:00:00Z stdout P b
         in {s=\"3\"} | 2024-01-01T00:00:00Z stdout P c
         out {s=\"1\", stream=\"stdout\"} | a
         out {s=\"2\", stream=\"stdout\"} | b
         in {s=\"3\"} | 2024-01-01T00:00:00Z stdout F d
         out {s=\"3\", stream=\"stdout\"} | cd",
    );
    run(
        "cutting",
        "- cri: {max_partial_line_size: 4, max_partial_line_size_truncate: true}",
        "in | 2024-01-01T00:00:00Z stdout P abc
         in | 2024-01-01T00:00:00Z stdout F déf
         out {stream=\"stdout\"} | abcd
         in | 2024-01-01T00:00:00Z stdout F longer than four
         out {stream=\"stdout\"} | longer than four
         in | 2024-01-01T00:00:00Z stdin F no stream
         out | 2024-01-01T00:00:00Z stdin F no stream",
    );
}

#[test]
fn multiline_blocks_end_by_count_and_by_time() {
    run(
        "max_lines",
        "- multiline: {firstline: '^S', max_lines: 2}",
        "in | S1\nin | a\nout @2024-01-01T00:00:00Z | S1\\na\nin | b\nin | c\nout @2024-01-01T00:00:00Z | b\\nc",
    );
    run(
        "time",
        "- multiline: {firstline: '^S', max_wait_time: 5s}",
        "in | S1\nwait 4s\nin | a\nwait 4s\nwait 1s\nout @2024-01-01T00:00:00Z | S1\\na\nin | late\nend\nout @2024-01-01T00:00:00Z | late",
    );
    run(
        "nested and further stages",
        "- match:\n    selector: '{m=\"1\"}'\n    stages:\n    - multiline: {firstline: '^S'}\n- static_labels: {after: 'on'}",
        "in {m=\"1\"} | S1\nin {m=\"0\"} | S2\nout {m=\"0\", after=\"on\"} | S2\nwait 10s\nout {m=\"1\", after=\"on\"} | S1",
    );
    run(
        "two in a row",
        "- multiline: {firstline: '^S'}\n- multiline: {firstline: '^S1'}",
        "in | S1\nin | a\nin | S2\nin | b\nend\nout | S1\\na\\nS2\\nb",
    );
}

#[test]
fn drop_conditions_are_all_needed() {
    run(
        "older_than",
        "- timestamp: {source: t, format: RFC3339}\n- labeldrop: [t]\n- drop: {older_than: 24h}",
        "in {t=\"2023-12-30T23:59:59Z\"} | old\nin {t=\"2023-12-31T12:00:00Z\"} | young\nout @2023-12-31T12:00:00Z | young",
    );
    run("longer_than", "- drop: {longer_than: 3}", "in | abcd\nin | abc\nout | abc");
    run(
        "value of several",
        "- drop: {source: [a, b], value: '1;2'}",
        "in {a=\"1\", b=\"2\"} | x\nin {a=\"1\", b=\"3\"} | y\nout {a=\"1\", b=\"3\"} | y\nin {a=\"1\"} | z\nout {a=\"1\"} | z",
    );
    run("separator", "- drop: {source: [a, b], separator: '#', expression: '^1#2$'}", "in {a=\"1\", b=\"2\"} | x");
    run("presence", "- drop: {source: [a, b]}", "in {a=\"1\"} | x\nout {a=\"1\"} | x\nin {a=\"1\", b=\"2\"} | y");
}

#[test]
fn pack_and_structured_metadata_take_labels_away() {
    run(
        "pack extracted",
        "- logfmt: {mapping: {user: }}\n- pack: {labels: [user, pod, none], ingest_timestamp: false}",
        "in {pod=\"p\"} | user=<x>\nout @2024-01-01T00:00:00Z | {\"pod\":\"p\",\"user\":\"\\\\u003cx\\\\u003e\",\"_entry\":\"user=\\\\u003cx\\\\u003e\"}",
    );
    run("renamed", "- non_indexed_labels: {id: pod}", "in {pod=\"p\", a=\"1\"} | x\nout {a=\"1\"} meta{id=\"p\"} | x");
}

#[test]
fn nested_pipelines_see_labels_set_before() {
    run(
        "seeding",
        "- static_labels: {level: warn}\n- match:\n    selector: '{level=\"warn\"}'\n    stages:\n    - template: {source: out, template: '{{ .level }}'}\n    - output: {source: out}",
        "in | x\nout {level=\"warn\"} | warn",
    );
}

#[test]
fn partial_lines_are_bounded_in_bytes_and_not_lost() {
    let mut pipeline = support::pipeline("- cri: {}").unwrap();
    let part = "x".repeat(1 << 20);
    let mut bytes = 0;
    let mut held = 0_usize;
    for i in 0..200 {
        // One stream that never ends its line, and eight that together are too much.
        let stream = if i % 2 == 0 { 0 } else { i % 16 };
        let labels = support::labels(&format!("{{s=\"{stream}\"}}")).0;
        let line = format!("2024-01-01T00:00:00Z stdout P {part}");
        held += part.len();
        pipeline.process(stages::Entry::new(labels, 0, line), 0, &mut |entry| {
            assert!(entry.line.len() <= stages::MAX_PARTIAL_BYTES);
            bytes += entry.line.len();
        });
        assert!(held - bytes <= 65 << 20, "{} bytes are held", held - bytes);
    }
    pipeline.finish(0, &mut |entry| bytes += entry.line.len());
    assert_eq!(bytes, 200 << 20);
}
