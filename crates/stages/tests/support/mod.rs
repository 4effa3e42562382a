//! For tests only: stages from YAML, and examples written as lines in and lines out.
//!
//! An example is a list of commands:
//!
//! ```text
//! in {job="app"} | the line              a line arrives, at 2024-01-01T00:00:00Z and a second later each
//! out {job="app"} @TIME meta{a="b"} | x  what must come out next; the time only where it is not that of arrival
//! wait 3s                                time passes, and what waited long enough comes out
//! end                                    the source ends
//! ```
//!
//! In lines, `\n`, `\r`, `\e` and `\\` stand for themselves. What comes out and is not expected is an error.

#![allow(dead_code, reason = "each test uses its part")]

use std::{collections::VecDeque, time::Duration};

use model::Labels;
use serde_json::Value as Json;
use stages::{Entry, Pipeline, PipelineConfig, StageConfig, StageError, StageMetrics, config::*, go_duration};

pub const START_NS: i64 = 1_704_067_200_000_000_000;
pub const SECOND: i64 = 1_000_000_000;

pub fn config(yaml: &str) -> PipelineConfig {
    let json: Json = serde_yaml::from_str(yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    let list = json.get("pipeline_stages").unwrap_or(&json);
    PipelineConfig { stages: stages(list) }
}

fn stages(list: &Json) -> Vec<StageConfig> {
    list.as_array().unwrap_or_else(|| panic!("a list of stages: {list}")).iter().map(stage).collect()
}

pub fn pipeline(yaml: &str) -> Result<Pipeline, StageError> {
    Pipeline::new(&config(yaml), "job", &StageMetrics::unregistered())
}

fn text(json: &Json) -> String {
    match json {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

fn option(json: &Json, key: &str) -> Option<String> {
    json.get(key).map(text)
}

fn string(json: &Json, key: &str) -> String {
    option(json, key).unwrap_or_default()
}

fn flag(json: &Json, key: &str, default: bool) -> bool {
    json.get(key).map_or(default, |v| v.as_bool().unwrap())
}

fn texts(json: Option<&Json>) -> Vec<String> {
    json.and_then(Json::as_array).map(|all| all.iter().map(text).collect()).unwrap_or_default()
}

fn pairs(json: &Json) -> Vec<(String, String)> {
    json.as_object().map(|map| map.iter().map(|(k, v)| (k.clone(), text(v))).collect()).unwrap_or_default()
}

fn mapping(json: &Json) -> Mapping {
    pairs(json).into_iter().map(|(k, v)| (k, Some(v).filter(|v| !v.is_empty()))).collect()
}

fn duration(json: &Json, key: &str) -> Option<Duration> {
    option(json, key).map(|text| Duration::from_nanos(go_duration(&text).unwrap().unsigned_abs()))
}

/// Plain bytes, or `8kb`.
fn size(json: &Json, key: &str) -> Option<u64> {
    option(json, key).map(|text| match text.to_lowercase().strip_suffix("kb") {
        Some(kib) => kib.parse::<u64>().unwrap() * 1024,
        None => text.parse().unwrap(),
    })
}

fn stage(json: &Json) -> StageConfig {
    let (key, c) = json.as_object().unwrap_or_else(|| panic!("{json}")).iter().next().unwrap();
    let null = Json::Null;
    let of = |key: &str| c.get(key).unwrap_or(&null);
    match key.as_str() {
        "docker" => StageConfig::Docker,
        "cri" => StageConfig::Cri(CriConfig {
            max_partial_lines: of("max_partial_lines").as_u64().unwrap_or(100) as usize,
            max_partial_line_size: size(c, "max_partial_line_size").unwrap_or(0),
            max_partial_line_size_truncate: flag(c, "max_partial_line_size_truncate", false),
        }),
        "json" => StageConfig::Json(JsonConfig {
            expressions: mapping(of("expressions")),
            source: option(c, "source"),
            drop_malformed: flag(c, "drop_malformed", false),
        }),
        "logfmt" => StageConfig::Logfmt(LogfmtConfig { mapping: mapping(of("mapping")), source: option(c, "source") }),
        "regex" => StageConfig::Regex(RegexConfig { expression: string(c, "expression"), source: option(c, "source") }),
        "replace" => StageConfig::Replace(ReplaceConfig {
            expression: string(c, "expression"),
            source: option(c, "source"),
            replace: string(c, "replace"),
        }),
        "template" => {
            StageConfig::Template(TemplateConfig { source: string(c, "source"), template: string(c, "template") })
        }
        "labels" => StageConfig::Labels(mapping(c)),
        "static_labels" => StageConfig::StaticLabels(pairs(c)),
        "labeldrop" => StageConfig::LabelDrop(texts(Some(c))),
        "labelallow" => StageConfig::LabelAllow(texts(Some(c))),
        "structured_metadata" | "non_indexed_labels" => StageConfig::StructuredMetadata(mapping(c)),
        "timestamp" => StageConfig::Timestamp(TimestampConfig {
            source: string(c, "source"),
            format: string(c, "format"),
            fallback_formats: texts(c.get("fallback_formats")),
            location: option(c, "location"),
            action_on_failure: option(c, "action_on_failure"),
        }),
        "output" => StageConfig::Output(OutputConfig { source: string(c, "source") }),
        "tenant" => StageConfig::Tenant(TenantConfig {
            label: option(c, "label"),
            source: option(c, "source"),
            value: option(c, "value"),
        }),
        "match" => StageConfig::Match(MatchConfig {
            selector: string(c, "selector"),
            stages: c.get("stages").map(stages).unwrap_or_default(),
            action: option(c, "action"),
            pipeline_name: option(c, "pipeline_name"),
            drop_counter_reason: option(c, "drop_counter_reason"),
        }),
        "drop" => StageConfig::Drop(DropConfig {
            source: c.get("source").map(|s| if s.is_array() { texts(Some(s)) } else { vec![text(s)] }),
            separator: option(c, "separator"),
            value: option(c, "value"),
            expression: option(c, "expression"),
            older_than: duration(c, "older_than"),
            longer_than: size(c, "longer_than"),
            drop_counter_reason: option(c, "drop_counter_reason"),
        }),
        "limit" => StageConfig::Limit(LimitConfig {
            rate: of("rate").as_f64().unwrap_or(0.0),
            burst: of("burst").as_u64().unwrap_or(0),
            drop: flag(c, "drop", false),
            by_label_name: option(c, "by_label_name"),
            max_distinct_labels: 0,
        }),
        "sampling" => StageConfig::Sampling(SamplingConfig {
            rate: of("rate").as_f64().unwrap_or(0.0),
            drop_counter_reason: option(c, "drop_counter_reason"),
        }),
        "multiline" => StageConfig::Multiline(MultilineConfig {
            firstline: string(c, "firstline"),
            max_wait_time: duration(c, "max_wait_time"),
            max_lines: c.get("max_lines").and_then(Json::as_u64),
        }),
        "pack" => StageConfig::Pack(PackConfig {
            labels: texts(c.get("labels")),
            ingest_timestamp: flag(c, "ingest_timestamp", true),
        }),
        "metrics" => {
            StageConfig::Metrics(c.as_object().unwrap().iter().map(|(name, m)| (name.clone(), metric(m))).collect())
        }
        "geoip" => StageConfig::GeoIp(GeoIpConfig {
            db: string(c, "db").into(),
            source: option(c, "source"),
            db_type: string(c, "db_type"),
        }),
        "eventlogmessage" => StageConfig::EventLogMessage(EventLogMessageConfig {
            source: option(c, "source"),
            drop_invalid_labels: flag(c, "drop_invalid_labels", false),
            overwrite_existing: flag(c, "overwrite_existing", false),
        }),
        "decolorize" => StageConfig::Decolorize,
        other => panic!("no stage is called {other}"),
    }
}

fn metric(c: &Json) -> MetricConfig {
    let empty = Json::Null;
    let s = c.get("config").unwrap_or(&empty);
    MetricConfig {
        kind: string(c, "type"),
        description: string(c, "description"),
        source: option(c, "source"),
        prefix: option(c, "prefix"),
        max_idle_duration: duration(c, "max_idle_duration"),
        config: MetricSettings {
            action: option(s, "action"),
            value: option(s, "value"),
            match_all: flag(s, "match_all", false),
            count_entry_bytes: flag(s, "count_entry_bytes", false),
            buckets: s
                .get("buckets")
                .and_then(Json::as_array)
                .map(|all| all.iter().filter_map(Json::as_f64).collect())
                .unwrap_or_default(),
        },
    }
}

/// `{a="b", c="d"}`; what follows it.
pub fn labels(text: &str) -> (Labels, &str) {
    let text = text.trim_start();
    let Some(inner) = text.strip_prefix('{') else { return (Labels::new(), text) };
    let mut labels = Labels::new();
    let mut rest = inner.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return (labels, after.trim_start());
        }
        let (name, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("a label: {rest}"));
        let (value, after) = value.split_once('"').unwrap_or_else(|| panic!("a quoted value: {value}"));
        labels.set(name.trim(), value);
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
}

pub fn time(text: &str) -> i64 {
    let timestamp: jiff::Timestamp = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
    i64::try_from(timestamp.as_nanosecond()).unwrap()
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('e') => out.push('\u{1b}'),
                Some('\\') => out.push('\\'),
                other => panic!("escape {other:?} in {text}"),
            },
            c => out.push(c),
        }
    }
    out
}

