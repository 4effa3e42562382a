//! A received request's spans, one after the other, as their documents.

use std::borrow::Cow;

use proto::otlp_traces::SpanKind;

use crate::{
    attributes::Attributes,
    aws::aws,
    cause::{cause, ending},
    fit::{Shed, fit},
    http,
    id::{Id, trace_id},
    known::{Keys, key},
    metadata::{Annotations, Meta, Metadata, Name, Values},
    name::{bare_service, clean, name},
    notes::{index_taken, note},
    place::Place,
    read::{Span, Value, resource},
    segment::{Aws, Segment, SpanLink},
    sql::sql,
    wire::{Broken, Fields, Wire},
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

/// A span that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// The segment's, as X-Ray names the ones it does not take.
    pub id: Id,
    /// Of a second document: a local root (`aws.span.kind`) that is a call to another service, whose own segment had to be
    /// made up.
    pub second: Option<Id>,
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
    /// There is nothing more after this.
    #[error("a request cannot be decoded from here on")]
    Undecodable,
}

impl From<Broken> for Refusal {
    fn from(_: Broken) -> Self {
        Self::Undecodable
    }
}

/// Attributes that speak of the one that is called, not of the caller.
const OF_REMOTE: Keys = Keys::of(["aws.remote.service", "aws.remote.operation", "remoteTarget", "K8s.RemoteNamespace"]);

/// See the file's head. It takes memory once, for its largest span.
pub struct Reading<'a> {
    options: &'a Options,
    /// What is left of the request, of the resource's group and of the scope.
    groups: Fields<'a>,
    scopes: Fields<'a>,
    spans: Fields<'a>,
    place: Place<'a>,
    room: Room<'a>,
}

/// Lists that are used again for each span.
#[derive(Default)]
struct Room<'a> {
    span: Span<'a>,
    attributes: Attributes<'a>,
    of_event: Attributes<'a>,
    annotations: Annotations<'a>,
    metadata: Values<'a>,
}

impl std::fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("options", self.options).finish_non_exhaustive()
    }
}

impl<'a> Reading<'a> {
    /// Of an `ExportTraceServiceRequest`.
    pub fn of(request: &'a [u8], options: &'a Options) -> Self {
        let (scopes, spans) = (Fields::default(), Fields::default());
        let place = Place::of(Attributes::default(), options);
        Self { options, groups: Fields::of(request), scopes, spans, place, room: Room::default() }
    }

    /// Writes the next span at the end of `text`: one document, or two with a comma between them, each as a text of JSON.
    /// `None`: there is no further one. Where it is refused, nothing was written.
    pub fn next(&mut self, text: &mut Vec<u8>) -> Option<Result<Made, Refusal>> {
        let made = self.next_span().transpose()?.and_then(|span| self.write(span, text));
        if made == Err(Refusal::Undecodable) {
            (self.groups, self.scopes, self.spans) = (Fields::default(), Fields::default(), Fields::default());
        }
        Some(made)
    }

    fn next_span(&mut self) -> Result<Option<&'a [u8]>, Refusal> {
        loop {
            if let Some(span) = next_message(&mut self.spans, 2)? {
                return Ok(Some(span));
            }
            if let Some(scope) = next_message(&mut self.scopes, 2)? {
                self.spans = Fields::of(scope);
            } else if let Some(group) = next_message(&mut self.groups, 1)? {
                // The resource may stand behind its spans.
                self.place = Place::of(resource(group)?, self.options);
                self.scopes = Fields::of(group);
            } else {
                return Ok(None);
            }
        }
    }

    fn write(&mut self, bytes: &'a [u8], text: &mut Vec<u8>) -> Result<Made, Refusal> {
        let Self { options, place, room, .. } = self;
        let Room { span, attributes, of_event, annotations, metadata } = room;
        span.read(bytes, attributes)?;
        let trace = trace_id(span.trace_id).ok_or(Refusal::TraceId)?;
        let id = Id::of(span.span_id).ok_or(Refusal::SpanId)?;
        if span.start_time_unix_nano == 0 {
            return Err(Refusal::StartTime);
        }
        let mut draft = Draft { span, place, options, trace, of_event, annotations, metadata };
        let parent = Id::of(span.parent_span_id);
        let kind = span.kind();
        let is_local_root = attributes.text(key!("aws.span.kind")) == Some("LOCAL_ROOT");
        let calls_away = !matches!(kind, SpanKind::Server | SpanKind::Internal);
        if is_local_root && calls_away {
            let service = Id::made(span.trace_id, span.span_id, 0);
            let dependency = draft.dependency(id, service, attributes);
            let first = draft.put(dependency, text);
            text.push(b',');
            attributes.anew(OF_REMOTE);
            let segment = draft.service(service, parent, attributes);
            let shed = draft.put(segment, text);
            return Ok(Made { id, second: Some(service), shed: first.and(&shed) });
        }
        let is_segment = is_local_root || kind == SpanKind::Server || parent.is_none();
        let remote = attributes.text(key!("aws.remote.service")).is_some();
        let mut segment = draft.segment(id, parent, is_segment, attributes);
        if is_local_root {
            segment.namespace = None;
        } else if calls_away && kind != SpanKind::Unspecified && !is_segment && remote {
            segment.namespace = segment.namespace.or(Some("remote"));
        }
        Ok(Made { id, second: None, shed: draft.put(segment, text) })
    }
}

