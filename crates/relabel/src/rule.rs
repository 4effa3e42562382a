//! One relabel rule: what the file says (`RuleSource`) and what runs (`Rule`).

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use crate::{GoRegex, GoRegexError, Template};

/// The pattern a rule has when none is written.
const DEFAULT_REGEX: &str = "(.*)";
/// The replacement a rule has when none is written.
const DEFAULT_REPLACEMENT: &str = "$1";
/// The separator a rule has when none is written.
const DEFAULT_SEPARATOR: &str = ";";

/// `relabel_config` as written, with its defaults applied by the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSource {
    /// Labels whose values are joined into the text to match.
    pub source_labels: Vec<String>,
    /// Default `;`.
    pub separator: String,
    /// The label to write, or to compare with.
    pub target_label: String,
    /// Default `(.*)`; Go RE2 syntax, anchored on both sides, `.` matches a newline.
    pub regex: String,
    /// For `hashmod`: how many shards.
    pub modulus: u64,
    /// Default `$1`.
    pub replacement: String,
    /// Default `Replace`.
    pub action: Action,
}

impl Default for RuleSource {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: DEFAULT_SEPARATOR.into(),
            target_label: String::new(),
            regex: DEFAULT_REGEX.into(),
            modulus: 0,
            replacement: DEFAULT_REPLACEMENT.into(),
            action: Action::Replace,
        }
    }
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Write a label from the match.
    Replace,
    /// Drop what does not match.
    Keep,
    /// Drop what matches.
    Drop,
    /// Drop unless the joined sources equal the target label.
    KeepEqual,
    /// Drop if the joined sources equal the target label.
    DropEqual,
    /// Write the hash of the joined sources modulo `modulus`.
    HashMod,
    /// Copy labels to names made from their names.
    LabelMap,
    /// Remove labels by name.
    LabelDrop,
    /// Remove all other labels.
    LabelKeep,
    /// Write the joined sources in lower case.
    Lowercase,
    /// Write the joined sources in upper case.
    Uppercase,
}

impl Action {
    /// The word used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }

