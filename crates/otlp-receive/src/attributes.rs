//! Attributes of OTLP as translations build them.

use proto::otlp_common::{AnyValue, KeyValue, Value};

pub(crate) fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue::from(value)) }
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    pair(key, Value::String(value.to_owned()))
}

/// Whether there is one of this name.
pub(crate) fn has(attributes: &[KeyValue], key: &str) -> bool {
    attributes.iter().any(|attribute| attribute.key == key)
}

/// Adds it, unless there is one of this name.
pub(crate) fn put_new(attributes: &mut Vec<KeyValue>, key: &str, value: Value) {
    if !has(attributes, key) {
        attributes.push(pair(key, value));
    }
}

/// The value of the first of this name.
pub(crate) fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

/// Takes the first of this name out.
pub(crate) fn take(attributes: &mut Vec<KeyValue>, key: &str) -> Option<Value> {
    let place = attributes.iter().position(|attribute| attribute.key == key)?;
    attributes.remove(place).value?.value
}

/// A text's text; nothing of any other kind.
pub(crate) fn as_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        _ => String::new(),
    }
}

/// Attributes from a JSON object: texts, whole numbers, others, booleans. What is no object gives nothing.
pub(crate) fn from_json(json: &str) -> Option<Vec<KeyValue>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).ok()?;
    let value = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => Some(Value::String(text.clone())),
        serde_json::Value::Bool(flag) => Some(Value::Bool(*flag)),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Some(Value::Int(whole)),
            None => number.as_f64().map(Value::Double),
        },
        other => Some(Value::String(other.to_string())),
    };
    Some(object.iter().filter_map(|(key, found)| Some(pair(key, value(found)?))).collect())
}
