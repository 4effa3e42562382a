//! How much memory a request may take once it is decoded: protobuf writes in two bytes what a struct holds in a hundred.

use model::otlp::{Value, fields};

/// Messages within messages that are looked into: as deep as an attribute of a data point's exemplar.
const LEVELS: u32 = 9;

/// What a field may take in memory.
const FIELD: usize = 64;

/// An upper estimate, in bytes. Takes any bytes.
pub fn footprint(request: &[u8]) -> usize {
    let mut found = 0;
    count(request, LEVELS, &mut found);
    request.len().saturating_add(found.saturating_mul(FIELD))
}

fn count(message: &[u8], levels: u32, found: &mut usize) {
    for field in fields(message).map_while(Result::ok) {
        *found += 1;
        if let (Value::Bytes(inner), true) = (field.value, levels > 0) {
            // A text may look like a message: then a little is counted that is not there.
            count(inner, levels - 1, found);
        }
    }
}
