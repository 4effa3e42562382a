//! A span's or resource's attributes, looked up by name and taken when they have found their place.
//!
//! It keeps true: of a repeated key the last counts; what nobody took is left for metadata.

use std::{borrow::Cow, collections::BTreeMap};

use base64::Engine;
use proto::otlp_common::{AnyValue, KeyValue, Value};
use serde::{Serialize, Serializer};

/// See the file's head. Dozens of names are looked for in each span, few of which it has: most are told from one word.
#[derive(Debug, Clone)]
pub(crate) struct Attributes<'a> {
    /// By key, each once.
    pairs: Vec<(&'a str, &'a Value)>,
    /// The bits of all keys that are or were here.
    bits: u64,
}

/// One of 64 bits for a key, by its length and its last byte: names of conventions differ in these.
fn bit(key: &str) -> u64 {
    let last = key.as_bytes().last().copied().unwrap_or_default();
    1 << ((key.len() as u64).wrapping_mul(7).wrapping_add(u64::from(last)) % 64)
}

impl<'a> Attributes<'a> {
    pub(crate) fn of(list: &'a [KeyValue]) -> Self {
        let value = |pair: &'a KeyValue| Some((pair.key.as_str(), pair.value.as_ref()?.value.as_ref()?));
        // The sort is stable: of a repeated key the last comes first.
        let mut pairs: Vec<_> = list.iter().rev().filter_map(value).collect();
        pairs.sort_by_key(|(key, _)| *key);
        pairs.dedup_by_key(|(key, _)| *key);
        let bits = pairs.iter().fold(0, |bits, (key, _)| bits | bit(key));
        Self { pairs, bits }
    }

    fn place(&self, key: &str) -> Option<usize> {
        if self.bits & bit(key) == 0 {
            return None;
        }
        self.pairs.binary_search_by_key(&key, |(key, _)| *key).ok()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.pairs.get(self.place(key)?).map(|(_, value)| *value)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.place(key).is_some()
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
        self.take(key);
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<&'a Value> {
        let at = self.place(key)?;
        Some(self.pairs.remove(at).1)
    }

    pub(crate) fn take_text(&mut self, key: &str) -> Option<&'a str> {
        text(self.take(key)?)
    }

    /// What is left, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + '_ {
        self.pairs.iter().copied()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_a_map_of_the_last_of_each_key(keys in proptest::collection::vec("[a-c]{0,3}", 0..20), asked in proptest::collection::vec("[a-c]{0,3}", 0..20)) {
            let pair = |(at, key): (usize, &String)| KeyValue {
                key: key.clone(),
                value: Some(AnyValue { value: Some(Value::Int(at as i64)) }),
            };
            let list: Vec<KeyValue> = keys.iter().enumerate().map(pair).collect();
            let mut map: BTreeMap<&str, i64> = keys.iter().enumerate().map(|(at, key)| (key.as_str(), at as i64)).collect();
            let mut attributes = Attributes::of(&list);
            for key in &asked {
                prop_assert_eq!(attributes.number(key), map.get(key.as_str()).copied());
                prop_assert_eq!(attributes.has(key), map.contains_key(key.as_str()));
                prop_assert_eq!(attributes.take(key).and_then(number), map.remove(key.as_str()));
            }
            let left: Vec<_> = attributes.iter().filter_map(|(key, value)| Some((key, number(value)?))).collect();
            prop_assert_eq!(left, map.into_iter().collect::<Vec<_>>());
        }
    }
}
