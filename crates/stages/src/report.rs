//! What a stage did to a line, for people who try out a configuration.

use crate::Entry;

/// One stage and one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    /// The stage's place: `pipeline_stages[1].match.stages[0].regex`.
    pub path: String,
    pub before: Snapshot,
    /// What left the stage: nothing if the line was dropped or is held; several if held lines came free.
    pub after: Vec<Snapshot>,
    pub fate: Fate,
}

/// What became of the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Passed,
    /// The selector does not match: the stage has nothing to do with it.
    NotMatched,
    /// The selector matches: reports of the nested stages follow.
    Entered,
    /// Gone, counted under this reason.
    Dropped {
        reason: String,
    },
    /// The stage cannot read it, for this reason; it passes as it is, and is counted.
    Unread {
        reason: &'static str,
    },
    /// Kept back, to become part of a longer line.
    Held,
    /// It passed, but the source has to wait.
    Waits {
        until_ns: i64,
    },
}

/// A line as it stood between two stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub labels: Vec<(String, String)>,
    /// In name order; null is `None`.
    pub extracted: Vec<(String, Option<String>)>,
    pub line: String,
    pub timestamp_ns: i64,
    pub structured_metadata: Vec<(String, String)>,
}

impl Snapshot {
    pub(crate) fn of(entry: &Entry) -> Self {
        let pairs = |labels: &model::Labels| labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let mut extracted: Vec<_> =
            entry.extracted.iter().map(|(n, v)| (n.to_string(), v.as_text().map(|t| t.into_owned()))).collect();
        extracted.sort();
        Self {
            labels: pairs(&entry.labels),
            extracted,
            line: entry.line.clone(),
            timestamp_ns: entry.timestamp_ns,
            structured_metadata: pairs(&entry.structured_metadata),
        }
    }
}
