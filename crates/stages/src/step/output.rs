//! The stages that only change the line: `output` and `decolorize`.

use std::sync::Arc;

use memchr::memchr2;
use regex::Regex;
use relabel::go_regex_unanchored;

use super::{Flow, LineStage, required};
use crate::{Entry, Name, StageError, config::OutputConfig, error::Place};

/// `output`: the line becomes an extracted value; without one it stays.
#[derive(Debug, Clone)]
pub(crate) struct Output(Name);

impl Output {
    pub fn new(config: &OutputConfig, place: &Place) -> Result<Self, StageError> {
        Ok(Self(Name::from(required(&config.source, place, "source")?)))
    }

    pub fn of(source: &str) -> Self {
        Self(Name::from(source))
    }
}

impl LineStage for Output {
    fn apply(&mut self, entry: &mut Entry, _now_ns: i64) -> Flow {
        if let Some(text) = entry.extracted.text(&self.0) {
            // The line's memory is used again.
            entry.line.clear();
            entry.line.push_str(&text);
        }
        Flow::Pass
    }
}

/// What terminals take for colours and cursor movements: after ESC or CSI, arguments and one final character.
const ANSI: &str = "[\u{1B}\u{9B}][[\\]()#;?]*(?:(?:(?:[a-zA-Z\\d]*(?:;[a-zA-Z\\d]*)*)?\u{07})|(?:(?:\\d{1,4}(?:;\\d{0,4})*)?[\\dA-PRZcf-ntqry=><~]))";

/// `decolorize`.
#[derive(Debug, Clone)]
pub(crate) struct Decolorize(Arc<Regex>);

impl Decolorize {
    pub fn new(place: &Place) -> Result<Self, StageError> {
        Ok(Self(Arc::new(go_regex_unanchored(ANSI).map_err(|e| place.fault(e.into()))?)))
    }
}

impl LineStage for Decolorize {
    fn apply(&mut self, entry: &mut Entry, _now_ns: i64) -> Flow {
        // U+009B ends in 0x9b; lines without either byte have no colours.
        if memchr2(0x1b, 0x9b, entry.line.as_bytes()).is_some()
            && let std::borrow::Cow::Owned(plain) = self.0.replace_all(&entry.line, "")
        {
            entry.line = plain;
        }
        Flow::Pass
    }
}
