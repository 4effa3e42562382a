//! Attributes by key, and values as text: as the Collector's data model has them.
//!
//! Keeps true: the first of several attributes of one key is the attribute.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use proto::{
    otlp_common::{AnyValue, KeyValue, Resource, Value},
    otlp_traces::SpanKind,
};

/// `service.name`.
pub(crate) const SERVICE_NAME: &str = "service.name";

pub(crate) fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a AnyValue> {
    static EMPTY: AnyValue = AnyValue { value: None };
    attributes.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_ref().unwrap_or(&EMPTY))
}

/// Sets the value, or adds the attribute.
pub(crate) fn put(attributes: &mut Vec<KeyValue>, key: &str, value: AnyValue) {
    match attributes.iter_mut().find(|pair| pair.key == key) {
        Some(pair) => pair.value = Some(value),
        None => attributes.push(KeyValue { key: key.to_owned(), value: Some(value) }),
    }
}

/// Text, if it is text.
pub(crate) fn text(value: &AnyValue) -> Option<&str> {
    match &value.value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// The resource's service, if it names one.
pub(crate) fn service(resource: Option<&Resource>) -> Option<&str> {
    text(find(&resource?.attributes, SERVICE_NAME)?)
}

/// Any value as text: numbers in decimal, bytes in base64, lists and maps as JSON.
pub(crate) fn shown(value: &AnyValue) -> Cow<'_, str> {
    match &value.value {
        None => Cow::Borrowed(""),
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Bool(claim)) => Cow::Borrowed(if *claim { "true" } else { "false" }),
        Some(Value::Int(number)) => Cow::Owned(number.to_string()),
        Some(Value::Double(number)) => Cow::Owned(shown_double(*number)),
        Some(Value::Bytes(bytes)) => Cow::Owned(STANDARD.encode(bytes)),
        Some(Value::Array(_) | Value::Map(_)) => Cow::Owned(json(value).to_string()),
    }
}

/// As Go writes numbers into JSON.
fn shown_double(number: f64) -> String {
    let size = number.abs();
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        // Rust leaves the sign of a positive exponent out.
        return if text.contains("e-") { text } else { text.replace('e', "e+") };
    }
    format!("{number}")
}

fn json(value: &AnyValue) -> serde_json::Value {
    use serde_json::Value as Json;
    match &value.value {
        None => Json::Null,
        Some(Value::String(text)) => Json::from(text.as_str()),
        Some(Value::Bool(claim)) => Json::from(*claim),
        Some(Value::Int(number)) => Json::from(*number),
        Some(Value::Double(number)) => Json::from(*number),
        Some(Value::Bytes(bytes)) => Json::from(STANDARD.encode(bytes)),
        Some(Value::Array(list)) => list.values.iter().map(json).collect(),
        Some(Value::Map(map)) => {
            let pair = |pair: &KeyValue| (pair.key.clone(), pair.value.as_ref().map_or(Json::Null, json));
            map.values.iter().map(pair).collect::<serde_json::Map<_, _>>().into()
        }
    }
}

/// The specification's name of a span's kind.
pub(crate) fn kind_name(kind: i32) -> &'static str {
    match SpanKind::try_from(kind) {
        Ok(SpanKind::Internal) => "SPAN_KIND_INTERNAL",
        Ok(SpanKind::Server) => "SPAN_KIND_SERVER",
        Ok(SpanKind::Client) => "SPAN_KIND_CLIENT",
        Ok(SpanKind::Producer) => "SPAN_KIND_PRODUCER",
        Ok(SpanKind::Consumer) => "SPAN_KIND_CONSUMER",
        Ok(SpanKind::Unspecified) | Err(_) => "SPAN_KIND_UNSPECIFIED",
    }
}

#[cfg(test)]
mod tests {
    use proto::otlp_common::{ArrayValue, KeyValueList};

    use super::*;

    #[test]
    fn values_are_shown_as_the_collector_shows_them() {
        for (value, text) in [
            (AnyValue::from("a"), "a"),
            (true.into(), "true"),
            (7.into(), "7"),
            (1.5.into(), "1.5"),
            (100.0.into(), "100"),
            (1e21.into(), "1e+21"),
            (1e-7.into(), "1e-7"),
            (Value::Bytes(vec![1, 2]).into(), "AQI="),
            (AnyValue::default(), ""),
        ] {
            assert_eq!(shown(&value), text);
        }
        let map = KeyValueList { values: vec![("b", 1).into(), ("a", true).into()] };
        let list = ArrayValue { values: vec!["x".into(), Value::Map(map).into(), AnyValue::default()] };
        assert_eq!(shown(&Value::Array(list).into()), r#"["x",{"a":true,"b":1},null]"#);
    }

    #[test]
    fn the_first_attribute_of_a_key_is_meant() {
        let mut all = vec![("a", 1).into(), ("a", 2).into()];
        assert_eq!(find(&all, "a"), Some(&1.into()));
        put(&mut all, "a", 3.into());
        put(&mut all, "b", 4.into());
        assert_eq!(all, vec![("a", 3).into(), ("a", 2).into(), ("b", 4).into()]);
    }
}