/// The next field with this number, which is a message.
fn next_message<'a>(fields: &mut Fields<'a>, wanted: u64) -> Result<Option<&'a [u8]>, Broken> {
    for field in fields {
        match field? {
            (number, Wire::Bytes(message)) if number == wanted => return Ok(Some(message)),
            (number, _) if number == wanted => return Err(Broken),
            _ => {}
        }
    }
    Ok(None)
}

/// What all documents of a span are made of.
struct Draft<'s, 'a> {
    span: &'s Span<'a>,
    place: &'s Place<'a>,
    options: &'a Options,
    trace: &'a [u8; 16],
    of_event: &'s mut Attributes<'a>,
    annotations: &'s mut Annotations<'a>,
    metadata: &'s mut Values<'a>,
}

impl<'a> Draft<'_, 'a> {
    fn segment(
        &mut self,
        id: Id,
        parent: Option<Id>,
        is_segment: bool,
        attributes: &mut Attributes<'a>,
    ) -> Segment<'a> {
        let Self { span, place, options, trace, .. } = *self;
        let (name, namespace) = name(span, attributes, place);
        let ending = ending(span, http::status(attributes));
        let http = http::http(span, attributes, self.of_event);
        let cause = cause(span, attributes, self.of_event, place);
        let aws = aws(attributes, place);
        let sql = sql(span, attributes);
        let in_progress = span.end_time_unix_nano == 0
            || matches!(attributes.take(key!("aws.xray.inprogress")), Some(Value::Bool(true)));
        // A clock that was set back during the call.
        let end = span.end_time_unix_nano.max(span.start_time_unix_nano);
        let metadata = Metadata { default: std::mem::take(self.metadata), ..Metadata::default() };
        let mut segment = Segment {
            name,
            id,
            trace_id: trace,
            parent_id: parent,
            kind: (!is_segment).then_some("subsegment"),
            namespace,
            start: span.start_time_unix_nano,
            end: (!in_progress).then_some(end),
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
            annotations: std::mem::take(self.annotations),
            metadata,
        };
        if let Some(stack) = cause.unread_stack {
            segment.metadata.default.push((Name::Own("exception.stacktrace"), Meta::Text(Cow::Borrowed(stack))));
        }
        note(&mut segment, attributes, is_segment.then_some(&place.attributes), options);
        index_taken(&mut segment, attributes, options);
        segment
    }

    /// The call of a local root: a subsegment of the service's segment.
    fn dependency(&mut self, id: Id, service: Id, attributes: &mut Attributes<'a>) -> Segment<'a> {
        let remote = attributes.text(key!("aws.remote.service")).map(|name| bare_service(name, attributes));
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
    fn service(&mut self, id: Id, parent: Option<Id>, attributes: &mut Attributes<'a>) -> Segment<'a> {
        let own = attributes.text(key!("aws.local.service"));
        let mut segment = self.segment(id, parent, true, attributes);
        if let Some(name) = own.or(self.place.service_name) {
            segment.name = clean(Cow::Borrowed(name));
        }
        segment.http = None;
        segment.namespace = None;
        segment.aws = segment.aws.map(|_| Aws::default());
        segment.metadata.keep_resource();
        if self.span.kind() != SpanKind::Consumer {
            segment.links.clear();
        }
        segment
    }

    /// Writes it, and takes its lists back.
    fn put(&mut self, mut segment: Segment<'a>, text: &mut Vec<u8>) -> Shed {
        text.push(b'"');
        let shed = fit(&mut segment, self.place.aws.as_ref(), self.options.max_bytes, text);
        text.push(b'"');
        let Segment { mut annotations, metadata: Metadata { default: mut metadata, .. }, .. } = segment;
        annotations.clear();
        metadata.clear();
        (*self.annotations, *self.metadata) = (annotations, metadata);
        shed
    }
}

/// Links to what has valid ids.
fn links<'a>(span: &Span<'a>) -> Vec<SpanLink<'a>> {
    let links = span.links.iter().filter_map(|link| {
        let (trace_id, id) = (trace_id(link.trace_id)?, Id::of(link.span_id)?);
        Some(SpanLink { trace_id, id, attributes: Attributes::of(span.of_link(link)) })
    });
    links.collect()
}
