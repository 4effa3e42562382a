//! `tail_sampling`: the Collector's tail sampling processor, whose policies these are (version 0.96), with the Agent's defaults.

use std::time::Duration;

use traces::{CompositePart, PolicyConfig, PolicyRule, StatusCode, TailSamplingConfig};

use crate::block::{Block, Field, Shape};

pub(in crate::dialect) const TAIL_SAMPLING: Shape = Shape {
    name: "traces.configs[].tail_sampling",
    keys: &[&["policies", "decision_wait", "num_traces", "expected_new_traces_per_sec"]],
};

const KINDS: &[&str] = &[
    "always_sample",
    "latency",
    "numeric_attribute",
    "probabilistic",
    "status_code",
    "string_attribute",
    "rate_limiting",
    "span_count",
    "boolean_attribute",
    "trace_state",
    "ottl_condition",
    "and",
    "composite",
];

pub(in crate::dialect) const POLICY: Shape =
    Shape { name: "tail_sampling.policies[]", keys: &[&["name", "type"], KINDS] };
pub(in crate::dialect) const LATENCY: Shape =
    Shape { name: "policies[].latency", keys: &[&["threshold_ms", "upper_threshold_ms"]] };
pub(in crate::dialect) const NUMERIC: Shape =
    Shape { name: "policies[].numeric_attribute", keys: &[&["key", "min_value", "max_value", "invert_match"]] };
pub(in crate::dialect) const PROBABILISTIC: Shape =
    Shape { name: "policies[].probabilistic", keys: &[&["hash_salt", "sampling_percentage"]] };
pub(in crate::dialect) const STATUS: Shape = Shape { name: "policies[].status_code", keys: &[&["status_codes"]] };
pub(in crate::dialect) const STRING: Shape = Shape {
    name: "policies[].string_attribute",
    keys: &[&["key", "values", "enabled_regex_matching", "cache_max_size", "invert_match"]],
};
pub(in crate::dialect) const RATE: Shape = Shape { name: "policies[].rate_limiting", keys: &[&["spans_per_second"]] };
pub(in crate::dialect) const COUNT: Shape =
    Shape { name: "policies[].span_count", keys: &[&["min_spans", "max_spans"]] };
pub(in crate::dialect) const BOOLEAN: Shape =
    Shape { name: "policies[].boolean_attribute", keys: &[&["key", "value", "invert_match"]] };
pub(in crate::dialect) const STATE: Shape = Shape { name: "policies[].trace_state", keys: &[&["key", "values"]] };
pub(in crate::dialect) const OTTL: Shape =
    Shape { name: "policies[].ottl_condition", keys: &[&["error_mode", "span", "spanevent"]] };
pub(in crate::dialect) const AND: Shape = Shape { name: "policies[].and", keys: &[&["and_sub_policy"]] };
pub(in crate::dialect) const COMPOSITE: Shape = Shape {
    name: "policies[].composite",
    keys: &[&["max_total_spans_per_second", "policy_order", "composite_sub_policy", "rate_allocation"]],
};
pub(in crate::dialect) const ALLOCATION: Shape =
    Shape { name: "composite.rate_allocation[]", keys: &[&["policy", "percent"]] };

pub(super) fn read(instance: &Block<'_>) -> Option<TailSamplingConfig> {
    let field = instance.get("tail_sampling")?;
    let block = Block::open(instance.reader, TAIL_SAMPLING, &field)?;
    block.whole("expected_new_traces_per_sec");
    let policies = policies(&block, "policies", 2);
    if block.items("policies").is_empty() {
        block.error("`tail_sampling` has no `policies`", Some("policies: [{type: always_sample}]"));
    }
    let num_traces = block.whole("num_traces").filter(|traces| *traces > 0).unwrap_or(50_000);
    let wait = block.duration("decision_wait").filter(|wait| !wait.is_zero()).unwrap_or(Duration::from_secs(5));
    if wait > Duration::from_secs(3600) {
        block.error_at("decision_wait", "`decision_wait` is at most 1h", None);
    }
    Some(TailSamplingConfig {
        decision_wait: wait,
        num_traces: usize::try_from(num_traces.min(10_000_000)).unwrap_or(usize::MAX),
        policies,
    })
}

