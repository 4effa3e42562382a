//! Why a pipeline is refused: where in `pipeline_stages`, and what is wrong there.

use std::path::PathBuf;

use relabel::GoRegexError;

/// A configuration that cannot be run.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {fault}")]
pub struct StageError {
    /// The key at fault, relative to the scrape configuration: `pipeline_stages[1].match.stages[0].regex.expression`.
    pub path: String,
    #[source]
    pub fault: StageFault,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum StageFault {
    #[error("a value is required")]
    Required,
    #[error("must not be an empty string")]
    Empty,
    #[error("not a regular expression: {0}")]
    Regex(#[from] GoRegexError),
    #[error("not a JMESPath expression: {0}")]
    Jmespath(String),
    #[error("not a template: {0}")]
    Template(String),
    #[error("the template calls a function that does not exist: {0}")]
    UnknownFunction(String),
    #[error("templates may not call each other in a circle or more than {limit} times in all; start at {name:?}")]
    TemplateCalls { name: String, limit: u64 },
    #[error("not a valid label name: {0:?}; use letters, digits and underscores, and no digit in front")]
    LabelName(String),
    #[error("not a valid metric name: {0:?}; use letters, digits, underscores and colons, and no digit in front")]
    MetricName(String),
    #[error("buckets must rise and be numbers")]
    Buckets,
    #[error("unknown time zone {0:?}")]
    Location(String),
    #[error("the layout {0:?} has no part of a date or time; Go layouts are written as 2006-01-02T15:04:05Z07:00")]
    Layout(String),
    #[error("{given:?} is not one of {allowed}")]
    Choice { given: String, allowed: &'static str },
    #[error("not a selector: {reason} at character {at}")]
    Selector { reason: String, at: usize },
    #[error("{0}")]
    Combination(&'static str),
    #[error("{0} must be above zero")]
    NotPositive(&'static str),
    #[error("a share between 0 and 1 is required, not {0}")]
    Share(f64),
    #[error("the database {path} cannot be used: {reason}", path = .path.display())]
    Database { path: PathBuf, reason: String },
    #[error("`match` stages are nested deeper than {0}")]
    Nesting(usize),
}

/// A key path under construction.
#[derive(Debug, Clone)]
pub(crate) struct Place(String);

impl Place {
    pub fn root() -> Self {
        Self("pipeline_stages".to_owned())
    }

    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}.{key}", self.0))
    }

    pub fn fault(&self, fault: StageFault) -> StageError {
        StageError { path: self.0.clone(), fault }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}
