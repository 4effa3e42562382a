//! `pipeline_stages`: every stage with its keys.
//!
//! Reads form only; what an expression, template or layout means is checked by the stages themselves ([`super::check`]).

use stages::config::{
    CriConfig, DropConfig, EventLogMessageConfig, GeoIpConfig, JsonConfig, LimitConfig, LogfmtConfig, Mapping,
    MatchConfig, MetricConfig, MetricSettings, MultilineConfig, OutputConfig, PackConfig, RegexConfig, ReplaceConfig,
    SamplingConfig, StageConfig, TemplateConfig, TenantConfig, TimestampConfig,
};

use crate::{
    block::{Block, Field, Reader, Shape},
    node::Value,
};

pub(in crate::dialect) const STAGE: Shape = Shape {
    name: "pipeline_stages[]",
    keys: &[&[
        "docker",
        "cri",
        "json",
        "logfmt",
        "regex",
        "replace",
        "template",
        "labels",
        "static_labels",
        "labeldrop",
        "labelallow",
        "structured_metadata",
        "non_indexed_labels",
        "timestamp",
        "output",
        "tenant",
        "match",
        "drop",
        "limit",
        "sampling",
        "multiline",
        "pack",
        "metrics",
        "geoip",
        "eventlogmessage",
        "decolorize",
    ]],
};

pub(in crate::dialect) const DOCKER: Shape = Shape { name: "pipeline_stages[].docker", keys: &[] };
pub(in crate::dialect) const CRI: Shape = Shape {
    name: "pipeline_stages[].cri",
    keys: &[&["max_partial_lines", "max_partial_line_size", "max_partial_line_size_truncate"]],
};
pub(in crate::dialect) const JSON: Shape =
    Shape { name: "pipeline_stages[].json", keys: &[&["expressions", "source", "drop_malformed"]] };
pub(in crate::dialect) const LOGFMT: Shape =
    Shape { name: "pipeline_stages[].logfmt", keys: &[&["mapping", "source"]] };
pub(in crate::dialect) const REGEX: Shape =
    Shape { name: "pipeline_stages[].regex", keys: &[&["expression", "source"]] };
pub(in crate::dialect) const REPLACE: Shape =
    Shape { name: "pipeline_stages[].replace", keys: &[&["expression", "source", "replace"]] };
pub(in crate::dialect) const TEMPLATE: Shape =
    Shape { name: "pipeline_stages[].template", keys: &[&["source", "template"]] };
pub(in crate::dialect) const TIMESTAMP: Shape = Shape {
    name: "pipeline_stages[].timestamp",
    keys: &[&["source", "format", "fallback_formats", "location", "action_on_failure"]],
};
pub(in crate::dialect) const OUTPUT: Shape = Shape { name: "pipeline_stages[].output", keys: &[&["source"]] };
pub(in crate::dialect) const TENANT: Shape =
    Shape { name: "pipeline_stages[].tenant", keys: &[&["label", "source", "value"]] };
pub(in crate::dialect) const MATCH: Shape = Shape {
    name: "pipeline_stages[].match",
    keys: &[&["selector", "stages", "action", "pipeline_name", "drop_counter_reason"]],
};
pub(in crate::dialect) const DROP: Shape = Shape {
    name: "pipeline_stages[].drop",
    keys: &[&["source", "separator", "expression", "value", "older_than", "longer_than", "drop_counter_reason"]],
};
pub(in crate::dialect) const LIMIT: Shape = Shape {
    name: "pipeline_stages[].limit",
    keys: &[&["rate", "burst", "drop", "by_label_name", "max_distinct_labels"]],
};
pub(in crate::dialect) const SAMPLING: Shape =
    Shape { name: "pipeline_stages[].sampling", keys: &[&["rate", "drop_counter_reason"]] };
pub(in crate::dialect) const MULTILINE: Shape =
    Shape { name: "pipeline_stages[].multiline", keys: &[&["firstline", "max_wait_time", "max_lines"]] };
pub(in crate::dialect) const PACK: Shape =
    Shape { name: "pipeline_stages[].pack", keys: &[&["labels", "ingest_timestamp"]] };
pub(in crate::dialect) const METRIC: Shape = Shape {
    name: "pipeline_stages[].metrics.*",
    keys: &[&["type", "description", "source", "prefix", "max_idle_duration", "config"]],
};
pub(in crate::dialect) const METRIC_CONFIG: Shape = Shape {
    name: "pipeline_stages[].metrics.*.config",
    keys: &[&["action", "value", "match_all", "count_entry_bytes", "buckets"]],
};
pub(in crate::dialect) const GEOIP: Shape =
    Shape { name: "pipeline_stages[].geoip", keys: &[&["db", "source", "db_type"]] };