/// `depth`: how many levels of policies may still be below.
fn policies(block: &Block<'_>, key: &str, depth: usize) -> Vec<PolicyConfig> {
    let mut found: Vec<PolicyConfig> = Vec::new();
    for (at, item) in block.items(key).iter().enumerate() {
        let Some(policy) = policy(block, item, at, depth) else { continue };
        if found.iter().any(|other| other.name == policy.name) {
            let message = format!("two policies of `{key}` have the name `{}`: they are counted by it", policy.name);
            block.reader.error(item, message, Some("names are unique"));
        }
        found.push(policy);
    }
    found
}

fn policy(parent: &Block<'_>, item: &Field<'_>, at: usize, depth: usize) -> Option<PolicyConfig> {
    let block = Block::open(parent.reader, POLICY, item)?;
    let kind = block.required("type", "type: always_sample")?;
    let name = block.text("name").unwrap_or_else(|| format!("{kind}/{at}"));
    if !KINDS.contains(&kind.as_str()) {
        block.error_at("type", format!("`{kind}` is no policy"), Some(&format!("one of {}", KINDS.join(", "))));
        return None;
    }
    Some(PolicyConfig { name, rule: rule(&block, &kind, depth)? })
}

fn rule(block: &Block<'_>, kind: &str, depth: usize) -> Option<PolicyRule> {
    let own = |shape| {
        let own = block.block(kind, shape);
        if own.is_none() && block.get(kind).is_none() {
            block.error(format!("a policy of the type `{kind}` needs a block `{kind}`"), None);
        }
        own
    };
    Some(match kind {
        "always_sample" => PolicyRule::AlwaysSample,
        "latency" => {
            let own = own(LATENCY)?;
            let upper = own.whole("upper_threshold_ms").filter(|upper| *upper > 0);
            PolicyRule::Latency { threshold_ms: own.whole("threshold_ms").unwrap_or(0), upper_threshold_ms: upper }
        }
        "numeric_attribute" => {
            let own = own(NUMERIC)?;
            PolicyRule::NumericAttribute {
                key: own.required("key", "key: http.status_code")?,
                min: integer(&own, "min_value"),
                max: integer(&own, "max_value"),
                invert: own.flag("invert_match").unwrap_or(false),
            }
        }
        "probabilistic" => {
            let own = own(PROBABILISTIC)?;
            let percentage = own.real("sampling_percentage").unwrap_or(0.0);
            PolicyRule::Probabilistic { salt: own.text("hash_salt"), percentage }
        }
        "status_code" => {
            let own = own(STATUS)?;
            let code = |text: &String| match text.to_ascii_uppercase().as_str() {
                "OK" => Some(StatusCode::Ok),
                "ERROR" => Some(StatusCode::Error),
                "UNSET" => Some(StatusCode::Unset),
                _ => {
                    own.error_at("status_codes", "a status code is OK, ERROR or UNSET", Some("status_codes: [ERROR]"));
                    None
                }
            };
            let codes = own.texts("status_codes");
            if codes.is_empty() {
                own.error("`status_codes` is empty", Some("status_codes: [ERROR]"));
            }
            PolicyRule::StatusCode(codes.iter().filter_map(code).collect())
        }
        "string_attribute" => {
            let own = own(STRING)?;
            // Patterns take linear time here, and nothing is kept of what they matched.
            own.whole("cache_max_size");
            PolicyRule::StringAttribute {
                key: own.required("key", "key: http.url")?,
                values: own.texts("values"),
                patterns: own.flag("enabled_regex_matching").unwrap_or(false),
                invert: own.flag("invert_match").unwrap_or(false),
            }
        }
        "rate_limiting" => {
            let own = own(RATE)?;
            own.required("spans_per_second", "spans_per_second: 100")?;
            PolicyRule::RateLimiting { spans_per_second: own.whole("spans_per_second")? }
        }
        "span_count" => {
            let own = own(COUNT)?;
            let max = own.whole("max_spans").filter(|max| *max > 0);
            PolicyRule::SpanCount { min: own.whole("min_spans").unwrap_or(0), max }
        }
        "boolean_attribute" => {
            let own = own(BOOLEAN)?;
            PolicyRule::BooleanAttribute {
                key: own.required("key", "key: sampled")?,
                value: own.flag("value").unwrap_or(false),
                invert: own.flag("invert_match").unwrap_or(false),
            }
        }
        "trace_state" => {
            let own = own(STATE)?;
            PolicyRule::TraceState { key: own.required("key", "key: vendor")?, values: own.texts("values") }
        }
        "and" | "composite" if depth == 0 => {
            block.error_at("type", format!("`{kind}` stands too deep in other policies"), None);
            return None;
        }
        "and" => {
            let own = own(AND)?;
            if own.items("and_sub_policy").is_empty() {
                own.error("`and_sub_policy` is empty", Some("and_sub_policy: [{name: a, type: always_sample}]"));
            }
            PolicyRule::And(policies(&own, "and_sub_policy", depth - 1))
        }
        "composite" => composite(&own(COMPOSITE)?, depth),
        _ => {
            let own = own(OTTL)?;
            let modes = [("propagate", false), ("ignore", true), ("silent", true)];
            let (spans, events) = (own.texts("span"), own.texts("spanevent"));
            if spans.is_empty() && events.is_empty() {
                let help = "span: ['attributes[\"http.status_code\"] >= 500']";
                own.error("`ottl_condition` has neither `span` nor `spanevent`", Some(help));
            }
            PolicyRule::Ottl { spans, events, ignore_errors: own.choice("error_mode", &modes).unwrap_or(false) }
        }
    })
}

