//! Values of attributes as texts.

use base64::{Engine, engine::general_purpose::STANDARD};
use proto::otlp_common::{AnyValue, Value};

/// How deep lists and maps are followed.
const DEPTH: u32 = 64;

/// A text as it is, numbers as Prometheus writes them, bytes in base64, lists and maps as JSON.
pub(crate) fn text_of(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::Double(number)) => number_text(*number),
        Some(Value::Bytes(bytes)) => STANDARD.encode(bytes),
        Some(deep) => json_of(deep, DEPTH).to_string(),
    }
}

fn json_of(value: &Value, depth: u32) -> serde_json::Value {
    let inner = |value: &AnyValue| match (value.value.as_ref(), depth.checked_sub(1)) {
        (Some(value), Some(depth)) => json_of(value, depth),
        _ => serde_json::Value::Null,
    };
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Double(number) => (*number).into(),
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Value::Array(list) => serde_json::Value::Array(list.values.iter().map(inner).collect()),
        Value::Map(map) => {
            let pairs = map.values.iter();
            serde_json::Value::Object(
                pairs
                    .map(|pair| (pair.key.clone(), pair.value.as_ref().map_or(serde_json::Value::Null, inner)))
                    .collect(),
            )
        }
    }
}

/// `+Inf`, and no exponents.
pub(crate) fn number_text(number: f64) -> String {
    if number == f64::INFINITY {
        "+Inf".to_owned()
    } else if number == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        number.to_string()
    }
}