fn show(entry: &Entry) -> String {
    format!("{:?} @{} meta{:?} | {:?}", entry.labels, entry.timestamp_ns, entry.structured_metadata, entry.line)
}

/// Runs an example; panics where it does not come true.
pub fn run(name: &str, yaml: &str, example: &str) {
    let mut pipeline = pipeline(yaml).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut out: VecDeque<Entry> = VecDeque::new();
    let mut now_ns = START_NS - SECOND;
    for command in example.lines().map(str::trim_start).filter(|l| !l.is_empty()) {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "in" => {
                assert!(out.is_empty(), "{name}: not expected before {command:?}: {}", show(&out[0]));
                now_ns += SECOND;
                let (head, line) = rest.split_once("| ").unwrap_or((rest.trim_end_matches('|'), ""));
                let entry = Entry::new(labels(head).0, now_ns, unescaped(line));
                pipeline.process(entry, now_ns, &mut |entry| out.push_back(entry));
            }
            "wait" => {
                now_ns += go_duration(rest.trim()).unwrap();
                pipeline.flush(now_ns, &mut |entry| out.push_back(entry));
            }
            "end" => pipeline.finish(now_ns, &mut |entry| out.push_back(entry)),
            "out" => {
                let found = out.pop_front().unwrap_or_else(|| panic!("{name}: nothing came out for {command:?}"));
                let (head, line) = rest.split_once("| ").unwrap_or((rest.trim_end_matches('|'), ""));
                let (wanted, rest) = labels(head);
                let (at, rest) = match rest.strip_prefix('@') {
                    Some(rest) => {
                        let (at, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                        (Some(time(at)), rest.trim_start())
                    }
                    None => (None, rest),
                };
                let metadata = rest.strip_prefix("meta").map(|m| labels(m).0).unwrap_or_default();
                let expected = Entry {
                    structured_metadata: metadata,
                    ..Entry::new(wanted, at.unwrap_or(found.timestamp_ns), unescaped(line))
                };
                assert_eq!(show(&found), show(&expected), "{name}: {command:?}");
            }
            other => panic!("{name}: no command is called {other:?}"),
        }
    }
    assert!(out.is_empty(), "{name}: not expected at the end: {}", show(&out[0]));
}
