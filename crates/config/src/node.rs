//! The YAML text as a tree in which every key and value knows its bytes.
//!
//! The engine does syntax, anchors, merge keys and the budget against hostile files; scalars keep the
//! text they were written with, so that `1.20` and `0755` mean what the reader of that key says. Does not know any key.

use std::{fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_yaml::Spanned;

use crate::{source::Source, syntax};

/// One value of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub value: Value,
    /// Bytes of [`Source::text`]; for an alias, those of what it stands for. Containers: only the start is meaningful.
    pub at: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Scalar(String),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// One `key: value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub key: String,
    pub key_at: Range<usize>,
    pub node: Node,
}

/// Why the text is not YAML.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Byte of [`Source::text`].
    pub at: usize,
    pub message: String,
}

/// Four times what the dialect needs.
const MAX_DEPTH: usize = 40;

/// The engine recurses and takes some 40 KB a level without optimisation, too much for the caller's 2 MiB.
const STACK_BYTES: usize = 16 << 20;

/// Reads the text of `source`. `None`: nothing but blanks and comments.
pub(crate) fn parse(source: &Source) -> Result<Option<Node>, SyntaxError> {
    let text = source.text();
    let empty = |line: &str| matches!(line.trim_start().chars().next(), None | Some('#'));
    if text.lines().all(|line| empty(line) || line.trim_end() == "---") {
        return Ok(None);
    }
    let read = || read(source);
    let thread = std::thread::Builder::new().name("read-yaml".into()).stack_size(STACK_BYTES);
    let tree =
        std::thread::scope(|scope| thread.spawn_scoped(scope, read).ok().and_then(|reading| reading.join().ok()));
    let failed =
        || Err(SyntaxError { at: 0, message: "this file cannot be read: there is no thread to read it in".into() });
    tree.unwrap_or_else(failed).map(Some)
}

fn read(source: &Source) -> Result<Node, SyntaxError> {
    let text = source.text();
    let mut alias_limits = serde_yaml::options::AliasLimits::default();
    alias_limits.max_total_replayed_events = 100_000;
    let options = serde_yaml::options! {
        alias_limits: alias_limits,
        with_snippet: false,
        // Told by whoever walks the tree, with the key path and the first place.
        duplicate_keys: serde_yaml::options::DuplicateKeyPolicy::PassThrough,
        legacy_octal_numbers: true,
        non_finite_float_policy: serde_yaml::NonFiniteFloatPolicy::PassThrough,
        ignore_binary_tag_for_string: true,
        budget: serde_yaml::budget! { max_depth: MAX_DEPTH },
    };
    let raw = serde_yaml::from_str_with_options::<Located>(text, options);
    match raw {
        Ok(located) => Ok(located.node(source)),
        Err(error) => {
            let place = error.location();
            let at = place.and_then(|l| l.span().byte_offset()).and_then(|o| usize::try_from(o).ok());
            let at = at.unwrap_or_else(|| place.map_or(0, |l| offset_of(text, l.line(), l.column())));
            let at = at.min(text.len());
            let (at, message) = match source.variable_at(at) {
                Some(variable) => {
                    (at, format!("this is not valid YAML in the value of {variable}, which is inserted unquoted"))
                }
                None => syntax::advise(text, at, explain(&error)),
            };
            Err(SyntaxError { at, message })
        }
    }
}

fn offset_of(text: &str, line: u64, column: u64) -> usize {
    let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1));
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let within = text.get(start..).unwrap_or_default().char_indices().nth(column.saturating_sub(1));
    start + within.map_or(0, |(at, _)| at)
}

/// The engine's message without its place, which is told apart. It may name keys, anchors and punctuation, never values.
fn explain(error: &serde_yaml::Error) -> String {
    use serde_yaml::Error as E;
    match error {
        E::UnknownAnchor { .. } => "this alias (`*name`) has no anchor (`&name`) before it".into(),
        E::MergeValueNotMapOrSeqOfMaps { .. } => "`<<:` takes a mapping or a list of mappings".into(),
        E::MultipleDocuments { .. } => "the file holds more than one YAML document (`---`); one is wanted".into(),
        E::Budget { .. } => {
            "the file is too large, too deep or repeats itself too often (limits against hostile files)".into()
        }
        E::AliasReplayLimitExceeded { .. }
        | E::AliasExpansionLimitExceeded { .. }
        | E::AliasReplayStackDepthExceeded { .. } => "aliases expand to too much (limit against hostile files)".into(),
        E::AliasError { error, .. } => explain(error),
        E::RecursiveReferencesRequireWeakTypes { .. } => "an anchor refers to itself".into(),
        E::Message { msg, .. } | E::ExternalMessage { msg, .. } => {
            format!("this is not valid YAML: {}", msg.lines().next().unwrap_or_default())
        }
        E::Eof { .. } => "the file ends in the middle of a value".into(),
        _ => "this is not valid YAML".into(),
    }
}

/// As the engine gives it: what a scalar is, and where.
struct Located(Spanned<Raw>);

enum Raw {
    Null,
    /// A string, in quotes or not.
    Text(String),
    /// A plain scalar that the engine would make a number or truth value of: the text at its place counts.
    Plain,
    Sequence(Vec<Located>),
    Mapping(Vec<(Spanned<String>, Located)>),
}

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl Located {
    fn node(self, source: &Source) -> Node {
        let at = bytes(&self.0);
        let value = match self.0.value {
            Raw::Null => Value::Null,
            Raw::Text(text) => Value::Scalar(text),
            Raw::Plain => Value::Scalar(source.slice(at.clone()).trim().to_owned()),
            Raw::Sequence(items) => Value::Sequence(items.into_iter().map(|i| i.node(source)).collect()),
            Raw::Mapping(entries) => {
                let entry = |(key, node): (Spanned<String>, Located)| Entry {
                    key_at: bytes(&key),
                    key: key.value,
                    node: node.node(source),
                };
                Value::Mapping(entries.into_iter().map(entry).collect())
            }
        };
        Node { value, at }
    }
}

fn bytes<T>(spanned: &Spanned<T>) -> Range<usize> {
    let span = spanned.defined.span();
    let number = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let start = number(span.byte_offset());
    start..start + number(span.byte_len())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Raw::Sequence(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            all.push(entry);
        }
        Ok(Raw::Mapping(all))
    }
}

#[cfg(test)]
#[path = "node_test.rs"]
mod test;
