//! Any line through any stages: nothing panics, and no line is lost that no stage took away.

mod support;

use proptest::prelude::*;
use stages::{Entry, Pipeline, PipelineConfig, StageConfig, StageMetrics, config::*};
use support::{SECOND, START_NS};

/// Stages that take no line away, as YAML.
const KEEPING: [&str; 18] = [
    "- docker: {}",
    "- cri: {max_partial_lines: 2}",
    "- json: {expressions: {a: , b: c.d, e: 'f[0].g'}}",
    "- json: {expressions: {a: , x: a.b.c, y: '\"k-1\".z'}}",
    "- logfmt: {mapping: {a: , b: , c: level}}",
    "- regex: {expression: '(?P<a>\\w+)\\s*(?P<b>\\d*)'}",
    "- replace: {expression: '(\\d+)|(?P<a>[a-z]+)', replace: '<{{ .Value | ToUpper | trunc 3 }}>'}",
    "- template: {source: a, template: '{{ .Value | default .Entry | abbrev 12 | quote }}{{ range $i, $c := splitList \",\" .Entry }}{{ $i }}{{ end }}'}",
    "- labels: {a: , b: }",
    "- structured_metadata: {b: , c: }",
    "- timestamp: {source: a, format: '2006-01-02 15:04:05.000 MST', fallback_formats: [Unix, 'Jan _2 3:04PM'], location: America/New_York}",
    "- timestamp: {source: b, format: RFC3339Nano}",
    "- output: {source: a}",
    "- tenant: {source: a}",
    "- pack: {labels: [a, b]}",
    "- eventlogmessage: {source: a}",
    "- decolorize: {}",
    "- metrics: {n: {type: gauge, source: a, config: {action: add}}, h: {type: histogram, source: b}}",
];

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,80}",
        r#"[{}\[\]",:a-f0-9\\ nulltrue.eE+-]{0,60}"#,
        r#"([a-c]=("[^"]{0,6}"|[a-z0-9]{0,6}) ?){0,5}"#,
        r#"20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{0,9})?(Z|[+-][0-9]{2}:[0-9]{2}) (stdout|stderr) [PF] .{0,20}"#,
        r#"\{"log":"[a-z\\"]{0,9}","stream":"std(out|err)","time":"[0-9TZ:.-]{0,30}"\}"#,
        "(\u{1b}\\[[0-9;]{0,6}[mKHJ]|\u{9b}[0-9]m|[a-z ]){0,20}",
        r"(Key ?[a-z]{0,3}: ?[a-z:]{0,8}(\r\n)?){0,6}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_line_is_lost_and_nothing_panics(
        picks in prop::collection::vec(0..KEEPING.len(), 1..6),
        lines in prop::collection::vec((line(), 0..3_u8, any::<bool>()), 1..12),
    ) {
        let yaml: Vec<&str> = picks.iter().map(|i| KEEPING[*i]).collect();
        let has_cri = picks.iter().filter(|i| **i == 1).count() > 0;
        let mut pipeline = support::pipeline(&yaml.join("\n")).unwrap();
        let mut out = 0;
        let mut now_ns = START_NS;
        for (line, stream, wait) in &lines {
            let labels = support::labels(&format!("{{s=\"{stream}\"}}")).0;
            pipeline.process(Entry::new(labels, now_ns, line.clone()), now_ns, &mut |_| out += 1);
            now_ns += SECOND;
            if *wait {
                pipeline.flush(now_ns, &mut |_| out += 1);
            }
        }
        pipeline.finish(now_ns, &mut |_| out += 1);
        if has_cri {
            prop_assert!(out <= lines.len() && out > 0);
        } else {
            prop_assert_eq!(out, lines.len());
        }
    }

    #[test]
    fn multiline_keeps_every_byte(
        lines in prop::collection::vec(("[SaZ]{1,5}", 0..3_u8, 0..5_i64), 1..40),
        max_lines in 0..5_u64,
    ) {
        let yaml = format!("- multiline: {{firstline: '^S', max_wait_time: 3s, max_lines: {max_lines}}}");
        let mut pipeline = support::pipeline(&yaml).unwrap();
        let mut now_ns = START_NS;
        let mut came: Vec<Vec<String>> = vec![Vec::new(); 3];
        let mut left = came.clone();
        let stream = |entry: &Entry| entry.labels.get("s").unwrap().parse::<usize>().unwrap();
        for (line, s, wait) in &lines {
            now_ns += wait * SECOND;
            pipeline.flush(now_ns, &mut |e| left[stream(&e)].push(e.line));
            came[usize::from(*s)].push(line.clone());
            let labels = support::labels(&format!("{{s=\"{s}\"}}")).0;
            pipeline.process(Entry::new(labels, now_ns, line.clone()), now_ns, &mut |e| left[stream(&e)].push(e.line));
        }
        pipeline.finish(now_ns, &mut |e| left[stream(&e)].push(e.line));
        for (came, left) in came.iter().zip(&left) {
            prop_assert_eq!(came.join("\n"), left.join("\n"));
        }
        prop_assert_eq!(pipeline.deadline(), None);
    }

    #[test]
    fn any_configuration_is_accepted_or_refused(
        expression in prop_oneof![any::<String>(), "[a-z.()\\[\\]{}*+?|^$\\\\<>P:=!~\"`, ]{0,30}"],
        template in prop_oneof![any::<String>(), r#"(\{\{ ?(\.[A-Za-z]{0,3}|ToLower|trunc|[0-9]|"[a-z]{0,3}"|\||if|end|range|printf|\(|\)| ){0,6} ?\}\}|[a-z ]){0,4}"#],
        layout in prop_oneof![any::<String>(), "(2006|01|02|15|04|05|Jan|_2|Mon|MST|Z07:00|-0700|PM|pm|\\.000|,999|[ :/T-]){0,8}"],
        text in line(),
    ) {
        let source = || Some("a".to_owned());
        let pair = |text: &str| vec![("a".to_owned(), Some(text.to_owned()))];
        let stages = [
            StageConfig::Json(JsonConfig { expressions: pair(&expression), ..Default::default() }),
            StageConfig::Regex(RegexConfig { expression: expression.clone(), source: None }),
            StageConfig::Replace(ReplaceConfig { expression: expression.clone(), source: None, replace: template.clone() }),
            StageConfig::Template(TemplateConfig { source: "a".into(), template: template.clone() }),
            StageConfig::Labels(pair(&expression)),
            StageConfig::Timestamp(TimestampConfig { source: "a".into(), format: layout.clone(), ..Default::default() }),
            StageConfig::Match(MatchConfig { selector: expression.clone(), action: Some("drop".into()), ..Default::default() }),
            StageConfig::Drop(DropConfig { source: source().map(|s| vec![s]), expression: Some(expression.clone()), ..Default::default() }),
            StageConfig::Multiline(MultilineConfig { firstline: expression.clone(), ..Default::default() }),
        ];
        for stage in stages {
            let config = PipelineConfig { stages: vec![stage] };
            if let Ok(mut pipeline) = Pipeline::new(&config, "job", &StageMetrics::unregistered()) {
                let labels = support::labels("{s=\"1\"}").0;
                let mut entry = Entry::new(labels, START_NS, text.clone());
                entry.labels.set("a", &text);
                pipeline.process(entry.clone(), START_NS, &mut |_| ());
                pipeline.finish(START_NS, &mut |_| ());
                pipeline.explain(entry, START_NS);
            }
        }
    }
}
