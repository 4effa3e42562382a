//! Each policy, and how traces are put together and decided: golden cases from the Collector's documentation.

use std::time::Duration;

use proto::{
    otlp_common::Resource,
    otlp_traces::{Event, Status, StatusCode},
};

use super::*;
use crate::{AnyValue, CompositePart, PolicyConfig, PolicyRule};

const SECOND: u64 = 1_700_000_000;

fn span(trace: u8, millis: u64) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![1; 8],
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 1_000_000_000 + millis * 1_000_000,
        ..Span::default()
    }
}

fn with(trace: u8, key: &str, value: impl Into<AnyValue>) -> Span {
    Span { attributes: vec![(key, value).into()], ..span(trace, 10) }
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    of_resource(Vec::new(), spans)
}

fn of_resource(attributes: Vec<proto::otlp_common::KeyValue>, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Some(Resource { attributes, ..Resource::default() });
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
    }
}

fn sampler(rules: Vec<PolicyRule>) -> Sampler {
    sized(rules, 50_000)
}

fn sized(rules: Vec<PolicyRule>, num_traces: usize) -> Sampler {
    let named = |(at, rule)| PolicyConfig { name: format!("p{at}"), rule };
    let policies = rules.into_iter().enumerate().map(named).collect();
    let config = TailSamplingConfig { decision_wait: Duration::from_secs(5), num_traces, policies };
    Sampler::new(&config, TailCounts::default()).unwrap()
}

/// Whether a trace of these spans is sampled.
fn sampled(rules: Vec<PolicyRule>, request: ExportTraceServiceRequest) -> bool {
    let (mut sampler, mut out, now) = (sampler(rules), Output::default(), Instant::now());
    sampler.take(0, request, now, SECOND, &mut out);
    assert!(out.ended.is_empty() && out.forward.is_empty(), "nothing is decided before its time");
    sampler.tick(now + Duration::from_secs(5), SECOND, &mut out);
    assert_eq!(out.ended.len(), 1);
    out.ended[0].forwarded > 0
}

