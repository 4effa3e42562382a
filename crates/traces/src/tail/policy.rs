//! What each policy says of a trace: as the Collector's tail sampling processor does (version 0.96).
//!
//! Keeps true: a policy looks at a trace as a whole; those that limit rates count per second of the wall clock.

use proto::{
    otlp_common::{AnyValue, KeyValue, Value},
    otlp_traces::{ExportTraceServiceRequest, Span, StatusCode},
};
use regex::Regex;

use crate::{
    PolicyRule, TracesError,
    matching::pattern,
    tail::ottl::{Condition, Context, Here, NoAnswer},
    value::{find, text},
};

/// A trace that is to be decided.
pub(super) struct Trace<'t> {
    pub(super) id: &'t [u8; 16],
    pub(super) request: &'t ExportTraceServiceRequest,
    pub(super) spans: u64,
    /// Of the wall clock.
    pub(super) second: u64,
}

/// What one policy says. The two of `invert_match` weigh differently: see `Sampler::is_sampled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Sampled,
    NotSampled,
    InvertSampled,
    InvertNotSampled,
}

/// A compiled [`PolicyRule`].
#[derive(Debug)]
pub(super) enum Policy {
    Always,
    Latency { threshold_ms: u64, upper_ms: Option<u64> },
    Number { key: String, min: i64, max: i64, invert: bool },
    Share { salt: String, threshold: u64 },
    Status(Vec<StatusCode>),
    Text { key: String, values: Vec<String>, patterns: Vec<Regex>, invert: bool },
    Rate { allowed: u64, second: u64, used: u64 },
    Count { min: u64, max: Option<u64> },
    Truth { key: String, value: bool, invert: bool },
    TraceState { key: String, values: Vec<String> },
    Ottl { spans: Vec<Condition>, events: Vec<Condition>, ignore_errors: bool },
    And(Vec<Policy>),
    Composite { allowed: u64, second: u64, parts: Vec<Part> },
}

/// One of a composite's policies and what it took of its spans in this second.
#[derive(Debug)]
pub(super) struct Part {
    policy: Policy,
    allowed: u64,
    used: u64,
}

/// What the Collector takes where there is no `hash_salt`.
const SALT: &str = "default-hash-seed";

impl Decision {
    pub(super) fn samples(self) -> bool {
        matches!(self, Self::Sampled | Self::InvertSampled)
    }

    fn of(claim: bool) -> Self {
        if claim { Self::Sampled } else { Self::NotSampled }
    }
}

impl Trace<'_> {
    fn each_span(&self) -> impl Iterator<Item = &Span> {
        self.request.resource_spans.iter().flat_map(|group| &group.scope_spans).flat_map(|scope| &scope.spans)
    }

    /// The attributes of resources and of spans.
    fn each_set(&self) -> impl Iterator<Item = &[KeyValue]> {
        let of_resources = self.request.resource_spans.iter().filter_map(|group| group.resource.as_ref());
        of_resources.map(|resource| &*resource.attributes).chain(self.each_span().map(|span| &*span.attributes))
    }

    /// Whether one of them has the attribute as wanted; inverted, whether none has.
    fn asked(&self, key: &str, invert: bool, wanted: impl Fn(&AnyValue) -> bool) -> Decision {
        let found = self.each_set().filter_map(|set| find(set, key)).any(wanted);
        match (invert, found) {
            (false, found) => Decision::of(found),
            (true, true) => Decision::InvertNotSampled,
            (true, false) => Decision::InvertSampled,
        }
    }

    /// Whether a span or an event meets one of the conditions.
    fn meets(&self, spans: &[Condition], events: &[Condition], ignore_errors: bool) -> Result<bool, NoAnswer> {
        let one_holds = |conditions: &[Condition], here: &Here<'_>| {
            for condition in conditions {
                match condition.holds(here) {
                    Ok(false) => {}
                    Ok(true) => return Ok(true),
                    Err(_) if ignore_errors => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(false)
        };
        for group in &self.request.resource_spans {
            for scope in &group.scope_spans {
                for span in &scope.spans {
                    let resource = group.resource.as_ref();
                    let here = Here { resource, scope: scope.scope.as_ref(), span, event: None };
                    if one_holds(spans, &here)? {
                        return Ok(true);
                    }
                    for event in &span.events {
                        if one_holds(events, &Here { event: Some(event), ..here })? {
                            return Ok(true);
                        }
                    }
                }
            }
        }
        Ok(false)
    }

    /// Milliseconds from the earliest start to the latest end.
    fn millis(&self) -> u64 {
        let start = self.each_span().map(|span| span.start_time_unix_nano).min().unwrap_or(0);
        let end = self.each_span().map(|span| span.end_time_unix_nano).max().unwrap_or(0);
        end.saturating_sub(start) / 1_000_000
    }
}

