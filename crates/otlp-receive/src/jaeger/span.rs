//! A Jaeger span as both of its forms have it. Tags are OTLP's attributes already, which hold the same kinds of values.

use proto::otlp_common::KeyValue;

#[derive(Debug, Default, Clone)]
pub(super) struct JaegerSpan {
    pub trace_id: [u8; 16],
    pub id: [u8; 8],
    /// Zero: none is said.
    pub parent: [u8; 8],
    pub name: String,
    pub references: Vec<Reference>,
    /// Nanoseconds since the epoch.
    pub start: u64,
    /// Nanoseconds.
    pub duration: u64,
    pub tags: Vec<KeyValue>,
    pub logs: Vec<Log>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Reference {
    pub trace_id: [u8; 16],
    pub id: [u8; 8],
    pub follows: bool,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Log {
    /// Nanoseconds since the epoch.
    pub time: u64,
    pub fields: Vec<KeyValue>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Process {
    pub service: String,
    pub tags: Vec<KeyValue>,
}
