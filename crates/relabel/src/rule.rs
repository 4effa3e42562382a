//! One relabel rule: what the file says (`RuleSource`) and what runs (`Rule`).

/// `relabel_config` as written, with its defaults applied by the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSource {
    pub source_labels: Vec<String>,
    /// Default `;`.
    pub separator: String,
    pub target_label: String,
    /// Default `(.*)`; Go RE2 syntax, anchored on both sides, `.` matches a newline.
    pub regex: String,
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
            separator: ";".into(),
            target_label: String::new(),
            regex: "(.*)".into(),
            modulus: 0,
            replacement: "$1".into(),
            action: Action::Replace,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

/// A compiled rule. Comparison is by source.
#[derive(Debug, Clone)]
pub struct Rule {
    source: RuleSource,
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
    pub field: &'static str,
    pub message: String,
}

impl Rule {
    /// Checks and compiles.
    pub fn new(source: RuleSource) -> Result<Self, RuleError> {
        Ok(Self { source })
    }

    pub fn source(&self) -> &RuleSource {
        &self.source
    }
}
