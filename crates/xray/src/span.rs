//! A span as its documents.

use std::{borrow::Cow, collections::BTreeMap};

use proto::otlp_traces::{Span, SpanKind};

use crate::{
    attributes::{Attributes, Plain},
    aws::aws,
    cause::{cause, ending},
    fit::{Shed, fit},
    http,
    id::{Id, trace_id},
    name::{bare_service, clean, name},
    notes::{index_taken, note},
    place::Place,
    segment::{Meta, Segment, SpanLink},
    sql::sql,
};

/// What a person may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Attributes to index; those of the resource with `otel.resource.` in front.
    pub annotations: Vec<String>,
    /// Index all that can be.
    pub annotate_all: bool,
    /// CloudWatch log groups of resources that name none.
    pub log_groups: Vec<String>,
    /// Bytes of a document at most; 2048 or more.
    pub max_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        // AWS says 64 kB, and not which ones.
        Self { annotations: Vec::new(), annotate_all: false, log_groups: Vec::new(), max_bytes: 64_000 }
    }
}

/// A segment document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Of the segment: 16 hexadecimal digits, as X-Ray names the ones it does not take.
    pub id: String,
    pub json: String,
    /// What had to go to make it fit.
    pub shed: Shed,
}

/// Why a span has no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a span's trace id is not 16 bytes, or all zero")]
    TraceId,
    #[error("a span's id is not 8 bytes, or all zero")]
    SpanId,
    #[error("a span has no start time")]
    StartTime,
}

/// Attributes that speak of the one that is called, not of the caller.
const OF_REMOTE: [&str; 4] = ["aws.remote.service", "aws.remote.operation", "remoteTarget", "K8s.RemoteNamespace"];

/// The documents of a span: one; two for a local root (`aws.span.kind`) that is a call to another service, whose own
/// segment has to be made up.
///
/// # Errors
/// A span that X-Ray could not place.
pub fn documents<'a>(span: &'a Span, place: &'a Place<'a>, options: &'a Options) -> Result<Vec<Document>, Refusal> {
    let trace = trace_id(&span.trace_id).ok_or(Refusal::TraceId)?;
    let id = Id::of(&span.span_id).ok_or(Refusal::SpanId)?;
    if span.start_time_unix_nano == 0 {
        return Err(Refusal::StartTime);
    }
    let attributes = Attributes::of(&span.attributes);
    let parent = Id::of(&span.parent_span_id);
    let kind = span.kind();
    let is_local_root = attributes.text("aws.span.kind") == Some("LOCAL_ROOT");
    let calls_away = !matches!(kind, SpanKind::Server | SpanKind::Internal);
    let draft = Draft { span, place, options, trace: &trace };
    let document = |segment: Segment<'_>| {
        let id = segment.id.to_string();
        let (json, shed) = fit(segment, options.max_bytes);
        Document { id, json, shed }
    };
    if is_local_root && calls_away {
        let service = Id::made(&span.trace_id, &span.span_id, 0);
        let dependency = draft.dependency(id, service, attributes.clone());
        let service = draft.service(service, parent, attributes);
        return Ok(vec![document(dependency), document(service)]);
    }
    let is_segment = is_local_root || kind == SpanKind::Server || parent.is_none();
    let remote = attributes.text("aws.remote.service").is_some();
    let mut segment = draft.segment(id, parent, is_segment, attributes);
    if is_local_root {
        segment.namespace = None;
    } else if calls_away && kind != SpanKind::Unspecified && !is_segment && remote {
        segment.namespace = segment.namespace.or(Some("remote"));
    }
    Ok(vec![document(segment)])
}

/// What all documents of a span are made of.
struct Draft<'a> {
    span: &'a Span,
    place: &'a Place<'a>,
    options: &'a Options,
    trace: &'a str,
}

