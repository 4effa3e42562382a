//! Reads one mapping of the tree against the keys it may have, and collects what is wrong with it.
//!
//! Knows no particular key. Keeps true: a reader never stops at the first problem, each getter answers `None` or a default
//! and reports; values appear in no message (a key's name may, and so may the name of a variable).

use std::{ops::Range, path::PathBuf, time::Duration};

use net::SecretSource;
use url::Url;

pub(crate) use crate::reader::{Field, Reader};
use crate::{
    Severity, dialect,
    node::{Entry, Value},
    reader::{field_of, last_key},
    scalar,
};

/// A kind of mapping: its name in messages and documents, and the keys it may have.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    /// Groups of keys (a group may be shared by several shapes).
    pub keys: &'static [&'static [&'static str]],
}

impl Shape {
    /// Every key, in the order of the documents.
    pub fn all_keys(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().flat_map(|group| group.iter().copied())
    }
}

/// One mapping being read.
pub(crate) struct Block<'a> {
    pub reader: &'a Reader<'a>,
    pub path: String,
    shape: Shape,
    entries: &'a [Entry],
    /// Where to point for what is missing.
    at: Range<usize>,
}

impl<'a> Block<'a> {
    /// Opens a mapping and reports keys it cannot have. `None` if it is not a mapping (reported); nothing is an empty one.
    pub fn open(reader: &'a Reader<'a>, shape: Shape, field: &Field<'a>) -> Option<Self> {
        let entries: &[Entry] = match &field.node.value {
            Value::Mapping(entries) => entries,
            Value::Null => &[],
            _ => {
                reader.error(field, format!("`{}` takes a mapping (`key: value` lines)", shape.name), None);
                return None;
            }
        };
        let block = Self {
            reader,
            path: field.path.clone(),
            shape,
            entries,
            at: field.key_at.clone().unwrap_or_else(|| field.node.at.start..field.node.at.start + 1),
        };
        for entry in entries.iter().filter(|e| !shape.all_keys().any(|key| key == e.key)) {
            if let Some(variable) = reader.source.variable_at(entry.key_at.start) {
                let message = format!("the value of {variable} is inserted unquoted here and changes the YAML");
                let help = format!("put ${{{variable}}} in quotes, and have no quotes or line breaks in its value");
                reader.report(Severity::Error, entry.key_at.clone(), &block.path, message, Some(help));
                continue;
            }
            let field = field_of(entry, &block.path);
            let message = format!("unknown key `{}` in `{}`", entry.key, shape.name);
            reader.report(
                Severity::Error,
                entry.key_at.clone(),
                &field.path,
                message,
                Some(dialect::suggest(shape, &entry.key)),
            );
        }
        Some(block)
    }

    /// Whether a key is not there because it was written wrong, which was reported.
    pub fn misspells(&self, key: &str) -> bool {
        let known = |entry: &Entry| self.shape.all_keys().any(|known| known == entry.key);
        let is_there = self.entries.iter().any(|entry| entry.key == key);
        let mut unknown = self.entries.iter().filter(|entry| !known(entry));
        !is_there && unknown.any(|entry| dialect::meant_in(self.shape, &entry.key) == Some(key))
    }

