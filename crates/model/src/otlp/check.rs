//! Whether a request is what OTLP says, to the last attribute: what a receiver must know before it answers.
//!
//! A request that passes can be read by every receiver further on, so that one bad span cannot hold up those it is joined
//! with. Judges form, not sense: it does not mind times in the future, or a span without a name.

use super::{
    Signal,
    fields::{Value, fields},
    schema::{Kind, Message, request},
};
use crate::{ModelError, wire::Cursor};

/// Messages within messages, the request counted. As deep as protobuf's own readers go.
pub const MAX_DEPTH: usize = 100;

/// Reads all of a request and gives the number of its spans, points or records.
///
/// An error names the innermost message that is wrong. Unknown fields are skipped. Ids may be missing; else they have their
/// length (the OpenTelemetry specification's, 16 and 8 bytes).
pub fn check(signal: Signal, bytes: &[u8]) -> Result<u32, ModelError> {
    let mut items = 0;
    message(request(signal), bytes, MAX_DEPTH, &mut items)?;
    u32::try_from(items).map_err(|_| ModelError::TooLarge {
        part: "an OTLP request",
        found: items,
        limit: u64::from(u32::MAX),
    })
}

fn message(of: &'static Message, bytes: &[u8], depth: usize, items: &mut u64) -> Result<(), ModelError> {
    let part = of.name;
    let corrupt = |reason| ModelError::Corrupt { part, reason };
    let Some(depth) = depth.checked_sub(1) else {
        return Err(corrupt("messages are nested too deeply"));
    };
    for field in fields(bytes) {
        let field = field.map_err(|error| named(error, part))?;
        let number = usize::try_from(field.tag).unwrap_or(usize::MAX);
        let kind = of.fields.get(number - 1).copied().unwrap_or(Kind::Unknown);
        match (kind, field.value) {
            (Kind::Unknown, _)
            | (Kind::Varint | Kind::Varints, Value::Varint(_))
            | (Kind::Fixed64 | Kind::Fixed64s, Value::Fixed64(_))
            | (Kind::Fixed32, Value::Fixed32(_))
            | (Kind::Bytes, Value::Bytes(_)) => {}
            (Kind::Text, Value::Bytes(text)) => {
                if std::str::from_utf8(text).is_err() {
                    return Err(corrupt("a text is not UTF-8"));
                }
            }
            (Kind::Id(name, len), Value::Bytes(id)) => {
                if !id.is_empty() && id.len() != len {
                    let reason = if len == 16 { "it does not have 16 bytes" } else { "it does not have 8 bytes" };
                    return Err(ModelError::Corrupt { part: name, reason });
                }
            }
            (Kind::Message(inner), Value::Bytes(bytes)) => message(inner, bytes, depth, items)?,
            (Kind::Item(inner), Value::Bytes(bytes)) => {
                *items += 1;
                message(inner, bytes, depth, items)?;
            }
            (Kind::Fixed64s, Value::Bytes(packed)) => {
                if packed.len() % 8 != 0 {
                    return Err(corrupt("a list of numbers ends within one"));
                }
            }
            (Kind::Varints, Value::Bytes(packed)) => {
                let mut cursor = Cursor::new(packed, part);
                while !cursor.is_empty() {
                    cursor.varint()?;
                }
            }
            _ => return Err(corrupt("a field has another type than OTLP gives it")),
        }
    }
    Ok(())
}

/// The walk over fields does not know whose they are.
fn named(error: ModelError, part: &'static str) -> ModelError {
    match error {
        ModelError::Truncated { .. } => ModelError::Truncated { part },
        ModelError::Corrupt { reason, .. } => ModelError::Corrupt { part, reason },
        other => other,
    }
}
