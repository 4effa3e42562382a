//! A span's or resource's attributes, looked up by name and taken when they have found their place.
//!
//! It keeps true: of a repeated key the last counts; what nobody took is left for metadata.

use std::{borrow::Cow, collections::BTreeMap};

use base64::Engine;
use proto::otlp_common::{AnyValue, KeyValue, Value};
use serde::{Serialize, Serializer};

/// See the file's head.
#[derive(Debug, Clone)]
pub(crate) struct Attributes<'a>(BTreeMap<&'a str, &'a Value>);

impl<'a> Attributes<'a> {
    pub(crate) fn of(list: &'a [KeyValue]) -> Self {
        let value = |pair: &'a KeyValue| Some((pair.key.as_str(), pair.value.as_ref()?.value.as_ref()?));
        Self(list.iter().filter_map(value).collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).copied()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// A text that is not empty.
    pub(crate) fn text(&self, key: &str) -> Option<&'a str> {
        text(self.get(key)?)
    }

    /// A whole number, or one as text.
    pub(crate) fn number(&self, key: &str) -> Option<i64> {
        number(self.get(key)?)
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<&'a Value> {
        self.0.remove(key)
    }

    pub(crate) fn take_text(&mut self, key: &str) -> Option<&'a str> {
        text(self.take(key)?)
    }

    /// What is left, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + '_ {
        self.0.iter().map(|(key, value)| (*key, *value))
    }
}

/// A text that is not empty.
pub(crate) fn text(value: &Value) -> Option<&str> {
    if let Value::String(text) = value { Some(text.as_str()).filter(|text| !text.is_empty()) } else { None }
}

pub(crate) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A text or number as text.
pub(crate) fn shown(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text.as_str())).filter(|text| !text.is_empty()),
        Value::Int(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// The texts of a list; a text alone is taken apart at `&`, as resource attributes from the environment are written.
pub(crate) fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => text.split('&').filter(|part| !part.is_empty()).collect(),
        Value::Array(list) => list.values.iter().filter_map(|value| text(value.value.as_ref()?)).collect(),
        _ => Vec::new(),
    }
}

/// A value as plain JSON: bytes as base64, numbers that JSON has no word for as text.
pub(crate) struct Plain<'a>(pub(crate) &'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fn plain(value: &AnyValue) -> Option<Plain<'_>> {
            value.value.as_ref().map(Plain)
        }
        match self.0 {
            Value::String(text) => to.serialize_str(text),
            Value::Bool(claim) => to.serialize_bool(*claim),
            Value::Int(number) => to.serialize_i64(*number),
            Value::Double(number) if number.is_finite() => to.serialize_f64(*number),
            Value::Double(number) => to.collect_str(number),
            Value::Bytes(bytes) => to.collect_str(&base64::engine::general_purpose::STANDARD.encode(bytes)),
            Value::Array(list) => to.collect_seq(list.values.iter().map(plain)),
            Value::Map(list) => {
                let pairs = list.values.iter().map(|pair| (pair.key.as_str(), pair.value.as_ref().and_then(plain)));
                to.collect_map(pairs.collect::<BTreeMap<_, _>>())
            }
        }
    }
}
