//! What reading one file collects, and the values it reads: text, lists, entries, and what is wrong with them.
//!
//! Knows no particular key. Keeps true: reading never stops at a problem; values appear in no message.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    ops::Range,
    path::PathBuf,
    sync::Arc,
};

use aws::SecretReference;
use net::{Secret, SecretSource, StoredSecret};

use crate::{
    Problem, Severity,
    expand::{self, Environment},
    node::{Entry, Node, Value},
    source::{Place, Source},
};

/// Nobody reads more, and a hostile file could have millions.
const MAX_PROBLEMS: usize = 200;

/// What reading one file collects.
pub(crate) struct Reader<'a> {
    pub source: &'a Source,
    pub environment: Environment<'a>,
    /// `-config.expand-env` was given: the text is expanded already.
    pub expand_env: bool,
    problems: RefCell<Vec<Problem>>,
    told_about_flag: Cell<bool>,
    /// Every secret of a store that the file refers to, once for each reference.
    stored: RefCell<BTreeMap<String, Arc<StoredSecret>>>,
    /// What is being read, where a reference to some stores would need itself.
    pub(crate) stores_refused: Cell<StoresRefused>,
    /// The file says where Vault is.
    pub(crate) has_vault: Cell<bool>,
}

/// Which references cannot be given at this place, because reading them would need what is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum StoresRefused {
    #[default]
    None,
    /// In `vault:`: those of Vault.
    Vault,
    /// In `secrets:`: all, since every store may need the identity there.
    All,
}

/// A value with its key path.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    pub node: &'a Node,
    pub path: String,
    pub key_at: Option<Range<usize>>,
}

impl<'a> Reader<'a> {
    pub fn new(source: &'a Source, environment: Environment<'a>, expand_env: bool) -> Self {
        Self {
            source,
            environment,
            expand_env,
            problems: RefCell::default(),
            told_about_flag: Cell::new(false),
            stored: RefCell::default(),
            stores_refused: Cell::default(),
            has_vault: Cell::new(false),
        }
    }

    /// Errors and warnings in the order of the file; what was said of the same place twice (an alias) is said once.
    pub fn finish(&self) -> (Vec<Problem>, Vec<Problem>) {
        let mut problems = self.problems.take();
        problems.sort_by_key(|p| (p.line, p.column));
        let mut seen: Vec<(usize, usize, String)> = Vec::new();
        problems.retain(|p| {
            let place = (p.line, p.column, p.message.clone());
            let new = !seen.contains(&place);
            seen.push(place);
            new
        });
        problems.into_iter().partition(|p| p.severity == Severity::Error)
    }

    /// Errors so far.
    pub fn errors(&self) -> usize {
        self.problems.borrow().iter().filter(|p| p.severity == Severity::Error).count()
    }

    /// Reports at bytes `at` of the text.
    pub fn report(
        &self,
        severity: Severity,
        at: Range<usize>,
        path: &str,
        message: String,
        suggestion: Option<String>,
    ) {
        let place = self.source.place(at.start);
        let length = self.source.slice(at).lines().next().map_or(1, |l| l.chars().count());
        self.report_written(severity, place, length, path, message, suggestion);
    }

    /// Reports at a place of the file as written. Beyond [`MAX_PROBLEMS`] nothing more is told.
    pub fn report_written(
        &self,
        severity: Severity,
        place: Place,
        length: usize,
        path: &str,
        message: String,
        suggestion: Option<String>,
    ) {
        if self.problems.borrow().len() >= MAX_PROBLEMS {
            return;
        }
        let snippet = self.source.snippet(place.line);
        let width = snippet.text.chars().count();
        let column = |c: usize| snippet.columns.get(c).copied().unwrap_or(width);
        let start = column(place.column - 1);
        let end = column(place.column - 1 + length).clamp(start + 1, width.max(start + 1));
        self.problems.borrow_mut().push(Problem {
            severity,
            file: self.source.file.clone(),
            line: place.line,
            column: place.column,
            path: path.to_owned(),
            message,
            suggestion,
            snippet: snippet.text,
            mark: (start, end - start),
        });
    }

