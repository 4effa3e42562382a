//! Key paths found in a tree: those of keys that are given twice, and that of a place.
//!
//! Knows no particular key. Keeps true: a key that a variable wrote appears in no path and no message.

use std::collections::HashMap;

use crate::{
    Severity,
    node::{self, Node, Value},
    reader::Reader,
    source::Source,
};

/// Nobody writes a longer `${...}`; a hostile file with many open ones would take quadratic time.
const MAX_SUBSTITUTION: usize = 1000;

/// Reports each key that its mapping has already, with the place of the first.
pub(crate) fn report_duplicates(reader: &Reader<'_>, node: &Node, path: &str) {
    match &node.value {
        Value::Null | Value::Scalar(_) => {}
        Value::Sequence(items) => {
            for (number, item) in items.iter().enumerate() {
                report_duplicates(reader, item, &format!("{path}[{number}]"));
            }
        }
        Value::Mapping(entries) => {
            let mut first: HashMap<&str, usize> = HashMap::new();
            for entry in entries {
                let inserted = reader.source.variable_at(entry.key_at.start).is_some();
                let below = if inserted { path.to_owned() } else { joined(path, &entry.key) };
                if let Some(at) = first.get(entry.key.as_str()) {
                    let line = reader.source.place(*at).line;
                    let message = if inserted {
                        "a key is given twice in one mapping".into()
                    } else {
                        format!("key `{}` is given twice in one mapping", entry.key)
                    };
                    let help = format!("it is first written at line {line}; keep one of them");
                    reader.report(Severity::Error, entry.key_at.clone(), &below, message, Some(help));
                } else {
                    first.insert(&entry.key, entry.key_at.start);
                }
                report_duplicates(reader, &entry.node, &below);
            }
        }
    }
}

/// The path of the value that holds byte `at` of `written`, in which no `${...}` is replaced: empty if the place is in no
/// value, or the file is not YAML.
pub(crate) fn path_at(written: &str, at: usize) -> String {
    let source = Source::new("", &without_substitutions(written), false, &|_| None).0;
    match node::parse(&source) {
        Ok(Some(root)) => find(&root, at, "").unwrap_or_default(),
        Ok(None) | Err(_) => String::new(),
    }
}

fn find(node: &Node, at: usize, path: &str) -> Option<String> {
    match &node.value {
        Value::Null => None,
        Value::Scalar(_) => node.at.contains(&at).then(|| path.to_owned()),
        Value::Sequence(items) => {
            items.iter().enumerate().find_map(|(number, item)| find(item, at, &format!("{path}[{number}]")))
        }
        Value::Mapping(entries) => entries.iter().find_map(|entry| {
            let below = joined(path, &entry.key);
            // A substitution in a key makes no path to show.
            if entry.key_at.contains(&at) { Some(path.to_owned()) } else { find(&entry.node, at, &below) }
        }),
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The text with every `${...}` made a plain word of the same length, so that braces and operators in it are no YAML.
fn without_substitutions(written: &str) -> String {
    let mut plain = String::with_capacity(written.len());
    for line in written.split_inclusive('\n') {
        let mut rest = line;
        while let Some(start) = rest.find("${") {
            let (before, substitution) = rest.split_at(start);
            plain.push_str(before);
            // What is never closed loses its brace alone.
            let length = closing(substitution).map_or(2, |end| end + 1);
            let (substitution, after) = substitution.split_at(length);
            plain.extend(substitution.chars().flat_map(|c| {
                let kept = if c.is_ascii_alphanumeric() { c } else { '_' };
                std::iter::repeat_n(kept, c.len_utf8())
            }));
            rest = after;
        }
        plain.push_str(rest);
    }
    plain
}

/// The byte of the `}` that closes the `${` which `text` starts with.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut last = ' ';
    for (at, c) in text.char_indices().take(MAX_SUBSTITUTION) {
        match c {
            '{' if last == '$' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
        last = c;
    }
    None
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn substitutions_become_words_of_their_length() {
        for (text, expected) in [
            ("a: ${A}\nb: ${B:-${C}}x\n", "a: __A_\nb: __B____C__x\n"),
            ("a: {b: ${B, c: d}\n", "a: {b: __B__c__d_\n"),
            ("a: ${B\nc: ${É}\n", "a: __B\nc: _____\n"),
        ] {
            let plain = without_substitutions(text);
            assert_eq!(plain.len(), text.len(), "{plain}");
            assert_eq!(plain, expected);
        }
    }
}
