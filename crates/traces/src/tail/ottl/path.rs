//! Paths: what of a span, its event, scope and resource a condition looks at.

use std::borrow::Cow;

use proto::otlp_common::{AnyValue, KeyValue, Value};

use super::{Context, Here, ask::Found};
use crate::value::{find, kind_name};

/// See the file's head.
#[derive(Debug, Clone)]
pub(super) struct Path {
    field: Field,
    keys: Vec<Key>,
}

/// What stands in brackets.
#[derive(Debug, Clone)]
pub(super) enum Key {
    Text(String),
    Number(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    TraceId,
    TraceIdText,
    SpanId,
    SpanIdText,
    ParentId,
    ParentIdText,
    TraceState,
    Name,
    Kind,
    KindText,
    Start,
    End,
    StatusCode,
    StatusMessage,
    DroppedAttributes,
    DroppedEvents,
    DroppedLinks,
    Attributes,
    EventName,
    EventTime,
    EventAttributes,
    EventDropped,
    ScopeName,
    ScopeVersion,
    ScopeAttributes,
    ResourceAttributes,
    ResourceDropped,
}

const SPAN: &[(&str, Field)] = &[
    ("trace_id", Field::TraceId),
    ("trace_id.string", Field::TraceIdText),
    ("span_id", Field::SpanId),
    ("span_id.string", Field::SpanIdText),
    ("parent_span_id", Field::ParentId),
    ("parent_span_id.string", Field::ParentIdText),
    ("trace_state", Field::TraceState),
    ("name", Field::Name),
    ("kind", Field::Kind),
    ("kind.string", Field::KindText),
    ("start_time_unix_nano", Field::Start),
    ("end_time_unix_nano", Field::End),
    ("status.code", Field::StatusCode),
    ("status.message", Field::StatusMessage),
    ("dropped_attributes_count", Field::DroppedAttributes),
    ("dropped_events_count", Field::DroppedEvents),
    ("dropped_links_count", Field::DroppedLinks),
    ("attributes", Field::Attributes),
];

const EVENT: &[(&str, Field)] = &[
    ("name", Field::EventName),
    ("time_unix_nano", Field::EventTime),
    ("attributes", Field::EventAttributes),
    ("dropped_attributes_count", Field::EventDropped),
];

const AROUND: &[(&str, Field)] = &[
    ("instrumentation_scope.name", Field::ScopeName),
    ("instrumentation_scope.version", Field::ScopeVersion),
    ("instrumentation_scope.attributes", Field::ScopeAttributes),
    ("resource.attributes", Field::ResourceAttributes),
    ("resource.dropped_attributes_count", Field::ResourceDropped),
];

impl Path {
    /// The error says what can be written.
    pub(super) fn new(name: &str, keys: Vec<Key>, context: Context) -> Result<Self, String> {
        let of_span = name.strip_prefix("span.");
        let (table, own) = match (context, of_span) {
            (_, Some(own)) => (SPAN, own),
            (Context::Span, None) => (SPAN, name),
            (Context::Event, None) => (EVENT, name.strip_prefix("spanevent.").unwrap_or(name)),
        };
        let known =
            table.iter().find(|(known, _)| *known == own).or_else(|| AROUND.iter().find(|(known, _)| *known == name));
        let Some((_, field)) = known else {
            let all: Vec<&str> = table.iter().chain(AROUND).map(|(known, _)| *known).collect();
            return Err(format!("`{name}` is no path here: one of {}", all.join(", ")));
        };
        let is_map = matches!(
            field,
            Field::Attributes | Field::EventAttributes | Field::ScopeAttributes | Field::ResourceAttributes
        );
        match keys.first() {
            None if is_map => Err(format!("`{name}` is a map: write {name}[\"key\"]")),
            Some(Key::Number(_)) if is_map => Err(format!("`{name}` has texts for keys: {name}[\"key\"]")),
            Some(Key::Text(_)) if *field == Field::TraceState && keys.len() == 1 => Ok(Self { field: *field, keys }),
            Some(_) if !is_map => Err(format!("`{name}` has nothing in it to look up")),
            _ => Ok(Self { field: *field, keys }),
        }
    }

