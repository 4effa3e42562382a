//! The messages of OTLP with the names that their fields have in JSON.
//!
//! Source: opentelemetry-proto 1.x and protobuf's JSON mapping.

use model::otlp::Signal;

/// A message type.
pub(super) struct Message {
    pub name: &'static str,
    pub fields: &'static [Field],
}

/// A field of a message.
pub(super) struct Field {
    /// lowerCamelCase.
    pub name: &'static str,
    pub tag: u8,
    pub kind: Kind,
    pub repeated: bool,
}

/// What stands in a field.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Base64.
    Bytes,
    /// Hexadecimal.
    Id,
    Bool,
    /// `uint32`, `uint64`.
    Unsigned,
    /// `int32`, `int64`.
    Signed,
    /// `sint32`.
    Zigzag,
    /// `fixed32`.
    Fixed32,
    /// `fixed64`.
    Fixed64,
    /// `sfixed64`.
    SignedFixed64,
    Double,
    /// A number, or one of these names; the first is 0.
    Enum(&'static [&'static str]),
    Message(&'static Message),
}

use Kind::{
    Bool, Bytes, Double, Enum, Fixed32, Fixed64, Id, Message as M, Signed, SignedFixed64, Text, Unsigned, Zigzag,
};

/// The request of a signal.
pub(super) fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

macro_rules! messages {
    ($($ident:ident $name:literal { $($tag:literal $field:literal $kind:expr $(, $many:ident)? ;)* })*) => {
        $(static $ident: Message = Message {
            name: $name,
            fields: &[$(Field { name: $field, tag: $tag, kind: $kind, repeated: messages!(@ $($many)?) }),*],
        };)*
    };
    (@) => { false };
    (@ many) => { true };
}

