//! A Zipkin span as an OTLP span, its scope and its resource.

use proto::{
    otlp_common::{InstrumentationScope, KeyValue, Resource, Value},
    otlp_traces::{Event, Link, Span, SpanKind, Status, StatusCode},
};

use super::{
    resource::is_of_resource,
    span::{Endpoint, ZipkinSpan, span_id, trace_id},
};
use crate::{
    attributes::{from_json, pair, put_new, text},
    refusal::Refusal,
    sheaf::Sheaf,
};

/// Set where a span had no time of its own.
const NO_START: &str = "otel.zipkin.absentField.startTime";

/// Links that an exporter wrote as tags.
const MOST_LINKS: usize = 128;

/// Adds the span. `parse`: texts that are numbers or booleans become such.
pub(super) fn add(mut from: ZipkinSpan, parse: bool, sheaf: &mut Sheaf<'_>) -> Result<(), Refusal> {
    let resource = resource(&mut from);
    let scope = scope(&mut from.tags);
    let mut span = Span {
        trace_id: from.trace_id.to_vec(),
        span_id: from.id.to_vec(),
        parent_span_id: from.parent.filter(|parent| *parent != from.id).map(|id| id.to_vec()).unwrap_or_default(),
        trace_state: take(&mut from.tags, "w3c.tracestate").unwrap_or_default(),
        name: std::mem::take(&mut from.name),
        kind: kind(&mut from) as i32,
        links: links(&mut from.tags),
        ..Span::default()
    };
    span.status = status(&mut from.tags);
    span.attributes = from.tags.drain(..).map(|(key, value)| tag(key, value, parse)).collect();
    ends(&from, &mut span.attributes);
    times(&from, &mut span);
    for (name, set) in [("zipkin.shared", from.shared), ("zipkin.debug", from.debug)] {
        if set {
            put_new(&mut span.attributes, name, Value::Bool(true));
        }
    }
    span.events = from.annotations.into_iter().map(|(time, value)| event(time, value)).collect();
    sheaf.add(&resource, &scope, &span)
}

fn take(tags: &mut Vec<(String, String)>, name: &str) -> Option<String> {
    let place = tags.iter().position(|(tag, _)| tag == name)?;
    Some(tags.remove(place).1)
}

fn resource(span: &mut ZipkinSpan) -> Resource {
    let mut attributes: Vec<KeyValue> = Vec::new();
    let source = take(&mut span.tags, "otlp.service.name.source").filter(|name| !name.is_empty());
    if !span.local.service.is_empty() {
        attributes.push(text(source.as_deref().unwrap_or("service.name"), &span.local.service));
    }
    if span.tags.iter().any(|(tag, _)| is_of_resource(tag)) {
        let (ours, theirs) = std::mem::take(&mut span.tags).into_iter().partition(|(tag, _)| is_of_resource(tag));
        span.tags = theirs;
        for (tag, value) in Vec::<(String, String)>::from_iter(ours) {
            attributes.retain(|attribute| attribute.key != tag);
            attributes.push(text(&tag, &value));
        }
    }
    // One resource, whatever the order of its tags.
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    Resource { attributes, ..Resource::default() }
}

fn scope(tags: &mut Vec<(String, String)>) -> InstrumentationScope {
    let mut of = |names: [&str; 2]| {
        let [first, second] = names.map(|name| take(tags, name));
        first.or(second).unwrap_or_default()
    };
    let name = of(["otel.scope.name", "otel.library.name"]);
    let version = of(["otel.scope.version", "otel.library.version"]);
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}

fn kind(span: &mut ZipkinSpan) -> SpanKind {
    if let Some(kind) = span.kind {
        return kind;
    }
    match take(&mut span.tags, "span.kind").as_deref() {
        Some("internal") => SpanKind::Internal,
        _ => SpanKind::Unspecified,
    }
}

fn status(tags: &mut Vec<(String, String)>) -> Option<Status> {
    let mut status = None;
    if let Some(code) = take(tags, "otel.status_code") {
        let code = match code.trim_start_matches("STATUS_CODE_") {
            "OK" => StatusCode::Ok,
            "ERROR" => StatusCode::Error,
            _ => StatusCode::Unset,
        };
        let message = take(tags, "otel.status_description").unwrap_or_default();
        status = Some(Status { code: code as i32, message });
    }
    let error = tags.iter().position(|(tag, _)| tag == "error");
    if let Some(place) = error {
        let value = tags.get(place).map(|(_, value)| value.clone()).unwrap_or_default();
        let status = status.get_or_insert_default();
        match value.as_str() {
            "false" => {}
            "true" => {
                status.code = StatusCode::Error as i32;
                tags.remove(place);
            }
            // The tag stays: its text may say more than a status.
            _ => {
                status.code = StatusCode::Error as i32;
                if status.message.is_empty() {
                    status.message = value;
                }
            }
        }
    }
    status.filter(|status| *status != Status::default())
}

