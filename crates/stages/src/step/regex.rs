//! `regex`: named groups of a Go regular expression become extracted values.
//!
//! A group that took no part in the match is the empty text. A text that does not match changes nothing.

use std::sync::Arc;

use regex::CaptureLocations;

use super::{Flow, LineStage, Source, pattern};
use crate::{Entry, Name, StageError, Value, config::RegexConfig, error::Place};

#[derive(Debug, Clone)]
pub(crate) struct Regex {
    source: Source,
    /// Shared: each copy of a pattern has its own memory for matching.
    regex: Arc<regex::Regex>,
    /// Group number and name.
    names: Vec<(usize, Name)>,
    locations: CaptureLocations,
    found: Vec<Value>,
}

impl Regex {
    pub fn new(config: &RegexConfig, place: &Place) -> Result<Self, StageError> {
        let compiled = pattern(&config.expression, place, "expression")?;
        let names = compiled.names().enumerate().filter_map(|(i, name)| Some((i, Name::from(name?)))).collect();
        let regex = Arc::new(compiled.regex().clone());
        let locations = regex.capture_locations();
        Ok(Self { source: Source::new(config.source.as_deref(), place)?, regex, names, locations, found: Vec::new() })
    }
}

impl LineStage for Regex {
    fn apply(&mut self, entry: &mut Entry, _now_ns: i64) -> Flow {
        let Self { source, regex, names, locations, found } = self;
        // What a panic left here is none of this line's.
        found.clear();
        {
            let Some(text) = source.text(entry) else { return Flow::Pass };
            if regex.captures_read(locations, &text).is_none() {
                return Flow::Unread("no_match");
            }
            let group = |at: usize| locations.get(at).and_then(|(start, end)| text.get(start..end)).unwrap_or_default();
            found.extend(names.iter().map(|(at, _)| Value::text(group(*at))));
        }
        for ((_, name), value) in names.iter().zip(found.drain(..)) {
            entry.extracted.set(name, value);
        }
        Flow::Pass
    }
}
