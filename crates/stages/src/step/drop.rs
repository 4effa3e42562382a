//! `drop`: a line goes when all conditions hold that are given.

use std::{sync::Arc, time::Duration};

use regex::Regex;

use super::{Flow, LineStage};
use crate::{Entry, StageError, StageFault, config::DropConfig, error::Place};

#[derive(Debug, Clone)]
pub(crate) struct Drop {
    longer_than: Option<u64>,
    older_than: Option<Duration>,
    content: Arc<Content>,
    separator: String,
}

/// The condition on text.
#[derive(Debug)]
enum Content {
    Any,
    /// All of these names are extracted.
    Present(Vec<String>),
    Line(Regex),
    /// The values of those names that are there, joined.
    Joined(Vec<String>, Test),
}

#[derive(Debug)]
enum Test {
    Regex(Regex),
    Equal(String),
}

impl Drop {
    pub fn new(config: &DropConfig, place: &Place) -> Result<Self, StageError> {
        if config.source.is_none()
            && config.expression.is_none()
            && config.older_than.is_none()
            && config.longer_than.is_none()
        {
            return Err(place.fault(StageFault::Combination(
                "at least one of `source`, `expression`, `older_than` and `longer_than` is required",
            )));
        }
        if config.value.is_some() && config.expression.is_some() {
            return Err(place.fault(StageFault::Combination("`value` and `expression` cannot both be given")));
        }
        let regex = match &config.expression {
            Some(text) => {
                Some(relabel::go_regex_unanchored(text).map_err(|e| place.key("expression").fault(e.into()))?)
            }
            None => None,
        };
        let content = match (config.source.clone(), regex, config.value.clone()) {
            (None, None, None) => Content::Any,
            (None, _, Some(_)) => {
                return Err(place.key("value").fault(StageFault::Combination("`value` needs a `source`")));
            }
            (None, Some(regex), None) => Content::Line(regex),
            (Some(names), None, None) => Content::Present(names),
            (Some(names), None, Some(value)) => Content::Joined(names, Test::Equal(value)),
            (Some(names), Some(regex), _) => Content::Joined(names, Test::Regex(regex)),
        };
        Ok(Self {
            longer_than: config.longer_than,
            older_than: config.older_than,
            content: Arc::new(content),
            separator: config.separator.clone().unwrap_or_else(|| ";".to_owned()),
        })
    }

    fn goes(&self, entry: &Entry, now_ns: i64) -> bool {
        let length = u64::try_from(entry.line.len()).unwrap_or(u64::MAX);
        if self.longer_than.is_some_and(|limit| length <= limit) {
            return false;
        }
        if let Some(age) = self.older_than {
            let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
            if entry.timestamp_ns >= now_ns.saturating_sub(age) {
                return false;
            }
        }
        match &*self.content {
            Content::Any => true,
            Content::Present(names) => names.iter().all(|name| entry.extracted.contains(name)),
            Content::Line(regex) => regex.is_match(&entry.line),
            Content::Joined(names, test) => {
                let mut joined = String::new();
                let mut first = true;
                for value in names.iter().filter_map(|name| entry.extracted.get(name)) {
                    // Null has no text, and what has no text cannot be tested.
                    let Some(text) = value.as_text() else { return false };
                    if !first {
                        joined.push_str(&self.separator);
                    }
                    joined.push_str(&text);
                    first = false;
                }
                match test {
                    Test::Regex(regex) => regex.is_match(&joined),
                    Test::Equal(value) => *value == joined,
                }
            }
        }
    }
}

impl LineStage for Drop {
    fn apply(&mut self, entry: &mut Entry, now_ns: i64) -> Flow {
        if self.goes(entry, now_ns) { Flow::Drop } else { Flow::Pass }
    }
}
