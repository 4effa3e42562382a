//! Values whose kind is written with them: text in quotes, numbers and truth values without; and blocks kept as they were written.
//!
//! Keeps true: what is kept reads back as the same values.

use traces::{AnyValue, ArrayValue, KeyValue, KeyValueList, Value as Attribute};

use crate::{
    block::{Field, Reader},
    node::{Node, Value},
    scalar,
    traces_plan::Written,
};

/// The value of an attribute.
pub(super) fn typed(reader: &Reader<'_>, field: &Field<'_>) -> AnyValue {
    value(reader, field.node)
}

fn value(reader: &Reader<'_>, node: &Node) -> AnyValue {
    match &node.value {
        Value::Null => AnyValue::default(),
        Value::Scalar(text) if is_quoted(reader, node) => Attribute::String(text.clone()).into(),
        Value::Scalar(text) => plain(text),
        Value::Sequence(items) => {
            Attribute::Array(ArrayValue { values: items.iter().map(|item| value(reader, item)).collect() }).into()
        }
        Value::Mapping(entries) => {
            let pair = |entry: &crate::node::Entry| KeyValue {
                key: entry.key.clone(),
                value: Some(value(reader, &entry.node)),
            };
            Attribute::Map(KeyValueList { values: entries.iter().map(pair).collect() }).into()
        }
    }
}

fn plain(text: &str) -> AnyValue {
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    if let Some(number) = text.parse::<f64>().ok().filter(|number| is_number && number.is_finite()) {
        return number.into();
    }
    match scalar::flag(text) {
        Ok(claim) => claim.into(),
        Err(_) => Attribute::String(text.to_owned()).into(),
    }
}

/// Whether a scalar stands in quotes, or in a block of text.
fn is_quoted(reader: &Reader<'_>, node: &Node) -> bool {
    let end = reader.source.text().len().min(node.at.end.max(node.at.start.saturating_add(1)));
    reader.source.slice(node.at.start..end).starts_with(['"', '\'', '|', '>'])
}

/// A block as it stands in the file, to be shown and read again.
pub(super) fn written(reader: &Reader<'_>, node: &Node) -> Written {
    match &node.value {
        Value::Null => Written::Word("null".to_owned()),
        Value::Scalar(text) if is_quoted(reader, node) || !is_word(text) => Written::Text(text.clone()),
        Value::Scalar(text) => Written::Word(text.clone()),
        Value::Sequence(items) => Written::List(items.iter().map(|item| written(reader, item)).collect()),
        Value::Mapping(entries) => {
            Written::Map(entries.iter().map(|entry| (entry.key.clone(), written(reader, &entry.node))).collect())
        }
    }
}

/// Whether it can stand without quotes anywhere.
fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.+".contains(c))
        && !text.starts_with(['-', '.'])
        && !text.is_empty()
        || text.parse::<f64>().is_ok()
}
