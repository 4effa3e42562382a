//! Annotations, which X-Ray indexes, and metadata, which it keeps.
//!
//! It keeps true: every attribute that nobody took is in one of them, or in both when it had to be cut to be indexed.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
};

use proto::otlp_common::Value;

use crate::{
    Options,
    attributes::{Attributes, texts},
    segment::{Meta, Note, Segment},
};

/// Characters of an annotation's text and key at most (X-Ray developer guide, "annotations").
const LONGEST_TEXT: usize = 1000;
const LONGEST_KEY: usize = 500;
const METADATA: &str = "aws.xray.metadata.";
const ANNOTATED: &str = "aws.xray.annotations";

/// Puts what is left of a span's attributes, and its resource's if it is a segment, where it belongs.
pub(crate) fn note<'a>(
    segment: &mut Segment<'a>,
    mut attributes: Attributes<'a>,
    resource: &'a [(String, &'a Value)],
    options: &Options,
) {
    segment.user = attributes.take_text("enduser.id").map(Cow::Borrowed);
    let named = match attributes.get(ANNOTATED) {
        Some(list @ Value::Array(_)) => {
            attributes.remove(ANNOTATED);
            texts(list)
        }
        _ => Vec::new(),
    };
    let is_indexed =
        |key: &str| options.annotate_all || options.annotations.iter().any(|name| name == key) || named.contains(&key);
    let mut default = BTreeMap::new();
    for (key, value) in resource {
        if !(is_indexed(key) && annotate(segment, key, value)) {
            default.insert(Cow::Borrowed(key.as_str()), Meta::Value(value));
        }
    }
    for (key, value) in attributes.iter() {
        if is_indexed(key) && annotate(segment, key, value) {
            continue;
        }
        if let (Some(namespace), Value::String(text)) = (key.strip_prefix(METADATA), value)
            && let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text)
        {
            let entries = object.into_iter().map(|(key, json)| (Cow::Owned(key), Meta::Json(json)));
            if namespace.eq_ignore_ascii_case("default") {
                default.extend(entries);
            } else {
                segment.metadata.entry(Cow::Borrowed(namespace)).or_default().extend(entries);
            }
            continue;
        }
        default.insert(Cow::Borrowed(key), Meta::Value(value));
    }
    if !default.is_empty() {
        match segment.metadata.entry(Cow::Borrowed("default")) {
            Entry::Vacant(none) => drop(none.insert(default)),
            Entry::Occupied(mut some) => some.get_mut().extend(default),
        }
    }
}

/// Attributes that the conventions put into blocks may be indexed as well.
pub(crate) fn index_taken<'a>(segment: &mut Segment<'a>, all: &Attributes<'a>, options: &Options) {
    for key in &options.annotations {
        if let Some(value) = all.get(key) {
            annotate(segment, key, value);
        }
    }
}

/// True: the whole value is in the index. Lists, maps and bytes cannot be.
fn annotate<'a>(segment: &mut Segment<'a>, key: &str, value: &'a Value) -> bool {
    let (note, whole) = match value {
        Value::String(text) => match text.char_indices().nth(LONGEST_TEXT) {
            Some((end, _)) => (Note::Text(Cow::Borrowed(text.get(..end).unwrap_or_default())), false),
            None => (Note::Text(Cow::Borrowed(text)), true),
        },
        Value::Int(number) => (Note::Int(*number), true),
        Value::Double(number) if number.is_finite() => (Note::Double(*number), true),
        Value::Double(number) => (Note::Text(Cow::Owned(number.to_string())), true),
        Value::Bool(claim) => (Note::Bool(*claim), true),
        Value::Array(_) | Value::Map(_) | Value::Bytes(_) => return false,
    };
    let clean = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
    let key: String = key.chars().take(LONGEST_KEY).map(clean).collect();
    if key.is_empty() {
        return false;
    }
    segment.annotations.insert(Cow::Owned(key), note);
    whole
}