    pub fn error(&self, field: &Field<'_>, message: impl Into<String>, suggestion: Option<&str>) {
        self.report(Severity::Error, self.at(field), &field.path, message.into(), suggestion.map(Into::into));
    }

    pub fn warn(&self, field: &Field<'_>, message: impl Into<String>, suggestion: Option<&str>) {
        self.report(Severity::Warning, self.at(field), &field.path, message.into(), suggestion.map(Into::into));
    }

    /// The value's bytes; the key's for a value that is nothing or a container.
    fn at(&self, field: &Field<'_>) -> Range<usize> {
        match (&field.node.value, &field.key_at) {
            (Value::Scalar(_), _) | (_, None) => field.node.at.clone(),
            (_, Some(key)) => key.clone(),
        }
    }

    /// A scalar's text. Nothing (`key:`) is the empty text.
    pub fn text(&self, field: &Field<'_>) -> Option<String> {
        match &field.node.value {
            Value::Scalar(text) => Some(text.clone()),
            Value::Null => Some(String::new()),
            Value::Sequence(_) => {
                self.error(field, "one value is wanted here, not a list", None);
                None
            }
            Value::Mapping(_) => {
                self.error(field, "one value is wanted here, not a mapping", None);
                None
            }
        }
    }

    /// The items of a list; nothing is an empty list.
    pub fn items(&self, field: &Field<'a>) -> Vec<Field<'a>> {
        match &field.node.value {
            Value::Null => Vec::new(),
            Value::Sequence(items) => {
                let item = |(i, node)| Field { node, path: format!("{}[{i}]", field.path), key_at: None };
                items.iter().enumerate().map(item).collect()
            }
            Value::Scalar(_) => {
                self.error(field, "a list is wanted here", Some("write the value in brackets: [value]"));
                Vec::new()
            }
            Value::Mapping(_) => {
                self.error(field, "a list is wanted here, not a mapping", Some("put `- ` before the first key"));
                Vec::new()
            }
        }
    }

    /// The entries of a mapping with free keys; nothing is an empty mapping.
    pub fn entries(&self, field: &Field<'a>) -> Vec<(&'a str, Field<'a>)> {
        match &field.node.value {
            Value::Null => Vec::new(),
            Value::Mapping(entries) => {
                let entry = |e: &'a Entry| (e.key.as_str(), field_of(e, &field.path));
                entries.iter().map(entry).collect()
            }
            _ => {
                self.error(field, "a mapping (`key: value` lines) is wanted here", None);
                Vec::new()
            }
        }
    }

    /// Every item of a list as text.
    pub fn texts(&self, field: &Field<'a>) -> Vec<String> {
        self.items(field).iter().filter_map(|item| self.text(item)).collect()
    }

    /// A scalar in an identity or secret field: `${NAME}` is resolved here if `-config.expand-env` did not do it already.
    /// The second part names the variable that made the value empty.
    pub fn resolved(&self, field: &Field<'_>) -> Option<(String, Option<String>)> {
        let text = self.text(field)?;
        if text.is_empty() {
            return Some((text, self.empty_variable(field)));
        }
        if self.expand_env || !text.contains("${") {
            return Some((text, None));
        }
        if !self.told_about_flag.replace(true) {
            let message = "`${NAME}` here is replaced from the environment although -config.expand-env is not given";
            self.warn(
                field,
                message,
                Some("start the agent with -config.expand-env, so that it holds for the whole file"),
            );
        }
        match expand::expand(&text, self.environment) {
            Ok(expanded) => {
                let empty = expanded.text.is_empty().then(|| expanded.pieces.iter().find_map(|p| p.variable.clone()));
                Some((expanded.text, empty.flatten()))
            }
            Err(error) => {
                self.error(field, error.message, Some("a literal `${` is written `$${`"));
                None
            }
        }
    }

    /// Text of a list's item or a mapping's entry that is a secret.
    pub fn secret_text(&self, field: &Field<'_>) -> Option<String> {
        let (text, emptied_by) = self.resolved(field)?;
        if let Some(variable) = emptied_by {
            self.empty_by(Severity::Warning, field, &variable);
        }
        Some(text)
    }

    /// A secret as written, or what its reference (`env://NAME`, `file:///path`, or one to a store) means.
    pub fn secret_source(&self, field: &Field<'_>, text: String) -> Option<SecretSource> {
        if let Some(spelling) = misspelt_reference(&text) {
            let message = format!(
                "`{}` is taken as the secret itself, and it looks like a reference to one",
                last_key(&field.path)
            );
            self.warn(field, message, Some(spelling));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Some(SecretSource::Inline(Secret::new(text)));
        };
        match scheme {
            "env" => match (self.environment)(rest).filter(|v| !v.is_empty()) {
                Some(value) => Some(SecretSource::Inline(Secret::new(value))),
                None => {
                    self.empty_by(Severity::Error, field, rest);
                    None
                }
            },
            "file" if rest.starts_with('/') => Some(SecretSource::File(PathBuf::from(rest))),
            "file" => {
                self.error(field, "a file reference has an absolute path", Some("write file:///path/to/secret"));
                None
            }
            _ => match SecretReference::parse(&text) {
                None => Some(SecretSource::Inline(Secret::new(text))),
                Some(Ok(reference)) => self.stored(field, &reference, text),
                Some(Err(message)) => {
                    self.error(field, format!("`{scheme}://`: {message}"), None);
                    None
                }
            },
        }
    }

    fn stored(&self, field: &Field<'_>, reference: &SecretReference, text: String) -> Option<SecretSource> {
        let refusal = match self.stores_refused.get() {
            StoresRefused::All => {
                Some("the identity for secrets cannot itself be kept in a secret store: reading it would need itself")
            }
            StoresRefused::Vault if !reference.is_of_aws() => {
                Some("what logs in to Vault cannot be kept in Vault: reading it would need itself")
            }
            StoresRefused::Vault | StoresRefused::None => None,
        };
        if let Some(message) = refusal {
            let help = "use file:///path or env://NAME here, or an identity without keys (a role of the machine)";
            self.error(field, message, Some(help));
            return None;
        }
        if !reference.is_of_aws() && !self.has_vault.get() {
            let help = "add at the left margin: vault: {address: https://host:8200, token_file: /path}";
            self.error(field, "`vault://` needs a top-level `vault` block that says where Vault is", Some(help));
            return None;
        }
        let mut all = self.stored.borrow_mut();
        let held = all.entry(text.clone()).or_insert_with(|| Arc::new(StoredSecret::new(text)));
        Some(SecretSource::Stored(Arc::clone(held)))
    }

    /// Every secret of a store that was referred to so far.
    pub fn all_stored(&self) -> Vec<Arc<StoredSecret>> {
        self.stored.borrow().values().cloned().collect()
    }

    /// The variable whose emptiness left a value with nothing in it.
    pub fn empty_variable(&self, field: &Field<'_>) -> Option<String> {
        let start = field.key_at.as_ref()?.end;
        let rest = self.source.slice(start..self.source.text().len());
        let end = start + rest.find(|c| !matches!(c, ':' | ' ' | '\t' | '"' | '\'')).unwrap_or(rest.len());
        self.source.variables(start..end).next().map(Into::into)
    }

    /// Says that a variable left `field` empty.
    pub fn empty_by(&self, severity: Severity, field: &Field<'_>, variable: &str) {
        let state = if (self.environment)(variable).is_some() { "is set but empty" } else { "is not set" };
        let message = format!("`{}` is empty: the environment variable {variable} {state}", last_key(&field.path));
        let suggestion = format!(
            "set {variable} in the agent's environment (systemd: EnvironmentFile=; Kubernetes: env), or remove this key"
        );
        self.report(severity, self.at(field), &field.path, message, Some(suggestion));
    }
}

/// How what looks like a reference to a secret, and is none, is written. Repeats nothing of it: it may be a secret after all.
fn misspelt_reference(text: &str) -> Option<&'static str> {
    // A path, a name or an ARN has only these; a secret often has others.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:#?=&+@".contains(c);
    let (scheme, rest) = text.split_once(':')?;
    if rest.trim_start_matches('/').is_empty() || !text.chars().all(is_plain) {
        return None;
    }
    let known = matches!(scheme, "env" | "file" | "aws-secretsmanager" | "aws-ssm" | "vault");
    if known && rest.starts_with("//") {
        return None;
    }
    match scheme.to_ascii_lowercase().as_str() {
        "env" | "environment" => Some("write env://NAME, with two slashes before the variable's name"),
        "file" => Some("write file:///path/to/secret, with three slashes and the whole path"),
        "arn" if text.contains(":secretsmanager:") => Some("write aws-secretsmanager:// before the ARN"),
        "arn" if text.contains(":ssm:") => Some("write aws-ssm:///path/of/the/parameter instead of the ARN"),
        "aws-secretsmanager" | "secretsmanager" | "awssm" | "secrets-manager" => {
            Some("write aws-secretsmanager://NAME, or the secret's ARN in place of its name")
        }
        "aws-ssm" | "ssm" => Some("write aws-ssm:///path/of/the/parameter"),
        "vault" => Some("write vault://mount/path#key"),
        // A word that only looks like one of the schemes.
        near if rest.starts_with("//") && ["aws", "secret", "ssm", "vault"].iter().any(|part| near.contains(part)) => {
            Some("write env://, file://, aws-secretsmanager://, aws-ssm:// or vault://: there is no other kind")
        }
        _ => None,
    }
}

