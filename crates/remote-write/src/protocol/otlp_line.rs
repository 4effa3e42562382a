//! A received request as one line of OTLP's JSON, written item by item: of a request with hundreds of thousands of spans one
//! at a time is in memory as it was decoded.
//!
//! It keeps true: what is written is what the whole message would have been written as. Data points of one metric are decoded
//! together.

use std::{io::Write, marker::PhantomData};

use model::otlp::{Signal, fields};
use prost::Message;
use proto::{
    otlp_common::{InstrumentationScope, Resource},
    otlp_logs::LogRecord,
    otlp_metrics::Metric,
    otlp_traces::Span,
};
use serde::{
    Serialize, Serializer,
    ser::{Error, SerializeMap, SerializeSeq},
};

/// Writes a request of this signal. It was checked when it was received, so it can be read.
pub(crate) fn write(signal: Signal, request: &[u8], out: &mut impl Write) -> serde_json::Result<()> {
    let names = match signal {
        Signal::Traces => Names { groups: "resourceSpans", scopes: "scopeSpans", items: "spans" },
        Signal::Metrics => Names { groups: "resourceMetrics", scopes: "scopeMetrics", items: "metrics" },
        Signal::Logs => Names { groups: "resourceLogs", scopes: "scopeLogs", items: "logRecords" },
    };
    match signal {
        Signal::Traces => serde_json::to_writer(out, &Request::<Span>(request, names, PhantomData)),
        Signal::Metrics => serde_json::to_writer(out, &Request::<Metric>(request, names, PhantomData)),
        Signal::Logs => serde_json::to_writer(out, &Request::<LogRecord>(request, names, PhantomData)),
    }
}

/// What the three lists are called.
#[derive(Clone, Copy)]
struct Names {
    groups: &'static str,
    scopes: &'static str,
    items: &'static str,
}

struct Request<'a, T>(&'a [u8], Names, PhantomData<T>);
struct Group<'a, T>(&'a [u8], Names, PhantomData<T>);
struct Scope<'a, T>(&'a [u8], Names, PhantomData<T>);
struct Item<'a, T>(&'a [u8], PhantomData<T>);

/// The messages in a field, one after the other.
struct Each<'a, F> {
    message: &'a [u8],
    tag: u32,
    each: F,
}

impl<'a, F: Fn(&'a [u8]) -> P, P: Serialize> Serialize for Each<'a, F> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(None)?;
        for field in fields(self.message) {
            let field = field.map_err(S::Error::custom)?;
            if let Some(part) = field.bytes().filter(|_| field.tag == self.tag) {
                list.serialize_element(&(self.each)(part))?;
            }
        }
        list.end()
    }
}

/// What stands beside a list: field 1, and the address of a schema.
fn beside<M: Message + Default, E: Error>(message: &[u8]) -> Result<(Option<M>, String), E> {
    let (mut first, mut schema): (Option<M>, _) = (None, "");
    for field in fields(message) {
        let field = field.map_err(E::custom)?;
        match (field.tag, field.bytes()) {
            (1, Some(bytes)) => first.get_or_insert_default().merge(bytes).map_err(E::custom)?,
            (3, Some(bytes)) => schema = std::str::from_utf8(bytes).map_err(E::custom)?,
            _ => {}
        }
    }
    Ok((first, schema.to_owned()))
}

impl<T: Message + Default + Serialize> Serialize for Request<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        let each = |part| Group::<T>(part, self.1, PhantomData);
        map.serialize_entry(self.1.groups, &Each { message: self.0, tag: 1, each })?;
        map.end()
    }
}

impl<T: Message + Default + Serialize> Serialize for Group<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (resource, schema) = beside::<Resource, S::Error>(self.0)?;
        let each = |part| Scope::<T>(part, self.1, PhantomData);
        object(to, ("resource", resource), (self.1.scopes, Each { message: self.0, tag: 2, each }), &schema)
    }
}

impl<T: Message + Default + Serialize> Serialize for Scope<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (scope, schema) = beside::<InstrumentationScope, S::Error>(self.0)?;
        let each = |part| Item::<T>(part, PhantomData);
        object(to, ("scope", scope), (self.1.items, Each { message: self.0, tag: 2, each }), &schema)
    }
}

fn object<S: Serializer>(
    to: S,
    first: (&str, Option<impl Serialize>),
    list: (&str, impl Serialize),
    schema: &str,
) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(None)?;
    if let (name, Some(value)) = &first {
        map.serialize_entry(name, value)?;
    }
    map.serialize_entry(list.0, &list.1)?;
    if !schema.is_empty() {
        map.serialize_entry("schemaUrl", schema)?;
    }
    map.end()
}

impl<T: Message + Default + Serialize> Serialize for Item<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        T::decode(self.0).map_err(S::Error::custom)?.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use proto::{
        otlp_logs::{ExportLogsServiceRequest, ResourceLogs, ScopeLogs},
        otlp_metrics::{ExportMetricsServiceRequest, ResourceMetrics, ScopeMetrics},
        otlp_traces::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans},
    };

    use super::*;

    fn same(signal: Signal, whole: &(impl Message + Serialize)) {
        let mut line = Vec::new();
        write(signal, &whole.encode_to_vec(), &mut line).unwrap();
        assert_eq!(String::from_utf8(line).unwrap(), serde_json::to_string(whole).unwrap());
    }

    #[test]
    fn item_by_item_is_as_the_whole_message() {
        let resource = Some(Resource { attributes: vec![("a", "b\"").into()], ..Resource::default() });
        let scope = Some(InstrumentationScope { name: "lib".into(), ..InstrumentationScope::default() });
        let span = |name: &str| Span { name: name.into(), trace_id: vec![1; 16], ..Span::default() };
        let spans = ScopeSpans { scope: scope.clone(), spans: vec![span("x"), span("y")], schema_url: "s".into() };
        let groups = vec![
            ResourceSpans {
                resource: resource.clone(),
                scope_spans: vec![spans.clone(), ScopeSpans::default()],
                schema_url: "r".into(),
            },
            ResourceSpans { scope_spans: vec![spans], ..ResourceSpans::default() },
            ResourceSpans::default(),
        ];
        same(Signal::Traces, &ExportTraceServiceRequest { resource_spans: groups });
        same(Signal::Traces, &ExportTraceServiceRequest::default());
        let records = vec![LogRecord { time_unix_nano: 5, severity_text: "INFO".into(), ..LogRecord::default() }];
        let scope_logs = vec![ScopeLogs { scope: scope.clone(), log_records: records, ..ScopeLogs::default() }];
        let group = ResourceLogs { resource: resource.clone(), scope_logs, ..ResourceLogs::default() };
        same(Signal::Logs, &ExportLogsServiceRequest { resource_logs: vec![group] });
        let metrics = vec![Metric { name: "m".into(), unit: "s".into(), ..Metric::default() }];
        let group = ResourceMetrics {
            resource,
            scope_metrics: vec![ScopeMetrics { scope, metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        };
        same(Signal::Metrics, &ExportMetricsServiceRequest { resource_metrics: vec![group] });
    }
}