impl Policy {
    /// `place`: for messages.
    pub(super) fn new(place: &str, rule: &PolicyRule) -> Result<Self, TracesError> {
        Ok(match rule.clone() {
            PolicyRule::AlwaysSample => Self::Always,
            PolicyRule::Latency { threshold_ms, upper_threshold_ms: upper_ms } => {
                Self::Latency { threshold_ms, upper_ms }
            }
            PolicyRule::NumericAttribute { key, min, max, invert } => {
                Self::Number { key, min: min.unwrap_or(i64::MIN), max: max.unwrap_or(i64::MAX), invert }
            }
            PolicyRule::Probabilistic { salt, percentage } => {
                let part = (percentage / 100.0).clamp(0.0, 1.0);
                // The top of the range is not exact in a float, and 100 % has to be all.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
                let threshold = if part >= 1.0 { u64::MAX } else { (u64::MAX as f64 * part) as u64 };
                Self::Share { salt: salt.filter(|salt| !salt.is_empty()).unwrap_or_else(|| SALT.to_owned()), threshold }
            }
            PolicyRule::StatusCode(codes) => Self::Status(codes),
            PolicyRule::StringAttribute { key, values, patterns: false, invert } => {
                Self::Text { key, values, patterns: Vec::new(), invert }
            }
            PolicyRule::StringAttribute { key, values, patterns: true, invert } => {
                let compiled = values.iter().map(|text| pattern(&format!("{place}.string_attribute.values"), text));
                Self::Text { key, values: Vec::new(), patterns: compiled.collect::<Result<_, _>>()?, invert }
            }
            PolicyRule::RateLimiting { spans_per_second } => {
                Self::Rate { allowed: spans_per_second, second: 0, used: 0 }
            }
            PolicyRule::SpanCount { min, max } => Self::Count { min, max },
            PolicyRule::BooleanAttribute { key, value, invert } => Self::Truth { key, value, invert },
            PolicyRule::TraceState { key, values } => Self::TraceState { key, values },
            PolicyRule::Ottl { spans, events, ignore_errors } => {
                let all = |key: &str, texts: &[String], context| {
                    let of = |(at, text): (usize, &String)| {
                        Condition::new(&format!("{place}.ottl_condition.{key}[{at}]"), text, context)
                    };
                    texts.iter().enumerate().map(of).collect::<Result<Vec<_>, _>>()
                };
                Self::Ottl {
                    spans: all("span", &spans, Context::Span)?,
                    events: all("spanevent", &events, Context::Event)?,
                    ignore_errors,
                }
            }
            PolicyRule::And(policies) => {
                let of = |(at, policy): (usize, &crate::PolicyConfig)| {
                    Self::new(&format!("{place}.and.and_sub_policy[{at}]"), &policy.rule)
                };
                Self::And(policies.iter().enumerate().map(of).collect::<Result<_, _>>()?)
            }
            PolicyRule::Composite { max_total_spans_per_second, parts } => {
                let of = |(at, part): (usize, &crate::CompositePart)| {
                    let place = format!("{place}.composite.composite_sub_policy[{at}]");
                    let policy = Self::new(&place, &part.policy.rule)?;
                    Ok(Part { policy, allowed: part.spans_per_second, used: 0 })
                };
                let parts = parts.iter().enumerate().map(of).collect::<Result<_, TracesError>>()?;
                Self::Composite { allowed: max_total_spans_per_second, second: 0, parts }
            }
        })
    }

