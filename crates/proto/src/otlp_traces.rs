//! `opentelemetry.proto.collector.trace.v1` and `trace.v1` (OTLP specification 1.x). With OTLP's JSON form.

use serde::{Deserialize, Serialize};

use crate::{
    otlp_common::{InstrumentationScope, KeyValue, Resource},
    otlp_json::{self, Names, by_name, is_default, or_default},
};

/// Body of an export. Serialized ones concatenate.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExportTraceServiceRequest {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub resource_spans: Vec<ResourceSpans>,
}

/// Its answer.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExportTraceServiceResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_success: Option<ExportTracePartialSuccess>,
}

/// What was not taken.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExportTracePartialSuccess {
    #[prost(int64, tag = "1")]
    #[serde(with = "otlp_json::long", skip_serializing_if = "is_default")]
    pub rejected_spans: i64,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub error_message: String,
}

/// Spans of one resource.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub scope_spans: Vec<ScopeSpans>,
    #[prost(string, tag = "3")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub schema_url: String,
}

/// Spans of one library.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<InstrumentationScope>,
    #[prost(message, repeated, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub spans: Vec<Span>,
    #[prost(string, tag = "3")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub schema_url: String,
}

/// One operation.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Span {
    /// 16 bytes, not all zero.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "otlp_json::id")]
    pub trace_id: Vec<u8>,
    /// 8 bytes, not all zero.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "otlp_json::id")]
    pub span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub trace_state: String,
    /// Empty: a root.
    #[prost(bytes = "vec", tag = "4")]
    #[serde(with = "otlp_json::id", skip_serializing_if = "Vec::is_empty")]
    pub parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// A [`SpanKind`], or one that is not known yet.
    #[prost(enumeration = "SpanKind", tag = "6")]
    #[serde(deserialize_with = "by_name::<_, SpanKind>", skip_serializing_if = "is_default")]
    pub kind: i32,
    /// Nanoseconds since the Unix epoch.
    #[prost(fixed64, tag = "7")]
    #[serde(with = "otlp_json::long")]
    pub start_time_unix_nano: u64,
    /// Nanoseconds since the Unix epoch.
    #[prost(fixed64, tag = "8")]
    #[serde(with = "otlp_json::long")]
    pub end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "10")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub dropped_attributes_count: u32,
    #[prost(message, repeated, tag = "11")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    #[prost(uint32, tag = "12")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub dropped_events_count: u32,
    #[prost(message, repeated, tag = "13")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    #[prost(uint32, tag = "14")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub dropped_links_count: u32,
    #[prost(message, optional, tag = "15")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The low eight bits are those of W3C's trace flags.
    #[prost(fixed32, tag = "16")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub flags: u32,
}

/// Something that happened during a span.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// Nanoseconds since the Unix epoch.
    #[prost(fixed64, tag = "1")]
    #[serde(with = "otlp_json::long")]
    pub time_unix_nano: u64,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[prost(message, repeated, tag = "3")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "4")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub dropped_attributes_count: u32,
}

/// A span of this or another trace that this one has to do with.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Link {
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "otlp_json::id")]
    pub trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "otlp_json::id")]
    pub span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub trace_state: String,
    #[prost(message, repeated, tag = "4")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "5")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub dropped_attributes_count: u32,
    #[prost(fixed32, tag = "6")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub flags: u32,
}

/// How an operation ended.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// A [`StatusCode`], or one that is not known yet.
    #[prost(enumeration = "StatusCode", tag = "3")]
    #[serde(deserialize_with = "by_name::<_, StatusCode>", skip_serializing_if = "is_default")]
    pub code: i32,
}

/// Which side of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SpanKind {
    Unspecified = 0,
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

impl Names for SpanKind {
    const NAMES: &'static [(&'static str, i32)] = &[
        ("SPAN_KIND_UNSPECIFIED", 0),
        ("SPAN_KIND_INTERNAL", 1),
        ("SPAN_KIND_SERVER", 2),
        ("SPAN_KIND_CLIENT", 3),
        ("SPAN_KIND_PRODUCER", 4),
        ("SPAN_KIND_CONSUMER", 5),
    ];
}

/// See [`Status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum StatusCode {
    Unset = 0,
    Ok = 1,
    Error = 2,
}