pub(in crate::dialect) const EVENT_LOG_MESSAGE: Shape = Shape {
    name: "pipeline_stages[].eventlogmessage",
    keys: &[&["source", "drop_invalid_labels", "overwrite_existing"]],
};
pub(in crate::dialect) const DECOLORIZE: Shape = Shape { name: "pipeline_stages[].decolorize", keys: &[] };

/// The stages under a list.
pub(super) fn read<'a>(reader: &'a Reader<'a>, list: &Field<'a>) -> Vec<StageConfig> {
    reader.items(list).iter().filter_map(|item| stage(reader, item)).collect()
}

fn stage<'a>(reader: &'a Reader<'a>, item: &Field<'a>) -> Option<StageConfig> {
    // `- docker` instead of `- docker: {}` is what people mean.
    if let Value::Scalar(word) = &item.node.value {
        let help = STAGE.all_keys().find(|key| key == word).map(|key| format!("write `- {key}: {{}}`"));
        reader.error(item, "a stage is a mapping with one key", help.as_deref());
        return None;
    }
    let block = Block::open(reader, STAGE, item)?;
    let written: Vec<&'static str> = block.keys().filter(|key| block.raw(key).is_some()).collect();
    match written[..] {
        [key] => one(&block, key),
        [] => {
            if reader.entries(item).is_empty() {
                reader.error(item, "this stage is empty", Some("remove the lone `-`"));
            }
            None
        }
        [first, second, ..] => {
            let message = format!("a stage has one key; this one has `{first}` and `{second}`");
            block.error_at_key(second, message, Some("put `- ` before it"));
            None
        }
    }
}

fn one(block: &Block<'_>, key: &'static str) -> Option<StageConfig> {
    let field = block.raw(key)?;
    let open = |shape| Block::open(block.reader, shape, &field);
    Some(match key {
        "docker" => open(DOCKER).map(|_| StageConfig::Docker)?,
        "decolorize" => open(DECOLORIZE).map(|_| StageConfig::Decolorize)?,
        "cri" => StageConfig::Cri(cri(&open(CRI)?)),
        "json" => StageConfig::Json(json(&open(JSON)?)),
        "logfmt" => StageConfig::Logfmt(logfmt(&open(LOGFMT)?)),
        "regex" => StageConfig::Regex(regex(&open(REGEX)?)),
        "replace" => StageConfig::Replace(replace(&open(REPLACE)?)),
        "template" => StageConfig::Template(template(&open(TEMPLATE)?)),
        "labels" => StageConfig::Labels(mapping(block.reader, &field)),
        "static_labels" => StageConfig::StaticLabels(pairs(block.reader, &field)),
        "labeldrop" => StageConfig::LabelDrop(block.reader.texts(&field)),
        "labelallow" => StageConfig::LabelAllow(block.reader.texts(&field)),
        "structured_metadata" | "non_indexed_labels" => StageConfig::StructuredMetadata(mapping(block.reader, &field)),
        "timestamp" => StageConfig::Timestamp(timestamp(&open(TIMESTAMP)?)),
        "output" => StageConfig::Output(output(&open(OUTPUT)?)),
        "tenant" => StageConfig::Tenant(tenant(&open(TENANT)?)),
        "match" => StageConfig::Match(matching(&open(MATCH)?)),
        "drop" => StageConfig::Drop(drop_config(&open(DROP)?)),
        "limit" => StageConfig::Limit(limit(&open(LIMIT)?)),
        "sampling" => StageConfig::Sampling(sampling(&open(SAMPLING)?)),
        "multiline" => StageConfig::Multiline(multiline(&open(MULTILINE)?)),
        "pack" => StageConfig::Pack(pack(&open(PACK)?)),
        "metrics" => StageConfig::Metrics(metrics(block.reader, &field)),
        "geoip" => StageConfig::GeoIp(geoip(&open(GEOIP)?)),
        "eventlogmessage" => StageConfig::EventLogMessage(event_log_message(&open(EVENT_LOG_MESSAGE)?)),
        _ => return None,
    })
}

