//! Annotations, which X-Ray indexes, and metadata, which it keeps.
//!
//! It keeps true: every attribute that nobody took is in one of them, or in both when it had to be cut to be indexed.

use std::borrow::Cow;

use crate::{
    Options,
    attributes::{Attributes, texts},
    known::{Key, key},
    metadata::{Meta, Name, Note, order},
    read::Value,
    segment::Segment,
};

/// Characters of an annotation's text and key at most (X-Ray developer guide, "annotations").
const LONGEST_TEXT: usize = 1000;
const LONGEST_KEY: usize = 500;
const METADATA: &str = "aws.xray.metadata.";
const ANNOTATED: Key = key!("aws.xray.annotations");

/// Puts what is left of a span's attributes, and its resource's if it is a segment, where it belongs.
pub(crate) fn note<'a>(
    segment: &mut Segment<'a>,
    attributes: &mut Attributes<'a>,
    resource: Option<&Attributes<'a>>,
    options: &Options,
) {
    segment.user = attributes.take_text(key!("enduser.id")).map(Cow::Borrowed);
    let named = match attributes.get(ANNOTATED) {
        Some(list @ Value::Array(_)) => {
            attributes.remove(ANNOTATED);
            texts(list)
        }
        _ => Vec::new(),
    };
    let is_indexed = |key: &Name<'_>| {
        options.annotate_all
            || options.annotations.iter().any(|name| key.is(name))
            || named.iter().any(|name| key.is(name))
    };
    // Names that X-Ray does not tell apart, and values that come as JSON, fall on each other in the order of the names. Else
    // it is enough to put in order what is left of them.
    let indexes = options.annotate_all || !options.annotations.is_empty() || !named.is_empty();
    let in_order = indexes || attributes.iter().any(|(name, _)| name.starts_with(METADATA));
    let listed = |attributes: &Attributes<'a>| if in_order { attributes.in_order() } else { Vec::new() };
    let of_resource = resource.map(listed).unwrap_or_default();
    let unordered = resource.filter(|_| !in_order);
    for (key, value) in of_resource.into_iter().chain(unordered.iter().flat_map(|resource| resource.iter())) {
        let key = Name::Resource(key);
        if !(is_indexed(&key) && annotate(segment, &key, value)) {
            segment.metadata.default.push((key, Meta::Value(value)));
        }
    }
    let unordered = Some(&*attributes).filter(|_| !in_order);
    for (name, value) in listed(attributes).into_iter().chain(unordered.iter().flat_map(|rest| rest.iter())) {
        let key = Name::Own(name);
        if is_indexed(&key) && annotate(segment, &key, value) {
            continue;
        }
        if let (Some(namespace), Value::Text(text)) = (name.strip_prefix(METADATA), value)
            && let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text)
        {
            let values = if namespace.eq_ignore_ascii_case("default") {
                &mut segment.metadata.default
            } else {
                segment.metadata.others.entry(Cow::Borrowed(namespace)).or_default()
            };
            values.extend(object.into_iter().map(|(key, json)| (Name::Made(key), Meta::Json(json))));
            continue;
        }
        segment.metadata.default.push((key, Meta::Value(value)));
    }
    segment.metadata.order();
}

/// Attributes that the conventions put into blocks may be indexed as well.
pub(crate) fn index_taken<'a>(segment: &mut Segment<'a>, attributes: &Attributes<'a>, options: &'a Options) {
    for key in &options.annotations {
        if let Some(value) = attributes.taken_or_not(key) {
            annotate(segment, &Name::Own(key), value);
        }
    }
    order(&mut segment.annotations);
}

/// True: the whole value is in the index. Lists, maps and bytes cannot be.
fn annotate<'a>(segment: &mut Segment<'a>, key: &Name<'a>, value: Value<'a>) -> bool {
    let (note, whole) = match value {
        Value::Text(text) => match beyond(text, LONGEST_TEXT) {
            Some(end) => (Note::Text(Cow::Borrowed(text.get(..end).unwrap_or_default())), false),
            None => (Note::Text(Cow::Borrowed(text)), true),
        },
        Value::Int(number) => (Note::Int(number), true),
        Value::Double(number) if number.is_finite() => (Note::Double(number), true),
        Value::Double(number) => (Note::Text(Cow::Owned(number.to_string())), true),
        Value::Bool(claim) => (Note::Bool(claim), true),
        Value::Array(_) | Value::Map(_) | Value::Bytes(_) => return false,
    };
    let Some(key) = indexed(key) else { return false };
    segment.annotations.push((key, note));
    whole
}

/// Where a text of more characters has to be cut.
fn beyond(text: &str, most: usize) -> Option<usize> {
    if text.len() <= most { None } else { text.char_indices().nth(most).map(|(end, _)| end) }
}

/// A key as X-Ray takes it. `None`: nothing is left.
fn indexed<'a>(key: &Name<'a>) -> Option<Cow<'a, str>> {
    let is_clean = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    let key = match key {
        Name::Own(key) if key.len() <= LONGEST_KEY && key.chars().all(is_clean) => Cow::Borrowed(*key),
        _ => {
            let (before, rest) = key.parts();
            let clean = |c: char| if is_clean(c) { c } else { '_' };
            Cow::Owned(before.chars().chain(rest.chars()).take(LONGEST_KEY).map(clean).collect())
        }
    };
    (!key.is_empty()).then_some(key)
}