impl Names for StatusCode {
    const NAMES: &'static [(&'static str, i32)] =
        &[("STATUS_CODE_UNSET", 0), ("STATUS_CODE_OK", 1), ("STATUS_CODE_ERROR", 2)];
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::otlp_common::{AnyValue, ArrayValue, Value};

    /// The example of the OTLP specification's repository (`examples/trace.json`), with one of each kind of value.
    const EXAMPLE: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},
        "scopeSpans":[{"scope":{"name":"my.library","version":"1.0.0","attributes":[{"key":"n","value":{"intValue":"-5"}}]},
        "spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","parentSpanId":"EEE19B7EC3C1B173",
        "name":"I'm a server span","startTimeUnixNano":"1544712660000000000","endTimeUnixNano":1544712661000000000,"kind":2,
        "unknownField":{"a":[1]},"traceState":null,"status":{"code":"STATUS_CODE_ERROR","message":"m"},"flags":257,
        "attributes":[{"key":"a","value":{"arrayValue":{"values":[{"doubleValue":"NaN"},{"boolValue":true},{"bytesValue":"AQI="},{}]}}},
        {"key":"b","value":{"kvlistValue":{"values":[{"key":"k","value":{"intValue":7}}]}}},{"key":"c"},{"key":"d","value":null}]}]}]}]}"#;

    #[test]
    fn json_as_others_write_it_is_read() {
        let request: ExportTraceServiceRequest = serde_json::from_str(EXAMPLE).unwrap();
        let span = &request.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!(hex::encode(&span.trace_id), "5b8efff798038103d269b633813fc60c");
        assert_eq!(
            (span.start_time_unix_nano, span.end_time_unix_nano),
            (1_544_712_660_000_000_000, 1_544_712_661_000_000_000)
        );
        assert_eq!(
            (span.kind(), span.status.as_ref().unwrap().code(), span.flags),
            (SpanKind::Server, StatusCode::Error, 257)
        );
        let Some(Value::Array(ArrayValue { values })) = &span.attributes[0].value.as_ref().unwrap().value else {
            panic!()
        };
        assert!(matches!(values[0].value, Some(Value::Double(nan)) if nan.is_nan()));
        assert_eq!(values[2].value, Some(Value::Bytes(vec![1, 2])));
        assert_eq!(values[3], AnyValue::default());
        assert_eq!(span.attributes[3].value, None);
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let mut request: ExportTraceServiceRequest = serde_json::from_str(EXAMPLE).unwrap();
        // Not equal to itself.
        request.resource_spans[0].scope_spans[0].spans[0].attributes.remove(0);
        let text = serde_json::to_string(&request).unwrap();
        assert!(text.contains(r#""startTimeUnixNano":"1544712660000000000""#), "{text}");
        assert!(text.contains(r#""traceId":"5b8efff798038103d269b633813fc60c""#), "{text}");
        assert!(text.contains(r#""kind":2"#) && text.contains(r#"{"intValue":"7"}"#), "{text}");
        assert_eq!(serde_json::from_str::<ExportTraceServiceRequest>(&text).unwrap(), request);
        let bytes = request.encode_to_vec();
        assert_eq!(ExportTraceServiceRequest::decode(&*bytes).unwrap(), request);
    }

    #[test]
    fn field_numbers_are_those_of_the_specification() {
        let span = Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: "n".into(),
            kind: 3,
            start_time_unix_nano: 1,
            end_time_unix_nano: 2,
            status: Some(Status { message: "m".into(), code: 2 }),
            flags: 1,
            ..Span::default()
        };
        let expected: &[u8] = &[
            0x0a, 16, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, // trace_id
            0x12, 8, 2, 2, 2, 2, 2, 2, 2, 2, // span_id
            0x2a, 1, b'n', 0x30, 3, // name, kind
            0x39, 1, 0, 0, 0, 0, 0, 0, 0, 0x41, 2, 0, 0, 0, 0, 0, 0, 0, // times
            0x7a, 5, 0x12, 1, b'm', 0x18, 2, // status
            0x85, 0x01, 1, 0, 0, 0, // flags
        ];
        assert_eq!(span.encode_to_vec(), expected);
    }

    #[test]
    fn wrong_json_is_an_error_and_no_panic() {
        for wrong in [
            r#"{"resourceSpans":1}"#,
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz"}]}]}]}"#,
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"-1"}]}]}]}"#,
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":1.5}]}]}]}"#,
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SPAN_KIND_NONE"}]}]}]}"#,
            r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":"b"}]}}]}"#,
        ] {
            assert!(serde_json::from_str::<ExportTraceServiceRequest>(wrong).is_err(), "{wrong}");
        }
        let deep = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(5000), "]}}".repeat(5000));
        assert!(serde_json::from_str::<AnyValue>(&deep).is_err(), "bounded depth");
    }
}
