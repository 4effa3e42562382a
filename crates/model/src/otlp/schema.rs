//! The messages of `opentelemetry.proto.{trace,metrics,logs}.v1` as tables: which field holds what.
//!
//! Source: opentelemetry-proto 1.x. Fields that are not here are unknown ones, which are skipped as protobuf wants it.

use super::Signal;

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// No field of this message has this number.
    Unknown,
    /// A number of any integer type.
    Varint,
    Fixed64,
    Fixed32,
    /// UTF-8.
    Text,
    Bytes,
    /// An id of so many bytes, or none.
    Id(&'static str, usize),
    Message(&'static Message),
    /// A message that is counted.
    Item(&'static Message),
    /// Repeated `fixed64` or `double`: packed or one by one.
    Fixed64s,
    /// Repeated `uint64`: packed or one by one.
    Varints,
}

use Kind::{Bytes, Fixed32, Fixed64, Fixed64s, Id, Item, Message as M, Text, Unknown as U, Varint, Varints};

/// A message type.
pub(super) struct Message {
    /// For people: `a span`.
    pub name: &'static str,
    /// By number; the first is number 1.
    pub fields: &'static [Kind],
}

/// The request of a signal.
pub(super) fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

const TRACE_ID: Kind = Id("a trace id", 16);
const SPAN_ID: Kind = Id("a span id", 8);

macro_rules! messages {
    ($($ident:ident $name:literal [$($kind:expr),* $(,)?];)*) => {
        $(pub(super) static $ident: Message = Message { name: $name, fields: &[$($kind),*] };)*
    };
}

messages! {
    // --- common and resource ---
    ANY_VALUE "an attribute's value" [Text, Varint, Varint, Fixed64, M(&ARRAY), M(&KEY_VALUES), Bytes];
    ARRAY "an array" [M(&ANY_VALUE)];
    KEY_VALUES "a list of attributes" [M(&KEY_VALUE)];
    KEY_VALUE "an attribute" [Text, M(&ANY_VALUE)];
    RESOURCE "a resource" [M(&KEY_VALUE), Varint];
    SCOPE "a scope" [Text, Text, M(&KEY_VALUE), Varint];
    // --- traces ---
    TRACES "a traces request" [M(&RESOURCE_SPANS)];
    RESOURCE_SPANS "resource spans" [M(&RESOURCE), M(&SCOPE_SPANS), Text];
    SCOPE_SPANS "scope spans" [M(&SCOPE), Item(&SPAN), Text];
    SPAN "a span" [
        TRACE_ID, SPAN_ID, Text, SPAN_ID, Text, Varint, Fixed64, Fixed64, M(&KEY_VALUE), Varint, M(&EVENT), Varint, M(&LINK),
        Varint, M(&STATUS), Fixed32,
    ];
    EVENT "a span's event" [Fixed64, Text, M(&KEY_VALUE), Varint];
    LINK "a span's link" [TRACE_ID, SPAN_ID, Text, M(&KEY_VALUE), Varint, Fixed32];
    STATUS "a span's status" [U, Text, Varint];
    // --- metrics ---
    METRICS "a metrics request" [M(&RESOURCE_METRICS)];
    RESOURCE_METRICS "resource metrics" [M(&RESOURCE), M(&SCOPE_METRICS), Text];
    SCOPE_METRICS "scope metrics" [M(&SCOPE), M(&METRIC), Text];
    METRIC "a metric" [
        Text, Text, Text, U, M(&GAUGE), U, M(&SUM), U, M(&HISTOGRAM), M(&EXPONENTIAL), M(&SUMMARY), M(&KEY_VALUE),
    ];
    GAUGE "a gauge" [Item(&NUMBER)];
    SUM "a sum" [Item(&NUMBER), Varint, Varint];
    HISTOGRAM "a histogram" [Item(&HISTOGRAM_POINT), Varint];
    EXPONENTIAL "an exponential histogram" [Item(&EXPONENTIAL_POINT), Varint];
    SUMMARY "a summary" [Item(&SUMMARY_POINT)];
    NUMBER "a data point" [U, Fixed64, Fixed64, Fixed64, M(&EXEMPLAR), Fixed64, M(&KEY_VALUE), Varint];
    HISTOGRAM_POINT "a histogram's data point" [
        U, Fixed64, Fixed64, Fixed64, Fixed64, Fixed64s, Fixed64s, M(&EXEMPLAR), M(&KEY_VALUE), Varint, Fixed64, Fixed64,
    ];
    EXPONENTIAL_POINT "an exponential histogram's data point" [
        M(&KEY_VALUE), Fixed64, Fixed64, Fixed64, Fixed64, Varint, Fixed64, M(&BUCKETS), M(&BUCKETS), Varint, M(&EXEMPLAR),
        Fixed64, Fixed64, Fixed64,
    ];
    BUCKETS "buckets" [Varint, Varints];
    SUMMARY_POINT "a summary's data point" [
        U, Fixed64, Fixed64, Fixed64, Fixed64, M(&QUANTILE), M(&KEY_VALUE), Varint,
    ];
    QUANTILE "a quantile" [Fixed64, Fixed64];
    EXEMPLAR "an exemplar" [U, Fixed64, Fixed64, SPAN_ID, TRACE_ID, Fixed64, M(&KEY_VALUE)];
    // --- logs ---
    LOGS "a logs request" [M(&RESOURCE_LOGS)];
    RESOURCE_LOGS "resource logs" [M(&RESOURCE), M(&SCOPE_LOGS), Text];
    SCOPE_LOGS "scope logs" [M(&SCOPE), Item(&LOG_RECORD), Text];
    LOG_RECORD "a log record" [
        Fixed64, Varint, Text, U, M(&ANY_VALUE), M(&KEY_VALUE), Varint, Fixed32, TRACE_ID, SPAN_ID, Fixed64, Text,
    ];
}
