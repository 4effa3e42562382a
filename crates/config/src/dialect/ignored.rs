//! Blocks of the dialect that this version does not run: present ones are said, and checked for gross mistakes.

use crate::{
    block::{Field, Reader},
    node::Value,
};

/// Warns that a block is ignored, if there is anything in it.
pub(super) fn block(reader: &Reader<'_>, field: Option<Field<'_>>, why: &str) {
    let Some(field) = field.filter(is_something) else {
        return;
    };
    match field.node.value {
        Value::Mapping(_) | Value::Sequence(_) => reader.warn(&field, why, None),
        _ => reader.error(&field, "a mapping (`key: value` lines) is wanted here", None),
    }
}

fn is_something(field: &Field<'_>) -> bool {
    match &field.node.value {
        Value::Null => false,
        Value::Mapping(entries) => !entries.is_empty(),
        Value::Sequence(items) => !items.is_empty(),
        Value::Scalar(text) => !text.is_empty(),
    }
}
