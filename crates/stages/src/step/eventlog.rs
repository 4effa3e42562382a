//! `eventlogmessage`: `Key: value` lines of a Windows event's message become extracted values.

use super::{Flow, LineStage};
use crate::{
    Entry, Name, StageError, StageFault, Value, config::EventLogMessageConfig, error::Place, selector::is_label_name,
};

#[derive(Debug, Clone)]
pub(crate) struct EventLogMessage {
    source: Name,
    drop_invalid_labels: bool,
    overwrite_existing: bool,
}

impl EventLogMessage {
    pub fn new(config: &EventLogMessageConfig, place: &Place) -> Result<Self, StageError> {
        let source = config.source.as_deref().unwrap_or("message");
        if !is_label_name(source) {
            return Err(place.key("source").fault(StageFault::LabelName(source.to_owned())));
        }
        Ok(Self {
            source: Name::from(source),
            drop_invalid_labels: config.drop_invalid_labels,
            overwrite_existing: config.overwrite_existing,
        })
    }
}

/// What is no letter, digit or underscore becomes an underscore.
fn sanitized(key: &str) -> String {
    if key.is_empty() {
        return "_".to_owned();
    }
    let fits = |at: usize, c: char| c.is_ascii_alphabetic() || c == '_' || (c.is_ascii_digit() && at > 0);
    key.char_indices().map(|(at, c)| if fits(at, c) { c } else { '_' }).collect()
}

impl LineStage for EventLogMessage {
    fn apply(&mut self, entry: &mut Entry, _now_ns: i64) -> Flow {
        let Some(message) = entry.extracted.text(&self.source).map(|m| m.into_owned()) else { return Flow::Pass };
        for line in message.split("\r\n") {
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.strip_prefix(' ').unwrap_or(value);
            let name = match is_label_name(key) {
                true => Name::from(key),
                false if self.drop_invalid_labels => continue,
                false => Name::from(sanitized(key)),
            };
            if self.overwrite_existing || !entry.extracted.contains(&name) {
                entry.extracted.set(&name, Value::text(value));
            }
        }
        Flow::Pass
    }
}
