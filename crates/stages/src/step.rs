//! The stages themselves, one file for each kind of work, and what they have in common.
//!
//! A [`LineStage`] turns one line into that line or nothing. Three kinds do more and are known to [`crate::Pipeline`] by
//! name: `multiline` and `cri` hold lines back, `match` has stages of its own.

pub(crate) mod cri;
pub(crate) mod docker;
pub(crate) mod drop;
pub(crate) mod eventlog;
pub(crate) mod geoip;
pub(crate) mod json;
pub(crate) mod json_paths;
pub(crate) mod labels;
pub(crate) mod limit;
pub(crate) mod logfmt;
pub(crate) mod metrics;
pub(crate) mod multiline;
pub(crate) mod output;
pub(crate) mod pack;
pub(crate) mod regex;
pub(crate) mod replace;
pub(crate) mod sampling;
pub(crate) mod template;
pub(crate) mod timestamp;

use std::{borrow::Cow, sync::Arc};

use crate::{Entry, Name, StageError, StageFault, error::Place};

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Pass,
    Drop,
    /// It passes as it is: the stage cannot read it. Why, in a word for a label.
    Unread(&'static str),
    /// It passes, and the source should not bring the next before this time (nanoseconds since the epoch).
    Hold(i64),
}

/// A stage that looks at one line at a time.
///
/// Cloning one makes the same stage for another source of the same job. Clones share what is costly (patterns, templates,
/// databases) and what counts for all sources together (rates, metrics).
pub(crate) trait LineStage: Twin + Send + Sync + std::fmt::Debug {
    fn apply(&mut self, entry: &mut Entry, now_ns: i64) -> Flow;
}

/// What makes stages of unknown type cloneable.
pub(crate) trait Twin {
    fn twin(&self) -> Box<dyn LineStage>;
}

impl<T: LineStage + Clone + 'static> Twin for T {
    fn twin(&self) -> Box<dyn LineStage> {
        Box::new(self.clone())
    }
}

/// What a parsing stage reads: the line, or something extracted before.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Line,
    Extracted(Name),
}

impl Source {
    pub fn new(source: Option<&str>, place: &Place) -> Result<Self, StageError> {
        match source {
            None => Ok(Self::Line),
            Some("") => Err(place.key("source").fault(StageFault::Empty)),
            Some(name) => Ok(Self::Extracted(Name::from(name))),
        }
    }

    /// The text; nothing if there is none of that name, or it is null.
    pub fn text<'a>(&self, entry: &'a Entry) -> Option<Cow<'a, str>> {
        match self {
            Self::Line => Some(Cow::Borrowed(&entry.line)),
            Self::Extracted(name) => entry.extracted.text(name),
        }
    }
}

/// Pairs of target and source; an absent or empty source means the target's name.
pub(crate) fn mapping(pairs: &[(String, Option<String>)]) -> Vec<(Name, Name)> {
    let source = |name: &Name, source: &Option<String>| match source.as_deref() {
        None | Some("") => Arc::clone(name),
        Some(source) => Name::from(source),
    };
    pairs
        .iter()
        .map(|(target, from)| {
            let name = Name::from(target.as_str());
            let source = source(&name, from);
            (name, source)
        })
        .collect()
}

/// The required text of a key.
pub(crate) fn required<'a>(value: &'a str, place: &Place, key: &str) -> Result<&'a str, StageError> {
    if value.is_empty() { Err(place.key(key).fault(StageFault::Required)) } else { Ok(value) }
}

/// A pattern in Go's syntax, not anchored.
pub(crate) fn pattern(text: &str, place: &Place, key: &str) -> Result<relabel::GoRegex, StageError> {
    let text = required(text, place, key)?;
    relabel::GoRegex::unanchored(text).map_err(|e| place.key(key).fault(e.into()))
}

/// The reason a stage's drops are counted under.
pub(crate) fn reason<'a>(given: Option<&'a str>, default: &'a str) -> &'a str {
    given.filter(|r| !r.is_empty()).unwrap_or(default)
}