/// `trace id|span id|trace state|{attributes}|dropped`, as OpenTelemetry's exporters of old wrote links.
fn links(tags: &mut Vec<(String, String)>) -> Vec<Link> {
    let mut links = Vec::new();
    for number in 0..MOST_LINKS {
        let Some(value) = take(tags, &format!("otlp.link.{number}")) else { break };
        if let Some(link) = link(&value) {
            links.push(link);
        }
    }
    links
}

fn link(value: &str) -> Option<Link> {
    let mut parts = value.splitn(4, '|');
    let mut id = || Some(parts.next()?.trim_matches('"'));
    let (trace_id, span_id) = (trace_id(id()?).ok()?, span_id(id()?).ok()?);
    let trace_state = parts.next()?.to_owned();
    let (json, dropped) = parts.next()?.rsplit_once('|')?;
    Some(Link {
        trace_id: trace_id.to_vec(),
        span_id: span_id.to_vec(),
        trace_state,
        attributes: from_json(json).unwrap_or_default(),
        dropped_attributes_count: dropped.parse().unwrap_or(0),
        ..Link::default()
    })
}

/// An annotation's text, or `name|{attributes}|dropped` as the Collector's exporter writes it.
fn event(time: u64, value: String) -> Event {
    let time_unix_nano = time.saturating_mul(1000);
    let parts = value.split_once('|').and_then(|(name, rest)| Some((name, rest.rsplit_once('|')?)));
    if let Some((name, (json, dropped))) = parts
        && let (Some(attributes), Ok(dropped)) = (from_json(json), dropped.parse())
    {
        let name = name.to_owned();
        return Event { time_unix_nano, name, attributes, dropped_attributes_count: dropped };
    }
    Event { time_unix_nano, name: value, ..Event::default() }
}

fn tag(key: String, value: String, parse: bool) -> KeyValue {
    let parsed = if parse { parsed(&value) } else { None };
    KeyValue { key, value: Some(parsed.unwrap_or(Value::String(value)).into()) }
}

/// What looks like a number or a boolean.
fn parsed(text: &str) -> Option<Value> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Value::Int);
    }
    if digits.split_once('.').is_some_and(|(whole, part)| {
        !part.is_empty() && whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit())
    }) {
        return text.parse().ok().map(Value::Double);
    }
    match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => None,
    }
}

fn ends(span: &ZipkinSpan, attributes: &mut Vec<KeyValue>) {
    let of = |attributes: &mut Vec<KeyValue>, end: &Endpoint, ip: &str, port: &str| {
        for address in [&end.ipv4, &end.ipv6] {
            if !address.is_empty() {
                put_new(attributes, ip, Value::String(address.clone()));
            }
        }
        if end.port > 0 {
            attributes.retain(|attribute| attribute.key != port);
            attributes.push(pair(port, Value::Int(i64::from(end.port))));
        }
    };
    of(attributes, &span.local, "net.host.ip", "net.host.port");
    if !span.remote.service.is_empty() {
        put_new(attributes, "peer.service", Value::String(span.remote.service.clone()));
    }
    of(attributes, &span.remote, "net.peer.ip", "net.peer.port");
}

fn times(from: &ZipkinSpan, span: &mut Span) {
    let start = from.timestamp.unwrap_or(0).saturating_mul(1000);
    span.start_time_unix_nano = start;
    span.end_time_unix_nano = start.saturating_add(from.duration.saturating_mul(1000));
    if from.timestamp.is_none() {
        // The span's events are all that is known of its time.
        let times = from.annotations.iter().map(|(time, _)| time.saturating_mul(1000));
        if let (Some(first), Some(last)) = (times.clone().min(), times.max()) {
            span.start_time_unix_nano = first;
            span.end_time_unix_nano = last.max(first.saturating_add(from.duration.saturating_mul(1000)));
        }
        put_new(&mut span.attributes, NO_START, Value::Bool(true));
    }
}
