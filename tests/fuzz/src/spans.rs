//! Spans of Zipkin and Jaeger as receivers meet them, and OTLP as it is translated.
//!
//! What is accepted must be a request that passes the receiver's own check, with the number of spans that was counted. The checks
//! need the insides of the receiver, which opens a door for them.

/// JSON of both versions, and protobuf.
pub fn zipkin(data: &[u8]) {
    otlp_receive::fuzz::zipkin(data);
}

/// Thrift in both protocols, as a batch and as a call, and protobuf.
pub fn jaeger(data: &[u8]) {
    otlp_receive::fuzz::jaeger(data);
}

/// Metrics as samples and logs as lines.
pub fn otlp_translate(data: &[u8]) {
    otlp_receive::fuzz::translate(data);
}
