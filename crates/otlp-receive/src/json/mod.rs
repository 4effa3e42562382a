//! OTLP/JSON to protobuf, field by field, without building messages.
//!
//! The mapping is protobuf's (ProtoJSON) with OTLP's changes: ids are hexadecimal, enumerations are numbers (their names are
//! taken too), unknown fields are ignored, 64-bit numbers are numbers or text. Keeps true: nothing goes deeper than serde's
//! own limit of 128 levels; the output's size is bounded by the input's.

mod number;
mod read;
mod table;
#[cfg(test)]
mod tests;

use model::otlp::Signal;
use serde::de::DeserializeSeed;

/// The request that `json` says, as protobuf.
pub(crate) fn translate(signal: Signal, json: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(json.len() / 2);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let seed = read::MessageSeed { of: table::request(signal), out: &mut out };
    let read = seed.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    read.map_err(|error| {
        let why: String = error.to_string().chars().take(300).collect();
        format!("reading {signal} as JSON: {why}")
    })?;
    Ok(out)
}