    pub(super) fn of<'t>(&self, here: &Here<'t>) -> Found<'t> {
        let span = here.span;
        let number = |number: u64| Found::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let text = |text: &'t str| Found::Text(Cow::Borrowed(text));
        let (trace, id, parent) = (id::<16>(&span.trace_id), id::<8>(&span.span_id), id::<8>(&span.parent_span_id));
        match self.field {
            Field::TraceId => Found::Bytes(trace),
            Field::SpanId => Found::Bytes(id),
            Field::ParentId => Found::Bytes(parent),
            Field::TraceIdText => Found::Text(hex::encode(trace).into()),
            Field::SpanIdText => Found::Text(hex::encode(id).into()),
            Field::ParentIdText => Found::Text(hex::encode(parent).into()),
            Field::TraceState => match self.keys.first() {
                Some(Key::Text(key)) => {
                    let entries = span.trace_state.split(',').filter_map(|entry| entry.trim().split_once('='));
                    entries.into_iter().find(|(name, _)| name == key).map_or(text(""), |(_, value)| text(value))
                }
                _ => text(&span.trace_state),
            },
            Field::Name => text(&span.name),
            Field::Kind => Found::Int(span.kind.into()),
            Field::KindText => {
                let name = kind_name(span.kind).trim_start_matches("SPAN_KIND_").to_ascii_lowercase();
                let mut letters = name.chars();
                let first = letters.next().map(|letter| letter.to_ascii_uppercase());
                Found::Text(first.into_iter().chain(letters).collect::<String>().into())
            }
            Field::Start => number(span.start_time_unix_nano),
            Field::End => number(span.end_time_unix_nano),
            Field::StatusCode => Found::Int(span.status.as_ref().map_or(0, |status| status.code.into())),
            Field::StatusMessage => text(span.status.as_ref().map_or("", |status| &status.message)),
            Field::DroppedAttributes => number(span.dropped_attributes_count.into()),
            Field::DroppedEvents => number(span.dropped_events_count.into()),
            Field::DroppedLinks => number(span.dropped_links_count.into()),
            Field::Attributes => self.look_up(&span.attributes),
            Field::EventName => here.event.map_or(Found::Nil, |event| text(&event.name)),
            Field::EventTime => here.event.map_or(Found::Nil, |event| number(event.time_unix_nano)),
            Field::EventAttributes => here.event.map_or(Found::Nil, |event| self.look_up(&event.attributes)),
            Field::EventDropped => here.event.map_or(Found::Nil, |event| number(event.dropped_attributes_count.into())),
            Field::ScopeName => text(here.scope.map_or("", |scope| &scope.name)),
            Field::ScopeVersion => text(here.scope.map_or("", |scope| &scope.version)),
            Field::ScopeAttributes => here.scope.map_or(Found::Nil, |scope| self.look_up(&scope.attributes)),
            Field::ResourceAttributes => {
                here.resource.map_or(Found::Nil, |resource| self.look_up(&resource.attributes))
            }
            Field::ResourceDropped => {
                here.resource.map_or(Found::Int(0), |of| number(of.dropped_attributes_count.into()))
            }
        }
    }

    /// What the keys lead to; nothing where one is not there.
    fn look_up<'t>(&self, attributes: &'t [KeyValue]) -> Found<'t> {
        let mut keys = self.keys.iter();
        let Some(Key::Text(first)) = keys.next() else { return Found::Nil };
        let mut found: Option<&AnyValue> = find(attributes, first);
        for key in keys {
            found = match (found.and_then(|value| value.value.as_ref()), key) {
                (Some(Value::Map(map)), Key::Text(key)) => find(&map.values, key),
                (Some(Value::Array(list)), Key::Number(at)) => list.values.get(*at),
                _ => None,
            };
        }
        found.map_or(Found::Nil, Found::of)
    }
}

/// An id of zeros where there is none.
fn id<const N: usize>(bytes: &[u8]) -> Cow<'_, [u8]> {
    if bytes.is_empty() { Cow::Owned(vec![0; N]) } else { Cow::Borrowed(bytes) }
}
