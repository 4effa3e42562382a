//! What cannot work is refused at load, with the key at fault.

mod support;

use std::fmt::Write;

#[test]
fn errors_name_the_key_and_the_reason() {
    for (yaml, path, reason) in [
        ("- json: {expressions: {}}", "[0].json.expressions", "required"),
        ("- json: {expressions: {a: 'b['}}", "[0].json.expressions.a", "JMESPath"),
        ("- json: {expressions: {a: }, source: ''}", "[0].json.source", "empty"),
        ("- logfmt: {}", "[0].logfmt.mapping", "required"),
        ("- regex: {expression: '(?P<a>'}", "[0].regex.expression", "regular expression"),
        ("- regex: {}", "[0].regex.expression", "required"),
        ("- replace: {expression: '(a)', replace: '{{'}", "[0].replace.replace", "template"),
        ("- template: {template: x}", "[0].template.source", "required"),
        ("- template: {source: a, template: '{{ if .x }}{{ Nope .y }}{{ end }}'}", "[0].template.template", "Nope"),
        (
            "- template: {source: a, template: '{{ regexReplaceAll \"(\" .x \"\" }}'}",
            "[0].template.template",
            "regular",
        ),
        (
            "- template: {source: a, template: '{{ define \"x\" }}{{ template \"x\" }}{{ end }}{{ template \"x\" }}'}",
            "[0].template.template",
            "circle",
        ),
        ("- labels: {bad-name: x}", "[0].labels.bad-name", "label name"),
        ("- static_labels: {'1x': x}", "[0].static_labels.1x", "label name"),
        ("- structured_metadata: {'é': x}", "[0].structured_metadata.é", "label name"),
        ("- labeldrop: []", "[0].labeldrop", "required"),
        ("- timestamp: {source: t}", "[0].timestamp.format", "required"),
        ("- timestamp: {source: t, format: 'nonsense'}", "[0].timestamp.format", "layout"),
        ("- timestamp: {source: t, format: Unix, location: Mars/Olympus}", "[0].timestamp.location", "time zone"),
        (
            "- timestamp: {source: t, format: Unix, action_on_failure: panic}",
            "[0].timestamp.action_on_failure",
            "fudge",
        ),
        (
            "- timestamp: {source: t, format: Unix, fallback_formats: [Unix, '']}",
            "[0].timestamp.fallback_formats[1]",
            "layout",
        ),
        ("- output: {}", "[0].output.source", "required"),
        ("- tenant: {source: a, value: b}", "[0].tenant", "exactly one"),
        ("- match: {selector: '{a=b}', stages: [decolorize: {}]}", "[0].match.selector", "string"),
        ("- match: {selector: '{a=\"b\"}'}", "[0].match.stages", "required"),
        ("- match: {selector: '{a=\"b\"}', action: drop, stages: [decolorize: {}]}", "[0].match.stages", "drops"),
        ("- match: {selector: '{a=\"b\"}', action: keen}", "[0].match.action", "keep, drop"),
        (
            "- decolorize: {}\n- match: {selector: '{a=\"b\"}', stages: [docker: {}, regex: {expression: '['}]}",
            "[1].match.stages[1].regex.expression",
            "regular expression",
        ),
        ("- drop: {}", "[0].drop", "at least one"),
        ("- drop: {value: x, longer_than: 1}", "[0].drop.value", "source"),
        ("- drop: {source: a, value: x, expression: y}", "[0].drop", "both"),
        ("- limit: {rate: 0, burst: 1}", "[0].limit.rate", "above zero"),
        ("- limit: {rate: 1, burst: 0}", "[0].limit.burst", "above zero"),
        ("- limit: {rate: 1, burst: 1, by_label_name: a}", "[0].limit.by_label_name", "drop: true"),
        ("- sampling: {rate: 1.5}", "[0].sampling.rate", "between 0 and 1"),
        ("- multiline: {}", "[0].multiline.firstline", "required"),
        ("- metrics: {m: {type: summary}}", "[0].metrics.m.type", "counter, gauge, histogram"),
        ("- metrics: {m: {type: counter, config: {action: set}}}", "[0].metrics.m.config.action", "inc, add"),
        ("- metrics: {'m m': {type: counter, config: {action: inc}}}", "[0].metrics.m m", "metric name"),
        ("- metrics: {m: {type: histogram, config: {buckets: [2, 1]}}}", "[0].metrics.m.config.buckets", "rise"),
        (
            "- metrics: {m: {type: gauge, max_idle_duration: 10ms, config: {action: inc}}}",
            "[0].metrics.m.max_idle_duration",
            "1s",
        ),
        ("- geoip: {db: /nonexistent.mmdb, source: ip, db_type: city}", "[0].geoip.db", "nonexistent.mmdb"),
        ("- geoip: {db: x, db_type: planet}", "[0].geoip.db_type", "city, asn"),
        ("- eventlogmessage: {source: 'a b'}", "[0].eventlogmessage.source", "label name"),
    ] {
        let error = support::pipeline(yaml).err().unwrap_or_else(|| panic!("accepted: {yaml}"));
        assert_eq!(error.path, format!("pipeline_stages{path}"), "{yaml}");
        assert!(error.to_string().contains(reason), "{yaml}: {error}");
    }
}

#[test]
fn a_broken_geoip_database_is_a_configuration_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"not a database").unwrap();
    let yaml = format!("- geoip: {{db: {}, source: ip, db_type: asn}}", file.path().display());
    let error = support::pipeline(&yaml).err().unwrap();
    assert_eq!(error.path, "pipeline_stages[0].geoip.db");
}

#[test]
fn nesting_is_bounded() {
    use stages::{Pipeline, PipelineConfig, StageConfig, StageMetrics, config::MatchConfig};
    let nested = |depth: usize| {
        let mut stage = StageConfig::Decolorize;
        for _ in 0..depth {
            stage = StageConfig::Match(MatchConfig {
                selector: "{}".to_owned(),
                stages: vec![stage],
                ..MatchConfig::default()
            });
        }
        Pipeline::new(&PipelineConfig { stages: vec![stage] }, "job", &StageMetrics::unregistered())
    };
    assert!(nested(32).is_ok());
    assert!(nested(33).err().unwrap().to_string().contains("nested deeper"));
}

#[test]
fn template_calls_are_counted() {
    let mut template = String::from("{{ define \"t0\" }}x{{ end }}");
    for i in 1..20 {
        let last = i - 1;
        write!(
            template,
            "{{{{ define \"t{i}\" }}}}{{{{ template \"t{last}\" }}}}{{{{ template \"t{last}\" }}}}{{{{ end }}}}"
        )
        .unwrap();
    }
    template.push_str("{{ template \"t19\" }}");
    let config = stages::PipelineConfig {
        stages: vec![stages::StageConfig::Template(stages::config::TemplateConfig { source: "a".into(), template })],
    };
    let error = stages::Pipeline::new(&config, "job", &stages::StageMetrics::unregistered()).err().unwrap();
    assert!(matches!(error.fault, stages::StageFault::TemplateCalls { .. }), "{error}");
}