    pub(super) fn decide(&mut self, trace: &Trace<'_>) -> Decision {
        match self {
            Self::Always => Decision::Sampled,
            Self::Latency { threshold_ms, upper_ms } => {
                let millis = trace.millis();
                Decision::of(match upper_ms {
                    None => millis >= *threshold_ms,
                    Some(upper_ms) => *threshold_ms < millis && millis <= *upper_ms,
                })
            }
            Self::Number { key, min, max, invert } => trace.asked(key, *invert, |value| match value.value {
                Some(Value::Int(number)) => (*min..=*max).contains(&number),
                _ => false,
            }),
            Self::Share { salt, threshold } => Decision::of(*threshold > 0 && hash_of(salt, trace.id) <= *threshold),
            Self::Status(codes) => {
                let code = |span: &Span| span.status.as_ref().map_or(StatusCode::Unset, |status| status.code());
                Decision::of(trace.each_span().any(|span| codes.contains(&code(span))))
            }
            Self::Text { key, values, patterns, invert } => trace.asked(key, *invert, |value| {
                let found = text(value).filter(|text| !text.is_empty());
                found.is_some_and(|text| {
                    values.iter().any(|wanted| wanted == text) || patterns.iter().any(|pattern| pattern.is_match(text))
                })
            }),
            Self::Rate { allowed, second, used } => {
                if *second != trace.second {
                    (*second, *used) = (trace.second, 0);
                }
                let wanted = used.saturating_add(trace.spans);
                // Below, not up to: as the Collector counts.
                if wanted < *allowed {
                    *used = wanted;
                }
                Decision::of(wanted < *allowed)
            }
            Self::Count { min, max } => Decision::of(*min <= trace.spans && max.is_none_or(|max| trace.spans <= max)),
            Self::Truth { key, value: wanted, invert } => {
                trace.asked(key, *invert, |value| value.value == Some(Value::Bool(*wanted)))
            }
            Self::TraceState { key, values } => {
                let has = |span: &Span| {
                    let entries = span.trace_state.split(',').filter_map(|entry| entry.trim().split_once('='));
                    let mut of_key = entries.filter(|(name, _)| *name == key.as_str());
                    of_key.any(|(_, value)| values.iter().any(|wanted| wanted == value))
                };
                Decision::of(trace.each_span().any(has))
            }
            Self::Ottl { spans, events, ignore_errors } => {
                Decision::of(trace.meets(spans, events, *ignore_errors).unwrap_or(false))
            }
            Self::And(policies) => {
                let mut all = true;
                for policy in policies {
                    all = policy.decide(trace).samples();
                    if !all {
                        break;
                    }
                }
                Decision::of(all)
            }
            Self::Composite { allowed, second, parts } => {
                if *second != trace.second {
                    *second = trace.second;
                    parts.iter_mut().for_each(|part| part.used = 0);
                }
                for part in parts {
                    if part.policy.decide(trace).samples() {
                        let wanted = part.used.saturating_add(trace.spans);
                        let fits = wanted <= part.allowed && wanted <= *allowed;
                        if fits {
                            part.used = wanted;
                        }
                        return Decision::of(fits);
                    }
                }
                Decision::NotSampled
            }
        }
    }
}

/// FNV-1a, 64 bits, over salt and trace id.
fn hash_of(salt: &str, id: &[u8; 16]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    salt.as_bytes().iter().chain(id).fold(0xcbf2_9ce4_8422_2325, step)
}