const SPAN_KIND: &[&str] = &[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const STATUS_CODE: &[&str] = &["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];
const TEMPORALITY: &[&str] =
    &["AGGREGATION_TEMPORALITY_UNSPECIFIED", "AGGREGATION_TEMPORALITY_DELTA", "AGGREGATION_TEMPORALITY_CUMULATIVE"];
const SEVERITY: &[&str] = &[
    "SEVERITY_NUMBER_UNSPECIFIED",
    "SEVERITY_NUMBER_TRACE",
    "SEVERITY_NUMBER_TRACE2",
    "SEVERITY_NUMBER_TRACE3",
    "SEVERITY_NUMBER_TRACE4",
    "SEVERITY_NUMBER_DEBUG",
    "SEVERITY_NUMBER_DEBUG2",
    "SEVERITY_NUMBER_DEBUG3",
    "SEVERITY_NUMBER_DEBUG4",
    "SEVERITY_NUMBER_INFO",
    "SEVERITY_NUMBER_INFO2",
    "SEVERITY_NUMBER_INFO3",
    "SEVERITY_NUMBER_INFO4",
    "SEVERITY_NUMBER_WARN",
    "SEVERITY_NUMBER_WARN2",
    "SEVERITY_NUMBER_WARN3",
    "SEVERITY_NUMBER_WARN4",
    "SEVERITY_NUMBER_ERROR",
    "SEVERITY_NUMBER_ERROR2",
    "SEVERITY_NUMBER_ERROR3",
    "SEVERITY_NUMBER_ERROR4",
    "SEVERITY_NUMBER_FATAL",
    "SEVERITY_NUMBER_FATAL2",
    "SEVERITY_NUMBER_FATAL3",
    "SEVERITY_NUMBER_FATAL4",
];

messages! {
    // --- common and resource ---
    ANY_VALUE "a value" {
        1 "stringValue" Text;
        2 "boolValue" Bool;
        3 "intValue" Signed;
        4 "doubleValue" Double;
        5 "arrayValue" M(&ARRAY);
        6 "kvlistValue" M(&KEY_VALUES);
        7 "bytesValue" Bytes;
    }
    ARRAY "an array" { 1 "values" M(&ANY_VALUE), many; }
    KEY_VALUES "a list of attributes" { 1 "values" M(&KEY_VALUE), many; }
    KEY_VALUE "an attribute" { 1 "key" Text; 2 "value" M(&ANY_VALUE); }
    ENTITY "an entity" { 1 "schemaUrl" Text; 2 "type" Text; 3 "idKeys" Text, many; 4 "descriptionKeys" Text, many; }
    RESOURCE "a resource" {
        1 "attributes" M(&KEY_VALUE), many;
        2 "droppedAttributesCount" Unsigned;
        3 "entityRefs" M(&ENTITY), many;
    }
    SCOPE "a scope" {
        1 "name" Text;
        2 "version" Text;
        3 "attributes" M(&KEY_VALUE), many;
        4 "droppedAttributesCount" Unsigned;
    }
    // --- traces ---
    TRACES "a traces request" { 1 "resourceSpans" M(&RESOURCE_SPANS), many; }
    RESOURCE_SPANS "resource spans" {
        1 "resource" M(&RESOURCE);
        2 "scopeSpans" M(&SCOPE_SPANS), many;
        3 "schemaUrl" Text;
    }
    SCOPE_SPANS "scope spans" { 1 "scope" M(&SCOPE); 2 "spans" M(&SPAN), many; 3 "schemaUrl" Text; }
    SPAN "a span" {
        1 "traceId" Id;
        2 "spanId" Id;
        3 "traceState" Text;
        4 "parentSpanId" Id;
        5 "name" Text;
        6 "kind" Enum(SPAN_KIND);
        7 "startTimeUnixNano" Fixed64;
        8 "endTimeUnixNano" Fixed64;
        9 "attributes" M(&KEY_VALUE), many;
        10 "droppedAttributesCount" Unsigned;
        11 "events" M(&EVENT), many;
        12 "droppedEventsCount" Unsigned;
        13 "links" M(&LINK), many;
        14 "droppedLinksCount" Unsigned;
        15 "status" M(&STATUS);
        16 "flags" Fixed32;
    }
    EVENT "an event" {
        1 "timeUnixNano" Fixed64;
        2 "name" Text;
        3 "attributes" M(&KEY_VALUE), many;
        4 "droppedAttributesCount" Unsigned;
    }
    LINK "a link" {
        1 "traceId" Id;
        2 "spanId" Id;
        3 "traceState" Text;
        4 "attributes" M(&KEY_VALUE), many;
        5 "droppedAttributesCount" Unsigned;
        6 "flags" Fixed32;
    }
    STATUS "a status" { 2 "message" Text; 3 "code" Enum(STATUS_CODE); }
    // --- metrics ---
    METRICS "a metrics request" { 1 "resourceMetrics" M(&RESOURCE_METRICS), many; }
    RESOURCE_METRICS "resource metrics" {
        1 "resource" M(&RESOURCE);
        2 "scopeMetrics" M(&SCOPE_METRICS), many;
        3 "schemaUrl" Text;
    }
    SCOPE_METRICS "scope metrics" { 1 "scope" M(&SCOPE); 2 "metrics" M(&METRIC), many; 3 "schemaUrl" Text; }
    METRIC "a metric" {
        1 "name" Text;
        2 "description" Text;
        3 "unit" Text;
        5 "gauge" M(&GAUGE);
        7 "sum" M(&SUM);
        9 "histogram" M(&HISTOGRAM);
        10 "exponentialHistogram" M(&EXPONENTIAL);
        11 "summary" M(&SUMMARY);
        12 "metadata" M(&KEY_VALUE), many;
    }
    GAUGE "a gauge" { 1 "dataPoints" M(&NUMBER), many; }
    SUM "a sum" { 1 "dataPoints" M(&NUMBER), many; 2 "aggregationTemporality" Enum(TEMPORALITY); 3 "isMonotonic" Bool; }
    HISTOGRAM "a histogram" { 1 "dataPoints" M(&HISTOGRAM_POINT), many; 2 "aggregationTemporality" Enum(TEMPORALITY); }
    EXPONENTIAL "an exponential histogram" {
        1 "dataPoints" M(&EXPONENTIAL_POINT), many;
        2 "aggregationTemporality" Enum(TEMPORALITY);
    }
    SUMMARY "a summary" { 1 "dataPoints" M(&SUMMARY_POINT), many; }
    NUMBER "a data point" {
        2 "startTimeUnixNano" Fixed64;
        3 "timeUnixNano" Fixed64;
        4 "asDouble" Double;
        5 "exemplars" M(&EXEMPLAR), many;
        6 "asInt" SignedFixed64;
        7 "attributes" M(&KEY_VALUE), many;
        8 "flags" Unsigned;
    }
    HISTOGRAM_POINT "a histogram's data point" {
        2 "startTimeUnixNano" Fixed64;
        3 "timeUnixNano" Fixed64;
        4 "count" Fixed64;
        5 "sum" Double;
        6 "bucketCounts" Fixed64, many;
        7 "explicitBounds" Double, many;
        8 "exemplars" M(&EXEMPLAR), many;
        9 "attributes" M(&KEY_VALUE), many;
        10 "flags" Unsigned;
        11 "min" Double;
        12 "max" Double;
    }
    EXPONENTIAL_POINT "an exponential histogram's data point" {
        1 "attributes" M(&KEY_VALUE), many;
        2 "startTimeUnixNano" Fixed64;
        3 "timeUnixNano" Fixed64;
        4 "count" Fixed64;
        5 "sum" Double;
        6 "scale" Zigzag;
        7 "zeroCount" Fixed64;
        8 "positive" M(&BUCKETS);
        9 "negative" M(&BUCKETS);
        10 "flags" Unsigned;
        11 "exemplars" M(&EXEMPLAR), many;
        12 "min" Double;
        13 "max" Double;
        14 "zeroThreshold" Double;
    }
    BUCKETS "buckets" { 1 "offset" Zigzag; 2 "bucketCounts" Unsigned, many; }
    SUMMARY_POINT "a summary's data point" {
        2 "startTimeUnixNano" Fixed64;
        3 "timeUnixNano" Fixed64;
        4 "count" Fixed64;
        5 "sum" Double;
        6 "quantileValues" M(&QUANTILE), many;
        7 "attributes" M(&KEY_VALUE), many;
        8 "flags" Unsigned;
    }
    QUANTILE "a quantile" { 1 "quantile" Double; 2 "value" Double; }
    EXEMPLAR "an exemplar" {
        2 "timeUnixNano" Fixed64;
        3 "asDouble" Double;
        4 "spanId" Id;
        5 "traceId" Id;
        6 "asInt" SignedFixed64;
        7 "filteredAttributes" M(&KEY_VALUE), many;
    }
    // --- logs ---
    LOGS "a logs request" { 1 "resourceLogs" M(&RESOURCE_LOGS), many; }
    RESOURCE_LOGS "resource logs" {
        1 "resource" M(&RESOURCE);
        2 "scopeLogs" M(&SCOPE_LOGS), many;
        3 "schemaUrl" Text;
    }
    SCOPE_LOGS "scope logs" { 1 "scope" M(&SCOPE); 2 "logRecords" M(&LOG_RECORD), many; 3 "schemaUrl" Text; }
    LOG_RECORD "a log record" {
        1 "timeUnixNano" Fixed64;
        2 "severityNumber" Enum(SEVERITY);
        3 "severityText" Text;
        5 "body" M(&ANY_VALUE);
        6 "attributes" M(&KEY_VALUE), many;
        7 "droppedAttributesCount" Unsigned;
        8 "flags" Fixed32;
        9 "traceId" Id;
        10 "spanId" Id;
        11 "observedTimeUnixNano" Fixed64;
        12 "eventName" Text;
    }
}
