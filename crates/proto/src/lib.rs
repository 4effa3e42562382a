//! Protobuf messages we read and write, as prost structs.
//!
//! For tests, for the sandbox, for translations and for decoders of small bodies. The hot path of the senders writes these
//! messages by hand from ready-made label bytes, or passes them on as they came, and never builds these structs. Refuses:
//! behaviour of any kind beyond the two forms (protobuf, and OTLP's JSON) that the specifications give a message.
//!
//! - [`jaeger`]: `jaeger.api_v2`; [`zipkin`]: Zipkin's spans. What receivers take in beside OTLP.
//! - [`loki`]: `logproto.PushRequest` of Loki's push API.
//! - [`otlp_traces`], [`otlp_metrics`], [`otlp_logs`]: OTLP's exports; [`otlp_common`] is what they share.
//! - [`remote_write`]: `prometheus.WriteRequest` of the remote-write 1.0 specification.

pub mod jaeger;
pub mod loki;
pub mod otlp_common;
mod otlp_json;
pub mod otlp_logs;
pub mod otlp_metrics;
pub mod otlp_traces;
pub mod remote_write;
pub mod zipkin;
