//! OTLP requests as receivers meet them: protobuf, JSON, and packed in any way.
//!
//! What is accepted must be counted alike by both walks, and what JSON becomes must be a request. The checks need the insides of
//! the receiver, which opens a door for them.

/// A request of each signal as protobuf.
pub fn otlp_protobuf(data: &[u8]) {
    otlp_receive::fuzz::protobuf(data);
}

/// The same as JSON.
pub fn otlp_json(data: &[u8]) {
    otlp_receive::fuzz::json(data);
}

/// A packed body: the first byte says how.
pub fn otlp_packed(data: &[u8]) {
    otlp_receive::fuzz::packed(data);
}