fn composite(block: &Block<'_>, depth: usize) -> PolicyRule {
    let total = block.whole("max_total_spans_per_second").unwrap_or(0);
    if total == 0 {
        block.error("`max_total_spans_per_second` is missing", Some("max_total_spans_per_second: 1000"));
    }
    let mut policies = policies(block, "composite_sub_policy", depth.saturating_sub(1));
    if block.items("composite_sub_policy").is_empty() {
        block.error(
            "`composite_sub_policy` is empty",
            Some("composite_sub_policy: [{name: rest, type: always_sample}]"),
        );
    }
    let order = block.texts("policy_order");
    for name in order.iter().filter(|name| policies.iter().all(|policy| policy.name != **name)) {
        let message = format!("`policy_order` names `{name}`, which is not among `composite_sub_policy`");
        block.error_at("policy_order", message, None);
    }
    policies.sort_by_key(|policy| order.iter().position(|name| *name == policy.name).unwrap_or(usize::MAX));
    let mut percents: Vec<(String, u64)> = Vec::new();
    for item in block.items("rate_allocation") {
        let Some(allocation) = Block::open(block.reader, ALLOCATION, &item) else { continue };
        if let (Some(name), Some(percent)) = (allocation.text("policy"), allocation.whole("percent")) {
            percents.push((name, percent.min(100)));
        }
    }
    // What no allocation names gets what they leave.
    let left = 100_u64.saturating_sub(percents.iter().map(|(_, percent)| percent).sum());
    let part = |policy: PolicyConfig| {
        let percent = percents.iter().find(|(name, _)| *name == policy.name).map_or(left, |(_, percent)| *percent);
        CompositePart { policy, spans_per_second: total.saturating_mul(percent) / 100 }
    };
    let parts = policies.into_iter().map(part).collect();
    PolicyRule::Composite { max_total_spans_per_second: total, parts }
}

fn integer(block: &Block<'_>, key: &str) -> Option<i64> {
    let field = block.get(key)?;
    let text = block.reader.text(&field)?;
    let number = text.replace('_', "").parse::<i64>();
    number.map_err(|_| block.reader.error(&field, format!("`{key}` is a whole number"), None)).ok()
}