/// `name: source`, the source left out or not.
fn mapping<'a>(reader: &'a Reader<'a>, field: &Field<'a>) -> Mapping {
    let pair = |(name, field): (&str, Field<'a>)| Some((name.to_owned(), source_of(reader, &field)?));
    reader.entries(field).into_iter().filter_map(pair).collect()
}

fn source_of(reader: &Reader<'_>, field: &Field<'_>) -> Option<Option<String>> {
    reader.text(field).map(|text| Some(text).filter(|text| !text.is_empty()))
}

fn pairs<'a>(reader: &'a Reader<'a>, field: &Field<'a>) -> Vec<(String, String)> {
    let pair = |(name, field): (&str, Field<'a>)| Some((name.to_owned(), reader.text(&field)?));
    reader.entries(field).into_iter().filter_map(pair).collect()
}

/// Text in which blanks and emptiness mean something: `None` only where the key is absent or holds nothing.
fn written(block: &Block<'_>, key: &str) -> Option<String> {
    block.get(key).and_then(|field| block.reader.text(&field))
}

fn narrow(number: Option<u64>) -> Option<usize> {
    number.and_then(|number| usize::try_from(number).ok())
}

fn cri(block: &Block<'_>) -> CriConfig {
    let default = CriConfig::default();
    CriConfig {
        max_partial_lines: narrow(block.whole("max_partial_lines")).unwrap_or(default.max_partial_lines),
        max_partial_line_size: block.size("max_partial_line_size").unwrap_or(default.max_partial_line_size),
        max_partial_line_size_truncate: block.flag("max_partial_line_size_truncate").unwrap_or(false),
    }
}

fn json(block: &Block<'_>) -> JsonConfig {
    required_mapping(block, "expressions", "expressions: {level: level}");
    JsonConfig {
        expressions: block.get("expressions").map(|field| mapping(block.reader, &field)).unwrap_or_default(),
        source: block.text("source"),
        drop_malformed: block.flag("drop_malformed").unwrap_or(false),
    }
}

fn logfmt(block: &Block<'_>) -> LogfmtConfig {
    required_mapping(block, "mapping", "mapping: {level: }");
    LogfmtConfig {
        mapping: block.get("mapping").map(|field| mapping(block.reader, &field)).unwrap_or_default(),
        source: block.text("source"),
    }
}

fn required_mapping(block: &Block<'_>, key: &str, example: &str) {
    if block.get(key).is_none_or(|field| block.reader.entries(&field).is_empty()) {
        block.error_at(key, format!("`{key}` is missing or empty"), Some(example));
    }
}

fn regex(block: &Block<'_>) -> RegexConfig {
    RegexConfig {
        expression: block.required("expression", "expression: 'level=(?P<level>\\w+)'").unwrap_or_default(),
        source: block.text("source"),
    }
}

fn replace(block: &Block<'_>) -> ReplaceConfig {
    ReplaceConfig {
        expression: block.required("expression", "expression: 'password=(\\S+)'").unwrap_or_default(),
        source: block.text("source"),
        replace: written(block, "replace").unwrap_or_default(),
    }
}

fn template(block: &Block<'_>) -> TemplateConfig {
    TemplateConfig {
        source: block.required("source", "source: level").unwrap_or_default(),
        template: block.required("template", "template: '{{ ToLower .Value }}'").unwrap_or_default(),
    }
}

fn timestamp(block: &Block<'_>) -> TimestampConfig {
    TimestampConfig {
        source: block.required("source", "source: time").unwrap_or_default(),
        format: block.required("format", "format: RFC3339Nano").unwrap_or_default(),
        fallback_formats: block.texts("fallback_formats"),
        location: block.text("location"),
        action_on_failure: block.choice("action_on_failure", &[("fudge", "fudge"), ("skip", "skip")]).map(Into::into),
    }
}

fn output(block: &Block<'_>) -> OutputConfig {
    OutputConfig { source: block.required("source", "source: message").unwrap_or_default() }
}

fn tenant(block: &Block<'_>) -> TenantConfig {
    let given: Vec<&str> = ["label", "source", "value"].into_iter().filter(|key| block.text(key).is_some()).collect();
    match given[..] {
        [_] => {}
        [] => block.error("`tenant` needs one of `label`, `source`, `value`", Some("value: team-a")),
        [first, second, ..] => {
            block.error_at_key(second, format!("`{first}` and `{second}` are both given; give one of them"), None);
        }
    }
    TenantConfig { label: block.text("label"), source: block.text("source"), value: block.text("value") }
}

fn matching(block: &Block<'_>) -> MatchConfig {
    let stages = block.get("stages").map(|list| read(block.reader, &list)).unwrap_or_default();
    let action = block.choice("action", &[("keep", "keep"), ("drop", "drop")]);
    if action == Some("drop") && block.get("stages").is_some_and(|list| !block.reader.items(&list).is_empty()) {
        block.error_at_key("stages", "`match` with `action: drop` has no stages", Some("remove `stages`"));
    }
    if action != Some("drop") && block.get("stages").is_none_or(|list| block.reader.items(&list).is_empty()) {
        block.error_at("stages", "`match` has no stages", Some("add `stages`, or write `action: drop`"));
    }
    MatchConfig {
        selector: block.required("selector", "selector: '{job=\"varlogs\"} |= \"error\"'").unwrap_or_default(),
        stages,
        action: action.map(Into::into),
        pipeline_name: block.text("pipeline_name"),
        drop_counter_reason: block.text("drop_counter_reason"),
    }
}

fn drop_config(block: &Block<'_>) -> DropConfig {
    let source = block.get("source").map(|field| match &field.node.value {
        Value::Sequence(_) => block.reader.texts(&field),
        _ => block.reader.text(&field).into_iter().collect(),
    });
    DropConfig {
        source,
        separator: written(block, "separator"),
        value: written(block, "value"),
        expression: block.text("expression"),
        older_than: block.duration("older_than"),
        longer_than: block.size("longer_than"),
        drop_counter_reason: block.text("drop_counter_reason"),
    }
}

fn limit(block: &Block<'_>) -> LimitConfig {
    LimitConfig {
        rate: block.real("rate").unwrap_or_else(|| missing(block, "rate", "rate: 10")),
        burst: block.whole("burst").unwrap_or_else(|| missing(block, "burst", "burst: 20")),
        drop: block.flag("drop").unwrap_or(false),
        by_label_name: block.text("by_label_name"),
        max_distinct_labels: narrow(block.whole("max_distinct_labels")).unwrap_or(0),
    }
}

fn missing<T: Default>(block: &Block<'_>, key: &str, example: &str) -> T {
    if block.get(key).is_none() {
        block.error_at(key, format!("`{key}` is missing"), Some(example));
    }
    T::default()
}

fn sampling(block: &Block<'_>) -> SamplingConfig {
    SamplingConfig {
        rate: block.real("rate").unwrap_or_else(|| missing(block, "rate", "rate: 0.25")),
        drop_counter_reason: block.text("drop_counter_reason"),
    }
}

fn multiline(block: &Block<'_>) -> MultilineConfig {
    MultilineConfig {
        firstline: block.required("firstline", "firstline: '^\\d{4}-\\d{2}-\\d{2} '").unwrap_or_default(),
        max_wait_time: block.duration("max_wait_time"),
        max_lines: block.whole("max_lines"),
    }
}

fn pack(block: &Block<'_>) -> PackConfig {
    PackConfig { labels: block.texts("labels"), ingest_timestamp: block.flag("ingest_timestamp").unwrap_or(true) }
}

fn metrics<'a>(reader: &'a Reader<'a>, field: &Field<'a>) -> Vec<(String, MetricConfig)> {
    let metric = |(name, field): (&str, Field<'a>)| {
        let block = Block::open(reader, METRIC, &field)?;
        let kinds = [("counter", "counter"), ("gauge", "gauge"), ("histogram", "histogram")];
        let kind = block.choice("type", &kinds);
        if block.get("type").is_none() {
            block.error_at("type", "`type` is missing in a metric", Some("type: counter"));
        }
        let config = MetricConfig {
            kind: kind.unwrap_or_default().to_owned(),
            description: block.text("description").unwrap_or_default(),
            source: block.text("source"),
            prefix: block.text("prefix"),
            max_idle_duration: block.duration("max_idle_duration"),
            config: block.block("config", METRIC_CONFIG).map(|b| settings(&b)).unwrap_or_default(),
        };
        Some((name.to_owned(), config))
    };
    reader.entries(field).into_iter().filter_map(metric).collect()
}