fn one(rule: PolicyRule, span: Span) -> bool {
    sampled(vec![rule], request(vec![span]))
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

fn string(values: &[&str], patterns: bool, invert: bool) -> PolicyRule {
    PolicyRule::StringAttribute { key: "key".into(), values: texts(values), patterns, invert }
}

#[test]
fn latency_is_of_the_whole_trace() {
    let latency = |threshold_ms, upper_threshold_ms| PolicyRule::Latency { threshold_ms, upper_threshold_ms };
    assert!(one(latency(5000, None), span(1, 5000)));
    assert!(!one(latency(5000, None), span(1, 4999)));
    assert!(!one(latency(5000, Some(10_000)), span(1, 5000)), "with an upper bound the lower one is outside");
    assert!(one(latency(5000, Some(10_000)), span(1, 10_000)));
    assert!(!one(latency(5000, Some(10_000)), span(1, 10_001)));
    let late = Span { start_time_unix_nano: 5_000_000_000, end_time_unix_nano: 6_500_000_000, ..span(1, 0) };
    assert!(
        sampled(vec![latency(5000, None)], request(vec![span(1, 10), late])),
        "from the first start to the last end"
    );
}

#[test]
fn attributes_are_asked_of_resources_and_spans() {
    let number = |min, max, invert| PolicyRule::NumericAttribute { key: "key".into(), min, max, invert };
    assert!(one(number(Some(50), Some(100), false), with(1, "key", 100)));
    assert!(!one(number(Some(50), Some(100), false), with(1, "key", 101)));
    assert!(one(number(Some(50), None, false), with(1, "key", 1000)));
    assert!(!one(number(Some(50), Some(100), false), with(1, "key", "60")), "text is no number");
    assert!(!one(number(Some(50), Some(100), true), with(1, "key", 60)));
    assert!(one(string(&["a", "b"], false, false), with(1, "key", "b")));
    assert!(!one(string(&["a", "b"], false, false), with(1, "other", "b")));
    assert!(one(string(&["^val[0-9]"], true, false), with(1, "key", "val7x")));
    assert!(!one(string(&["^val[0-9]"], true, false), with(1, "key", "xval7")));
    assert!(!one(string(&["acme"], false, true), with(1, "key", "acme")));
    assert!(one(string(&["acme"], false, true), with(1, "other", "x")), "without the key, inverted is sampled");
    let of_resource = of_resource(vec![("key", "a").into()], vec![span(1, 1)]);
    assert!(sampled(vec![string(&["a"], false, false)], of_resource));
    let truth = |value, invert| PolicyRule::BooleanAttribute { key: "key".into(), value, invert };
    assert!(one(truth(true, false), with(1, "key", true)));
    assert!(!one(truth(true, false), with(1, "key", false)));
    assert!(!one(truth(true, true), with(1, "key", true)));
}

#[test]
fn conditions_are_asked_of_each_span_and_each_event() {
    let ottl = |spans: &[&str], events: &[&str], ignore_errors| PolicyRule::Ottl {
        spans: texts(spans),
        events: texts(events),
        ignore_errors,
    };
    let of = |rule| {
        let event = Event { name: "exception".into(), ..Event::default() };
        let failed = Span { events: vec![event], ..with(1, "code", 500) };
        sampled(vec![rule], of_resource(vec![("service.name", "shop").into()], vec![span(1, 5), failed]))
    };
    let both = r#"attributes["code"] >= 500 and resource.attributes["service.name"] == "shop""#;
    assert!(of(ottl(&[both], &[], false)) && of(ottl(&[r#"name == "x""#, both], &[], false)));
    assert!(!of(ottl(&[r#"attributes["code"] > 500"#], &[], false)));
    assert!(of(ottl(&[], &[r#"name == "exception""#], false)) && !of(ottl(&[], &[r#"name == "retry""#], false)));
    // The first span has no such number.
    let broken = r#"attributes["code"] * 2 == 1000"#;
    assert!(of(ottl(&[broken], &[], true)) && !of(ottl(&[broken], &[], false)));
    let mistake = Policy::new("policies[3]", &ottl(&["name"], &[], true)).unwrap_err();
    assert_eq!(mistake.key(), "policies[3].ottl_condition.span[0]");
}

#[test]
fn status_count_and_trace_state() {
    let status = |code| Span { status: Some(Status { code, ..Status::default() }), ..span(1, 1) };
    let errors = || PolicyRule::StatusCode(vec![StatusCode::Error]);
    assert!(one(errors(), status(2)) && !one(errors(), status(1)) && !one(errors(), span(1, 1)));
    assert!(one(PolicyRule::StatusCode(vec![StatusCode::Unset]), span(1, 1)));
    let count = |min, max| PolicyRule::SpanCount { min, max };
    let three = || request(vec![span(1, 1), span(1, 2), span(1, 3)]);
    assert!(sampled(vec![count(3, None)], three()) && sampled(vec![count(2, Some(3))], three()));
    assert!(!sampled(vec![count(4, None)], three()) && !sampled(vec![count(1, Some(2))], three()));
    let state = |text: &str| Span { trace_state: text.into(), ..span(1, 1) };
    let wanted = || PolicyRule::TraceState { key: "tenant".into(), values: texts(&["a", "b"]) };
    assert!(one(wanted(), state("x=1, tenant=b")) && !one(wanted(), state("tenant=c")) && !one(wanted(), state("")));
}

#[test]
fn about_so_many_percent_of_traces_are_sampled_always_the_same() {
    let rule = |percentage| PolicyRule::Probabilistic { salt: None, percentage };
    let ids: Vec<[u8; 16]> = (0..10_000_u32)
        .map(|n| {
            let mut id = [7; 16];
            id[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
            id
        })
        .collect();
    let count = |percentage| {
        let empty = ExportTraceServiceRequest::default();
        let mut policy = Policy::new("p", &rule(percentage)).unwrap();
        let sampled = |id: &&[u8; 16]| policy.decide(&Trace { id, request: &empty, spans: 1, second: 0 }).samples();
        ids.iter().filter(sampled).count()
    };
    assert_eq!((count(0.0), count(100.0)), (0, 10_000));
    let ten = count(10.0);
    assert!((850..1150).contains(&ten), "{ten}");
    assert_eq!(ten, count(10.0));
}

#[test]
fn rates_count_in_each_second() {
    let mut policy = Policy::new("p", &PolicyRule::RateLimiting { spans_per_second: 4 }).unwrap();
    let request = request(vec![span(1, 1), span(1, 1)]);
    let mut ask = |second| policy.decide(&Trace { id: &[1; 16], request: &request, spans: 2, second }).samples();
    assert_eq!([ask(1), ask(1), ask(2)], [true, false, true], "the limit itself is not reached");
}

#[test]
fn and_wants_all_and_composite_the_first_within_its_part() {
    let named = |rule| PolicyConfig { name: "n".into(), rule };
    let latency = || PolicyRule::Latency { threshold_ms: 100, upper_threshold_ms: None };
    let both = |span: Span| one(PolicyRule::And(vec![named(latency()), named(string(&["a"], false, false))]), span);
    assert!(both(Span { attributes: vec![("key", "a").into()], ..span(1, 100) }));
    assert!(!both(span(1, 100)) && !both(with(1, "key", "a")));
    let part = |rule, spans_per_second| CompositePart { policy: named(rule), spans_per_second };
    let rule = PolicyRule::Composite {
        max_total_spans_per_second: 10,
        parts: vec![part(string(&["a"], false, false), 2), part(PolicyRule::AlwaysSample, 1)],
    };
    let mut policy = Policy::new("p", &rule).unwrap();
    let mut ask = |span: Span, second| {
        let request = request(vec![span]);
        policy.decide(&Trace { id: &[1; 16], request: &request, spans: 1, second }).samples()
    };
    let marked = || with(1, "key", "a");
    assert_eq!([ask(marked(), 1), ask(marked(), 1), ask(marked(), 1), ask(marked(), 2)], [true, true, false, true]);
    assert_eq!([ask(span(1, 1), 2), ask(span(1, 1), 2)], [true, false]);
}

#[test]
fn one_inverted_refusal_outweighs_all_others() {
    let spans = || request(vec![with(1, "key", "acme")]);
    assert!(!sampled(vec![PolicyRule::AlwaysSample, string(&["acme"], false, true)], spans()));
    assert!(sampled(vec![PolicyRule::AlwaysSample, string(&["other"], false, true)], spans()));
    let long = || PolicyRule::Latency { threshold_ms: 9000, upper_threshold_ms: None };
    assert!(!sampled(vec![long(), string(&["other"], false, true)], spans()), "not sampled beside inverted sampled");
}

#[test]
fn a_trace_is_put_together_from_requests_and_late_spans_follow_its_decision() {
    let errors = PolicyRule::StatusCode(vec![StatusCode::Error]);
    let (mut sampler, mut out, now) = (sampler(vec![errors]), Output::default(), Instant::now());
    let failed = Span { status: Some(Status { code: 2, ..Status::default() }), ..span(1, 1) };
    sampler.take(0, request(vec![span(1, 1), span(2, 1)]), now, SECOND, &mut out);
    sampler.take(1, request(vec![failed]), now + Duration::from_secs(4), SECOND, &mut out);
    assert_eq!(sampler.due(), Some(now + Duration::from_secs(5)));
    sampler.tick(now + Duration::from_secs(5), SECOND, &mut out);
    out.ended.sort_by_key(|ended| (ended.frame, ended.dropped));
    let ended = |frame, forwarded, dropped| Ended { frame, forwarded, dropped };
    assert_eq!(out.ended, [ended(0, 1, 0), ended(0, 0, 1), ended(1, 1, 0)]);
    assert_eq!(out.forward.iter().map(spans_of).sum::<u32>(), 2, "the trace that failed, from both requests");
    let mut late = Output::default();
    sampler.take(2, request(vec![span(1, 1), span(2, 1), span(2, 1)]), now, SECOND, &mut late);
    assert_eq!(late.ended, [ended(2, 1, 0), ended(2, 0, 2)]);
    assert_eq!(late.forward.len(), 1);
}

#[test]
fn for_want_of_room_the_oldest_is_decided_early_and_not_lost() {
    let (mut sampler, mut out, now) = (sized(vec![PolicyRule::AlwaysSample], 2), Output::default(), Instant::now());
    for trace in 1..=5 {
        sampler.take(u64::from(trace), request(vec![span(trace, 1)]), now, SECOND, &mut out);
    }
    assert_eq!(out.ended.iter().map(|ended| ended.frame).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(sampler.traces.len(), 2);
    sampler.tick(now + Duration::from_secs(5), SECOND, &mut out);
    assert_eq!(out.forward.len(), 5);
    assert_eq!(sampler.bytes, 0);
}

#[test]
fn under_pressure_the_oldest_quarter_is_decided() {
    let (mut sampler, mut out, now) = (sampler(vec![PolicyRule::AlwaysSample]), Output::default(), Instant::now());
    for trace in 1..=8 {
        sampler.take(u64::from(trace), request(vec![span(trace, 1)]), now, SECOND, &mut out);
    }
    sampler.press(SECOND, &mut out);
    assert_eq!(out.ended.iter().map(|ended| ended.frame).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_cannot_be_compiled_is_told_with_its_place() {
    let policies = vec![PolicyConfig { name: "p".into(), rule: string(&["("], true, false) }];
    let config = TailSamplingConfig { decision_wait: Duration::ZERO, num_traces: 1, policies };
    let error = Sampler::new(&config, TailCounts::default()).unwrap_err();
    assert_eq!(error.key(), "policies[0].string_attribute.values");
}
