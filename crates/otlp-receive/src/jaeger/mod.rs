//! Jaeger: batches in Thrift (binary and compact, over HTTP and UDP) and in protobuf (gRPC) as OTLP.
//!
//! Sources: jaeger.thrift, agent.thrift, model.proto, collector.proto (jaegertracing/jaeger-idl), Thrift's specifications of its
//! binary and compact protocols; the translation is the OpenTelemetry Collector's.

mod batch;
mod protobuf;
mod span;
#[cfg(test)]
mod tests;
mod thrift;
mod translate;
mod udp;

pub(crate) use batch::{read_binary_batch, read_datagram};
pub(crate) use protobuf::read_request;
pub(crate) use thrift::Protocol;
pub(crate) use udp::serve as serve_datagrams;