    /// Reads the word in any letter case.
    pub fn from_name(name: &str) -> Option<Self> {
        const ALL: [Action; 11] = [
            Action::Replace,
            Action::Keep,
            Action::Drop,
            Action::KeepEqual,
            Action::DropEqual,
            Action::HashMod,
            Action::LabelMap,
            Action::LabelDrop,
            Action::LabelKeep,
            Action::Lowercase,
            Action::Uppercase,
        ];
        ALL.into_iter().find(|a| a.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A compiled rule. Comparison is by source. Cloning shares the compiled pattern.
#[derive(Debug, Clone)]
pub struct Rule {
    source: RuleSource,
    pattern: Arc<GoRegex>,
    target: Template,
    replacement: Template,
    templates: bool,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}
impl Eq for Rule {}

/// Why a rule cannot be compiled: `field` is the key of the file that is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field}: {message}")]
pub struct RuleError {
    /// The key, as written in files.
    pub field: &'static str,
    /// What is wrong with it and what to write.
    pub message: String,
}

impl Rule {
    /// Checks and compiles, by the rules of Prometheus' `relabel.Config.Validate` with classic label names.
    pub fn new(source: RuleSource) -> Result<Self, RuleError> {
        validate(&source)?;
        let pattern = compiled(&source.regex).map_err(|e| wrong("regex", e.to_string()))?;
        let target = Template::new(&source.target_label, &pattern);
        let replacement = Template::new(&source.replacement, &pattern);
        let templates = refers_to_groups(&source.target_label) || refers_to_groups(&source.replacement);
        Ok(Self { source, pattern, target, replacement, templates })
    }

    /// What it was made from.
    pub fn source(&self) -> &RuleSource {
        &self.source
    }

    pub(crate) fn pattern(&self) -> &GoRegex {
        &self.pattern
    }

    pub(crate) fn target(&self) -> &Template {
        &self.target
    }

    pub(crate) fn replacement(&self) -> &Template {
        &self.replacement
    }

    pub(crate) fn has_default_pattern(&self) -> bool {
        self.source.regex == DEFAULT_REGEX
    }

    pub(crate) fn has_templates(&self) -> bool {
        self.templates
    }
}

/// Most rules have the default pattern; they share one program and its scratch space.
fn compiled(pattern: &str) -> Result<Arc<GoRegex>, GoRegexError> {
    static DEFAULT: OnceLock<Arc<GoRegex>> = OnceLock::new();
    if pattern != DEFAULT_REGEX {
        return GoRegex::anchored(pattern).map(Arc::new);
    }
    if let Some(shared) = DEFAULT.get() {
        return Ok(shared.clone());
    }
    let fresh = Arc::new(GoRegex::anchored(pattern)?);
    Ok(DEFAULT.get_or_init(|| fresh).clone())
}

fn wrong(field: &'static str, message: impl Into<String>) -> RuleError {
    RuleError { field, message: message.into() }
}

fn validate(source: &RuleSource) -> Result<(), RuleError> {
    let action = source.action;
    let target = source.target_label.as_str();
    match action {
        Action::Keep | Action::Drop => {}
        Action::Replace
        | Action::HashMod
        | Action::Lowercase
        | Action::Uppercase
        | Action::KeepEqual
        | Action::DropEqual => {
            if target.is_empty() {
                return Err(wrong("target_label", format!("action {action} needs the label to work on; none is set")));
            }
            let valid = if action == Action::Replace { is_label_name_template(target) } else { is_label_name(target) };
            if !valid {
                return Err(wrong(
                    "target_label",
                    format!(
                        "{target:?} is not a label name for action {action}; use letters, digits and underscores, \
                         not starting with a digit"
                    ),
                ));
            }
        }
        Action::LabelMap => {
            if !is_label_name_template(&source.replacement) {
                return Err(wrong(
                    "replacement",
                    format!("{:?} does not make a label name for action labelmap", source.replacement),
                ));
            }
        }
        Action::LabelDrop | Action::LabelKeep => {}
    }
    match action {
        Action::HashMod if source.modulus == 0 => Err(wrong("modulus", "action hashmod needs a modulus of at least 1")),
        Action::Lowercase | Action::Uppercase if source.replacement != DEFAULT_REPLACEMENT => {
            Err(wrong("replacement", format!("action {action} takes no replacement; remove it")))
        }
        Action::KeepEqual | Action::DropEqual => only(source, &["source_labels", "target_label"]),
        Action::LabelDrop | Action::LabelKeep => only(source, &["regex"]),
        _ => Ok(()),
    }
}

/// Refuses every field that is set and not in `allowed`.
fn only(source: &RuleSource, allowed: &[&'static str]) -> Result<(), RuleError> {
    let set = [
        ("source_labels", !source.source_labels.is_empty()),
        ("target_label", !source.target_label.is_empty()),
        ("regex", source.regex != DEFAULT_REGEX),
        ("modulus", source.modulus != 0),
        ("separator", source.separator != DEFAULT_SEPARATOR),
        ("replacement", source.replacement != DEFAULT_REPLACEMENT),
    ];
    match set.into_iter().find(|(field, is_set)| *is_set && !allowed.contains(field)) {
        Some((field, _)) => {
            Err(wrong(field, format!("action {} takes only {}; remove it", source.action, allowed.join(" and "))))
        }
        None => Ok(()),
    }
}

/// Whether a template would be expanded at all.
pub(crate) fn refers_to_groups(template: &str) -> bool {
    template.contains('$')
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`.
pub(crate) fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A label name in which `$name` or `${name}` may stand for any part: `(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+`.
fn is_label_name_template(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = text;
    let mut at_start = true;
    while let Some(first) = rest.chars().next() {
        let after = rest.get(first.len_utf8()..).unwrap_or("");
        rest = if first == '$' {
            let braced = after.strip_prefix('{');
            let body = braced.unwrap_or(after);
            let end = body.find(|c| !word(c)).unwrap_or(body.len());
            let Some((name, tail)) = body.split_at_checked(end) else {
                return false;
            };
            if name.is_empty() {
                return false;
            }
            match braced {
                None => tail,
                Some(_) => match tail.strip_prefix('}') {
                    Some(tail) => tail,
                    None => return false,
                },
            }
        } else if word(first) && !(at_start && first.is_ascii_digit()) {
            after
        } else {
            return false;
        };
        at_start = false;
    }
    !at_start
}