pub(crate) fn last_key(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

pub(crate) fn field_of<'a>(entry: &'a Entry, path: &str) -> Field<'a> {
    let dot = if path.is_empty() { "" } else { "." };
    Field { node: &entry.node, path: format!("{path}{dot}{}", entry.key), key_at: Some(entry.key_at.clone()) }
}

impl<'a> Field<'a> {
    /// The whole file.
    pub fn root(node: &'a Node) -> Self {
        Self { node, path: String::new(), key_at: None }
    }

    pub fn is_null(&self) -> bool {
        self.node.value == Value::Null
    }

    pub fn is_list(&self) -> bool {
        matches!(self.node.value, Value::Sequence(_))
    }

    /// Nothing, or text without a character.
    pub fn is_empty(&self) -> bool {
        match &self.node.value {
            Value::Null => true,
            Value::Scalar(text) => text.is_empty(),
            Value::Sequence(_) | Value::Mapping(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::misspelt_reference;

    #[test]
    fn what_looks_like_a_reference_is_told_with_its_spelling() {
        for (text, wanted) in [
            ("aws-secretmanager://agent/password", "there is no other kind"),
            ("hashicorp-vault://kv/agent#password", "there is no other kind"),
            ("file:/etc/secret", "file:///"),
            ("file:secret", "file:///"),
            ("File:///etc/secret", "file:///"),
            ("env:AWS_SECRET", "env://NAME"),
            ("ENV://AWS_SECRET", "env://NAME"),
            ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:agent-AbCdEf", "aws-secretsmanager:// before"),
            ("arn:aws:ssm:eu-west-1:123456789012:parameter/prod/token", "aws-ssm:///path"),
            ("aws-secretsmanager:agent#password", "aws-secretsmanager://NAME"),
            ("secretsmanager://agent", "aws-secretsmanager://NAME"),
            ("ssm:/prod/token", "aws-ssm:///path"),
            ("vault:kv/agent", "vault://mount/path#key"),
        ] {
            let spelling = misspelt_reference(text).unwrap_or_default();
            assert!(spelling.contains(wanted) && !spelling.contains("AWS_SECRET"), "{text}: {spelling}");
        }
        let none =
            ["file:///etc/secret", "env://X", "vault://kv/a#b", "p:q", "hunter2", "env: what", "https://h/x", ":x"];
        for text in none {
            assert_eq!(misspelt_reference(text), None, "{text}");
        }
    }
}