    /// Every key it may have.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.shape.keys.iter().flat_map(|group| group.iter().copied())
    }

    /// The field, even where it holds nothing.
    pub fn raw(&self, key: &str) -> Option<Field<'a>> {
        debug_assert!(self.shape.all_keys().any(|k| k == key), "`{key}` is not a key of `{}`", self.shape.name);
        self.entries.iter().find(|e| e.key == key).map(|e| field_of(e, &self.path))
    }

    /// The field, unless it is absent or holds nothing.
    pub fn get(&self, key: &str) -> Option<Field<'a>> {
        self.raw(key).filter(|f| !f.is_null())
    }

    /// One key under its several spellings; giving two of them is an error.
    pub fn either(&self, keys: &[&str]) -> Option<Field<'a>> {
        let mut found: Option<Field<'a>> = None;
        for field in keys.iter().filter_map(|key| self.raw(key)) {
            match &found {
                Some(first) => {
                    let (one, two) = (last_key(&first.path), last_key(&field.path));
                    self.reader.error(&field, format!("`{one}` and `{two}` mean the same; give one of them"), None);
                }
                None => found = Some(field),
            }
        }
        found
    }

    /// Reports something about the block as a whole.
    pub fn error(&self, message: impl Into<String>, suggestion: Option<&str>) {
        self.reader.report(Severity::Error, self.at.clone(), &self.path, message.into(), suggestion.map(Into::into));
    }

    pub fn warn(&self, message: impl Into<String>, suggestion: Option<&str>) {
        self.reader.report(Severity::Warning, self.at.clone(), &self.path, message.into(), suggestion.map(Into::into));
    }

    /// Reports at a key's value if it is there, else at the block.
    pub fn error_at(&self, key: &str, message: impl Into<String>, suggestion: Option<&str>) {
        match self.raw(key) {
            Some(field) => self.reader.error(&field, message, suggestion),
            None if self.misspells(key) => {}
            None => self.error(message, suggestion),
        }
    }

    /// Reports a key that has no business here, at the key itself.
    pub fn error_at_key(&self, key: &str, message: impl Into<String>, suggestion: Option<&str>) {
        match self.raw(key).and_then(|field| Some((field.key_at?, field.path))) {
            Some((at, path)) => {
                self.reader.report(Severity::Error, at, &path, message.into(), suggestion.map(Into::into));
            }
            None => self.error(message, suggestion),
        }
    }

    /// Not empty text.
    pub fn text(&self, key: &str) -> Option<String> {
        let field = self.get(key)?;
        self.reader.text(&field).filter(|t| !t.is_empty())
    }

    /// Text that must be there.
    pub fn required(&self, key: &str, example: &str) -> Option<String> {
        let text = self.text(key);
        if text.is_none() {
            match self.raw(key) {
                Some(field) if !matches!(field.node.value, Value::Null | Value::Scalar(_)) => {}
                Some(field) => match self.reader.empty_variable(&field) {
                    Some(variable) => self.reader.empty_by(Severity::Error, &field, &variable),
                    None => self.reader.error(&field, format!("`{key}` is empty"), Some(example)),
                },
                None if self.misspells(key) => {}
                None => self.error(format!("`{key}` is missing in `{}`", self.shape.name), Some(example)),
            }
        }
        text
    }

    pub fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    fn parsed<T>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let field = self.get(key)?;
        let text = self.reader.text(&field).filter(|t| !t.is_empty())?;
        parse(&text).map_err(|message| self.reader.error(&field, format!("`{key}`: {message}"), None)).ok()
    }

    pub fn duration(&self, key: &str) -> Option<Duration> {
        self.parsed(key, scalar::duration)
    }

    pub fn size(&self, key: &str) -> Option<u64> {
        self.parsed(key, scalar::size)
    }

    pub fn whole(&self, key: &str) -> Option<u64> {
        self.parsed(key, scalar::whole)
    }

    pub fn real(&self, key: &str) -> Option<f64> {
        self.parsed(key, scalar::real)
    }

    pub fn flag(&self, key: &str) -> Option<bool> {
        self.parsed(key, scalar::flag)
    }

    /// One of a few words; any letter case.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        self.parsed(key, |text| {
            let names = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            choices
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(text))
                .map(|(_, value)| *value)
                .ok_or_else(|| format!("this is one of {}", names()))
        })
    }

    /// An absolute http or https URL with a host.
    pub fn url(&self, key: &str) -> Option<Url> {
        self.parsed(key, http_url)
    }

    pub fn texts(&self, key: &str) -> Vec<String> {
        self.get(key).map(|f| self.reader.texts(&f)).unwrap_or_default()
    }

    pub fn items(&self, key: &str) -> Vec<Field<'a>> {
        self.get(key).map(|f| self.reader.items(&f)).unwrap_or_default()
    }

    pub fn entries(&self, key: &str) -> Vec<(&'a str, Field<'a>)> {
        self.get(key).map(|f| self.reader.entries(&f)).unwrap_or_default()
    }

    /// A mapping under `key`, if it is there and not nothing.
    pub fn block(&self, key: &str, shape: Shape) -> Option<Block<'a>> {
        Block::open(self.reader, shape, &self.get(key)?)
    }

    /// Text of an identity field: `${NAME}` is always resolved. Emptied by a variable: an error if `needed`, else a warning.
    pub fn identity_text(&self, keys: &[&str], needed: bool) -> Option<String> {
        let field = self.either(keys)?;
        let (text, emptied_by) = self.reader.resolved(&field)?;
        if let Some(variable) = emptied_by {
            let severity = if needed { Severity::Error } else { Severity::Warning };
            self.reader.empty_by(severity, &field, &variable);
        }
        Some(text).filter(|t| !t.is_empty())
    }

    /// A secret under one of several spellings, or a reference to one (`env://NAME`, `file:///path`, a store's).
    pub fn secret(&self, keys: &[&str], needed: bool) -> Option<SecretSource> {
        let text = self.identity_text(keys, needed)?;
        let field = keys.iter().find_map(|key| self.raw(key))?;
        self.reader.secret_source(&field, text)
    }

    /// A secret given as text (`key`) or as a file (`key_file`); both is an error.
    pub fn secret_or_file(&self, key: &str, file_key: &str) -> Option<SecretSource> {
        let inline = self.secret(&[key], true);
        let file = self.identity_text(&[file_key], true);
        if let (Some(_), Some(_)) = (&inline, &file) {
            self.error_at(file_key, format!("`{key}` and `{file_key}` are both given; give one of them"), None);
        }
        inline.or_else(|| file.map(|f| SecretSource::File(f.into())))
    }
}

/// Checks an http or https URL. Errors never repeat it: it may hold a password.
pub(crate) fn http_url(text: &str) -> Result<Url, String> {
    if text.contains("${") {
        return Err("this URL holds `${...}`, which is only replaced with the flag -config.expand-env".into());
    }
    let url = Url::parse(text)
        .map_err(|e| format!("this is not a URL ({e}); write it in full, such as https://host/path"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("this URL starts neither with http:// nor with https://".into());
    }
    match url.host_str() {
        Some(host) if !host.is_empty() => Ok(url),
        _ => Err("this URL has no host".into()),
    }
}
