//! Zipkin: spans of version 2 (JSON, protobuf) and version 1 (JSON) as OTLP.
//!
//! Sources: zipkin-api.yaml, zipkin.proto, zipkin-v1's thrift comments; the translation is the OpenTelemetry Collector's. Where
//! it differs, it keeps more: tags that speak of a resource are taken from each span and not from the first of a service; any
//! `error` tag but `false` is an error, as Zipkin has it; `shared` and `debug` stay as attributes; times of version 1 are
//! microseconds.

mod json;
mod protobuf;
mod resource;
mod span;
#[cfg(test)]
mod tests;
mod translate;

pub(crate) use json::{read_v1, read_v2};
pub(crate) use protobuf::read_protobuf;
