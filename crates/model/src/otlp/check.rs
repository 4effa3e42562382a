//! Whether a request is what OTLP says, to the last attribute: what a receiver must know before it answers.
//!
//! A request that passes can be read by every receiver further on, so that one bad span cannot hold up those it is joined
//! with. Judges form, not sense: it does not mind times in the future, or a span without a name.

use super::{
    Signal,
    fields::{Value, fields},
    schema::{KEY_VALUE, Kind, Message, request},
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
                // Looked at in larger blocks.
                if !text.is_ascii() && std::str::from_utf8(text).is_err() {
                    return Err(corrupt("a text is not UTF-8"));
                }
            }
            (Kind::Id(name, len), Value::Bytes(id)) => {
                if !id.is_empty() && id.len() != len {
                    let reason = if len == 16 { "it does not have 16 bytes" } else { "it does not have 8 bytes" };
                    return Err(ModelError::Corrupt { part: name, reason });
                }
            }
            (Kind::Message(inner), Value::Bytes(bytes)) => {
                if !(std::ptr::eq(inner, &KEY_VALUE) && depth > 2 && is_usual_attribute(bytes)) {
                    message(inner, bytes, depth, items)?;
                }
            }
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

/// Whether these are an attribute as most are: its key, then a short text or a small number, all of ASCII. What is not may
/// be as good, and is read field by field.
fn is_usual_attribute(bytes: &[u8]) -> bool {
    /// The tags of an attribute's key and value, and of a value's text and number.
    const KEY: u8 = 0x0a;
    const VALUE: u8 = 0x12;
    const TEXT: u8 = 0x0a;
    const INT: u8 = 0x18;
    let [KEY, len @ ..=0x7f, rest @ ..] = bytes else { return false };
    let Some((key, [VALUE, len @ ..=0x7f, value @ ..])) = rest.split_at_checked(usize::from(*len)) else {
        return false;
    };
    if value.len() != usize::from(*len) || !key.is_ascii() {
        return false;
    }
    match value {
        [TEXT, len @ ..=0x7f, text @ ..] => text.len() == usize::from(*len) && text.is_ascii(),
        [INT, ..=0x7f] | [INT, 0x80..=0xff, ..=0x7f] => true,
        _ => false,
    }
}

/// The walk over fields does not know whose they are.
fn named(error: ModelError, part: &'static str) -> ModelError {
    match error {
        ModelError::Truncated { .. } => ModelError::Truncated { part },
        ModelError::Corrupt { reason, .. } => ModelError::Corrupt { part, reason },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn what_passes_at_a_glance_passes_when_it_is_read(
            key in "[a-zü]{0,4}",
            value in prop_oneof![
                "[a-zü]{0,4}".prop_map(|text| [&[0x0a, text.len() as u8], text.as_bytes()].concat()),
                any::<u16>().prop_map(|number| vec![0x18, number as u8, (number >> 8) as u8]),
                (0..200u8).prop_map(|number| vec![0x18, number]),
                prop::collection::vec(any::<u8>(), 0..4),
            ],
            change in prop::option::of((0usize..12, any::<u8>())),
        ) {
            let mut pair = [&[0x0a, key.len() as u8], key.as_bytes(), &[0x12, value.len() as u8], &value].concat();
            if let Some((at, byte)) = change
                && let Some(place) = pair.get_mut(at)
            {
                *place = byte;
            }
            if is_usual_attribute(&pair) {
                prop_assert!(message(&KEY_VALUE, &pair, 3, &mut 0).is_ok(), "{:02x?}", pair);
            }
        }
    }

    #[test]
    fn most_attributes_pass_at_a_glance() {
        for usual in [
            &b"\x0a\x01a\x12\x03\x0a\x01b"[..],
            b"\x0a\x01a\x12\x02\x18\x07",
            b"\x0a\x01a\x12\x03\x18\xc8\x01",
            b"\x0a\x00\x12\x02\x0a\x00",
        ] {
            assert!(is_usual_attribute(usual), "{usual:02x?}");
        }
        for other in [
            &b""[..],
            b"\x0a\x01a",
            b"\x0a\x01a\x12\x00",
            b"\x0a\x02\xc3\xbc\x12\x02\x18\x07",
            b"\x0a\x01a\x12\x02\x20\x07",
        ] {
            assert!(!is_usual_attribute(other), "{other:02x?}");
        }
    }
}
