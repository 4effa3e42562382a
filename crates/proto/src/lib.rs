//! Protobuf messages we read and write, as prost structs.
//!
//! For tests, for the sandbox and for decoders of small bodies. The hot path of the senders writes these messages by
//! hand from ready-made label bytes and never builds these structs. Refuses: behaviour of any kind.
//!
//! - [`loki`]: `logproto.PushRequest` of Loki's push API.
//! - [`otlp_logs`]: OTLP's export of log records.
//! - [`remote_write`]: `prometheus.WriteRequest` of the remote-write 1.0 specification.

pub mod loki;
pub mod otlp_logs;
pub mod remote_write;
