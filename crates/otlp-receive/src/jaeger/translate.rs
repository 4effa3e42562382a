//! A Jaeger span as an OTLP span, its scope and its resource.

use proto::{
    otlp_common::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, Resource, Value},
    otlp_traces::{Event, Link, Span, SpanKind, Status, StatusCode},
};

use super::span::{JaegerSpan, Log, Process, Reference};
use crate::{
    attributes::{as_text, find, has, pair, take, text},
    refusal::Refusal,
    sheaf::Sheaf,
};

/// Where spans come from, as OTLP has it.
pub(super) struct Source(Resource);

impl Source {
    pub(super) fn new(process: Process) -> Self {
        let Process { service, tags: mut attributes } = process;
        if !service.is_empty() && service != "OTLPResourceNoServiceName" {
            attributes.retain(|attribute| attribute.key != "service.name");
            attributes.insert(0, text("service.name", &service));
        }
        if !has(&attributes, "host.name")
            && let Some(tag) = attributes.iter_mut().find(|attribute| attribute.key == "hostname")
        {
            "host.name".clone_into(&mut tag.key);
        }
        if !has(&attributes, "opencensus.exporterversion")
            && let Some(version) = take(&mut attributes, "jaeger.version")
        {
            attributes.push(text("opencensus.exporterversion", &format!("Jaeger-{}", as_text(version))));
        }
        Self(Resource { attributes, ..Resource::default() })
    }
}

pub(super) fn add(from: JaegerSpan, source: &Source, sheaf: &mut Sheaf<'_>) -> Result<(), Refusal> {
    let parent = parent(&from);
    let mut attributes = from.tags;
    let scope = scope(&mut attributes);
    let kind = match take(&mut attributes, "span.kind").map(as_text).as_deref() {
        Some("client") => SpanKind::Client,
        Some("server") => SpanKind::Server,
        Some("producer") => SpanKind::Producer,
        Some("consumer") => SpanKind::Consumer,
        Some("internal") => SpanKind::Internal,
        _ => SpanKind::Unspecified,
    };
    let status = status(&mut attributes, kind);
    let trace_state = take(&mut attributes, "w3c.tracestate").map(as_text).unwrap_or_default();
    if !from.warnings.is_empty() {
        let values = from.warnings.iter().map(|warning| AnyValue::from(warning.as_str())).collect();
        attributes.push(pair("jaeger.warnings", Value::Array(ArrayValue { values })));
    }
    let span = Span {
        trace_id: from.trace_id.to_vec(),
        span_id: from.id.to_vec(),
        parent_span_id: parent.map(|id| id.to_vec()).unwrap_or_default(),
        trace_state,
        name: from.name,
        kind: kind as i32,
        start_time_unix_nano: from.start,
        end_time_unix_nano: from.start.saturating_add(from.duration),
        attributes,
        events: from.logs.into_iter().map(event).collect(),
        links: from.references.iter().filter_map(|reference| link(reference, parent)).collect(),
        status,
        ..Span::default()
    };
    sheaf.add(&source.0, &scope, &span)
}

/// What it says, or the span of the same trace that it is a child of, or else follows from.
fn parent(span: &JaegerSpan) -> Option<[u8; 8]> {
    if span.parent != [0; 8] {
        return Some(span.parent);
    }
    let mut same = span.references.iter().filter(|reference| reference.trace_id == span.trace_id);
    let first = same.clone().find(|reference| !reference.follows).or_else(|| same.next());
    first.map(|reference| reference.id).filter(|id| *id != [0; 8])
}

fn scope(attributes: &mut Vec<KeyValue>) -> InstrumentationScope {
    let mut of = |first: &str, second: &str| {
        let found = [first, second].map(|name| take(attributes, name).map(as_text));
        found.into_iter().flatten().next().unwrap_or_default()
    };
    let name = of("otel.scope.name", "otel.library.name");
    let version = of("otel.scope.version", "otel.library.version");
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}

/// The tag `error` goes before `otel.status_code`, and that before an HTTP status.
fn status(attributes: &mut Vec<KeyValue>, kind: SpanKind) -> Option<Status> {
    let mut status = None;
    if matches!(find(attributes, "error"), Some(Value::Bool(true))) {
        take(attributes, "error");
        let described = take(attributes, "otel.status_description").map(as_text);
        let message = described.or_else(|| find(attributes, "http.status_message").cloned().map(as_text));
        status = Some(Status { code: StatusCode::Error as i32, message: message.unwrap_or_default() });
    }
    if let Some(code) = take(attributes, "otel.status_code") {
        if status.is_none() {
            let code = match as_text(code).to_ascii_uppercase().as_str() {
                "OK" => StatusCode::Ok,
                "ERROR" => StatusCode::Error,
                _ => StatusCode::Unset,
            };
            let message = take(attributes, "otel.status_description").map(as_text).unwrap_or_default();
            status = Some(Status { code: code as i32, message });
        }
    } else if status.is_none() && failed(attributes, kind) {
        let message = find(attributes, "http.status_message").cloned().map(as_text).unwrap_or_default();
        status = Some(Status { code: StatusCode::Error as i32, message });
    }
    status
}

/// Whether an HTTP status is one: 4xx are the client's errors.
fn failed(attributes: &[KeyValue], kind: SpanKind) -> bool {
    let code = match find(attributes, "http.status_code") {
        Some(Value::Int(code)) => Some(*code),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    code.is_some_and(|code| match code {
        100..400 => false,
        400..500 => kind != SpanKind::Server,
        _ => true,
    })
}

fn event(log: Log) -> Event {
    let mut attributes = log.fields;
    let name = take(&mut attributes, "event").map(as_text).unwrap_or_default();
    Event { time_unix_nano: log.time, name, attributes, ..Event::default() }
}

fn link(reference: &Reference, parent: Option<[u8; 8]>) -> Option<Link> {
    if !reference.follows && Some(reference.id) == parent {
        return None;
    }
    let kind = if reference.follows { "follows_from" } else { "child_of" };
    Some(Link {
        trace_id: reference.trace_id.to_vec(),
        span_id: reference.id.to_vec(),
        attributes: vec![text("opentracing.ref_type", kind)],
        ..Link::default()
    })
}
