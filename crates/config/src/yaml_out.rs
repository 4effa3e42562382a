//! A small YAML writer for what we print ourselves.
//!
//! Knows no key and no secret. Keeps true: what it writes reads back as the same tree.

use std::fmt::Write;

/// What is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Out {
    /// Quoted where YAML would read it as something else.
    Text(String),
    /// Numbers, durations, truth values: as they are.
    Word(String),
    List(Vec<Out>),
    Map(Map),
}

/// Keys in the order they were put. Empty lists and mappings are left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Map(Vec<(String, Out)>);

impl Map {
    pub fn put(&mut self, key: &str, out: Out) -> &mut Self {
        match &out {
            Out::List(items) if items.is_empty() => {}
            Out::Map(map) if map.0.is_empty() => {}
            _ => self.0.push((key.to_owned(), out)),
        }
        self
    }

    pub fn text(&mut self, key: &str, text: impl Into<String>) -> &mut Self {
        self.put(key, Out::Text(text.into()))
    }

    pub fn word(&mut self, key: &str, word: impl ToString) -> &mut Self {
        self.put(key, Out::Word(word.to_string()))
    }

    /// Even if it is empty.
    pub fn always(&mut self, key: &str, map: Map) -> &mut Self {
        self.0.push((key.to_owned(), Out::Map(map)));
        self
    }

    pub fn texts<T: Into<String>>(&mut self, key: &str, texts: impl IntoIterator<Item = T>) -> &mut Self {
        self.put(key, Out::List(texts.into_iter().map(|t| Out::Text(t.into())).collect()))
    }

    /// The document.
    pub fn document(&self) -> String {
        let mut text = String::new();
        write_map(&mut text, self, 0);
        text
    }
}

fn write_map(text: &mut String, map: &Map, indent: usize) {
    for (number, (key, out)) in map.0.iter().enumerate() {
        // The first key of a list's item stands behind its dash.
        if !(number == 0 && text.ends_with("- ")) {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str(&quoted(key));
        text.push(':');
        write_out(text, out, indent);
    }
}

fn write_out(text: &mut String, out: &Out, indent: usize) {
    match out {
        Out::Text(value) => text.push_str(&format!(" {}\n", quoted(value))),
        Out::Word(word) => text.push_str(&format!(" {word}\n")),
        Out::Map(map) if map.0.is_empty() => text.push_str(" {}\n"),
        Out::Map(map) => {
            text.push('\n');
            write_map(text, map, indent + 2);
        }
        Out::List(items) if items.iter().all(|i| matches!(i, Out::Text(_) | Out::Word(_))) => {
            let shown: Vec<String> = items
                .iter()
                .map(|i| {
                    if let Out::Text(t) = i {
                        quoted(t)
                    } else if let Out::Word(w) = i {
                        w.clone()
                    } else {
                        String::new()
                    }
                })
                .collect();
            text.push_str(&format!(" [{}]\n", shown.join(", ")));
        }
        Out::List(items) => {
            text.push('\n');
            for item in items {
                text.push_str(&format!("{}- ", " ".repeat(indent + 2)));
                match item {
                    Out::Map(map) if !map.0.is_empty() => write_map(text, map, indent + 4),
                    other => write_out(text, other, indent + 4),
                }
            }
        }
    }
}

/// Plain where that is safe, else in double quotes with JSON's escapes.
fn quoted(value: &str) -> String {
    let plain_char = |c: char| c.is_ascii_alphanumeric() || "_-./:@+=$()<>^*\\|%~".contains(c);
    let starts = value
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '/' | '.' | '(' | '$' | '<' | '^'));
    let reads_as_else = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", ".inf", ".nan", "<<"]
        .iter()
        .any(|word| word.eq_ignore_ascii_case(value));
    let number = value.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit());
    if starts && !reads_as_else && !number && value.chars().all(plain_char) && !value.ends_with(':') {
        return value.to_owned();
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Writing to a String cannot fail.
            c if c.is_control() => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