impl<'a> Draft<'a> {
    fn segment(&self, id: Id, parent: Option<Id>, is_segment: bool, mut attributes: Attributes<'a>) -> Segment<'a> {
        let Self { span, place, options, trace } = *self;
        let all = attributes.clone();
        let (name, namespace) = name(span, &all, place);
        let ending = ending(span, http::status(&all));
        let http = http::http(span, &mut attributes);
        let cause = cause(span, &mut attributes, place);
        let aws = aws(&mut attributes, place);
        let sql = sql(span, &mut attributes);
        let in_progress = span.end_time_unix_nano == 0
            || matches!(attributes.take("aws.xray.inprogress"), Some(proto::otlp_common::Value::Bool(true)));
        // A clock that was set back during the call.
        let end = span.end_time_unix_nano.max(span.start_time_unix_nano);
        let mut segment = Segment {
            name,
            id,
            trace_id: trace,
            parent_id: parent,
            kind: (!is_segment).then_some("subsegment"),
            namespace,
            start_time: seconds(span.start_time_unix_nano),
            end_time: (!in_progress).then(|| seconds(end)),
            in_progress,
            error: ending.error,
            throttle: ending.throttle,
            fault: ending.fault,
            origin: place.origin,
            service: place.service,
            user: None,
            http,
            aws,
            sql,
            cause: cause.cause,
            links: links(span),
            annotations: BTreeMap::new(),
            metadata: BTreeMap::new(),
        };
        if let Some(stack) = cause.unread_stack {
            let default = segment.metadata.entry(Cow::Borrowed("default")).or_default();
            default.insert(Cow::Borrowed("exception.stacktrace"), Meta::Text(Cow::Borrowed(stack)));
        }
        let resource = if is_segment { place.prefixed.as_slice() } else { &[] };
        note(&mut segment, attributes, resource, options);
        index_taken(&mut segment, &all, options);
        segment
    }

    /// The call of a local root: a subsegment of the service's segment.
    fn dependency(&self, id: Id, service: Id, attributes: Attributes<'a>) -> Segment<'a> {
        let remote = attributes.text("aws.remote.service").map(|name| bare_service(name, &attributes));
        let mut segment = self.segment(id, Some(service), false, attributes);
        segment.namespace = segment.namespace.or(Some("remote"));
        if let Some(name) = remote {
            segment.name = clean(Cow::Borrowed(name));
        }
        if self.span.kind() == SpanKind::Consumer {
            segment.links.clear();
        }
        segment
    }

    /// The segment of a local root's own service, which has none of the call's particulars.
    fn service(&self, id: Id, parent: Option<Id>, mut attributes: Attributes<'a>) -> Segment<'a> {
        OF_REMOTE.iter().for_each(|key| attributes.remove(key));
        let own = attributes.text("aws.local.service");
        let mut segment = self.segment(id, parent, true, attributes);
        if let Some(name) = own.or(self.place.service_name) {
            segment.name = clean(Cow::Borrowed(name));
        }
        segment.http = None;
        segment.namespace = None;
        if let Some(aws) = segment.aws.take() {
            segment.aws = Some(crate::segment::Aws { place: aws.place, ..crate::segment::Aws::default() });
        }
        for values in segment.metadata.values_mut() {
            values.retain(|key, _| key.starts_with("otel.resource."));
        }
        segment.metadata.retain(|_, values| !values.is_empty());
        if self.span.kind() != SpanKind::Consumer {
            segment.links.clear();
        }
        segment
    }
}

/// Links to what has valid ids.
fn links(span: &Span) -> Vec<SpanLink<'_>> {
    let link = |link: &'_ proto::otlp_traces::Link| Some((trace_id(&link.trace_id)?, Id::of(&link.span_id)?));
    let links = span.links.iter().filter_map(|one| {
        let (trace_id, id) = link(one)?;
        let attributes = Attributes::of(&one.attributes);
        let attributes = attributes.iter().map(|(key, value)| (key, Plain(value))).collect();
        Some(SpanLink { trace_id, id, attributes })
    });
    links.collect()
}

/// Microseconds are what a double holds of today's times, and what X-Ray asks for.
fn seconds(nanoseconds: u64) -> f64 {
    (nanoseconds / 1000) as f64 / 1e6
}
