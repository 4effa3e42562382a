//! How much memory a request may take once somebody decodes it: protobuf writes in two bytes what a struct holds in a hundred.
//!
//! Follows the schema, so that a text is a text whatever its bytes look like. Allocates nothing.

use super::{
    MAX_DEPTH, Signal,
    fields::{Value, fields},
    schema::{Kind, Message, request},
};

/// What a message takes beside its fields, an attribute for instance. A span takes more: its caller knows how many there are.
const MESSAGE: usize = 64;
/// What a text or a list of bytes takes beside its bytes: its place in the message, and what an allocator adds.
const TEXT: usize = 48;
/// A number, in a list that grows.
const NUMBER: usize = 16;

/// An upper estimate, in bytes; more than [`usize::MAX`] is that. Takes any bytes: what is no request of this signal is as large as it is.
pub fn footprint(signal: Signal, bytes: &[u8]) -> usize {
    bytes.len().saturating_add(message(request(signal), bytes, MAX_DEPTH))
}

fn message(of: &'static Message, bytes: &[u8], depth: usize) -> usize {
    let Some(depth) = depth.checked_sub(1) else { return 0 };
    let mut sum = 0usize;
    for field in fields(bytes).map_while(Result::ok) {
        let number = usize::try_from(field.tag).unwrap_or(usize::MAX);
        let kind = number.checked_sub(1).and_then(|at| of.fields.get(at)).copied().unwrap_or(Kind::Unknown);
        let more = match (kind, field.value) {
            (Kind::Message(inner) | Kind::Item(inner), Value::Bytes(bytes)) => {
                message(inner, bytes, depth).saturating_add(MESSAGE)
            }
            // A byte each, if they are small.
            (Kind::Varints, Value::Bytes(packed)) => packed.len().saturating_mul(NUMBER),
            (Kind::Fixed64s, Value::Bytes(packed)) => packed.len(),
            (Kind::Unknown, _) => 0,
            (_, Value::Bytes(_)) => TEXT,
            _ => NUMBER,
        };
        sum = sum.saturating_add(more);
    }
    sum
}