fn settings(block: &Block<'_>) -> MetricSettings {
    let bucket = |item: &Field<'_>| {
        let text = block.reader.text(item)?;
        let bound = text.parse::<f64>().ok().filter(|bound| !bound.is_nan());
        if bound.is_none() {
            block.reader.error(item, "a bucket's bound is a number", Some("buckets: [0.1, 0.5, 1, 5]"));
        }
        bound
    };
    MetricSettings {
        action: block.text("action"),
        value: written(block, "value"),
        match_all: block.flag("match_all").unwrap_or(false),
        count_entry_bytes: block.flag("count_entry_bytes").unwrap_or(false),
        buckets: block.items("buckets").iter().filter_map(bucket).collect(),
    }
}

fn geoip(block: &Block<'_>) -> GeoIpConfig {
    GeoIpConfig {
        db: block.required("db", "db: /var/lib/geoip/GeoLite2-City.mmdb").unwrap_or_default().into(),
        source: block.text("source"),
        db_type: block.required("db_type", "db_type: city").unwrap_or_default(),
    }
}

fn event_log_message(block: &Block<'_>) -> EventLogMessageConfig {
    EventLogMessageConfig {
        source: block.text("source"),
        drop_invalid_labels: block.flag("drop_invalid_labels").unwrap_or(false),
        overwrite_existing: block.flag("overwrite_existing").unwrap_or(false),
    }
}
