//! `pack`: labels move into the line, which becomes a JSON object with the line as `_entry`.

use super::{Flow, LineStage};
use crate::{Entry, config::PackConfig, json_text::push_string};

#[derive(Debug, Clone)]
pub(crate) struct Pack {
    /// Sorted, each once.
    labels: Vec<String>,
    ingest_timestamp: bool,
}

impl Pack {
    pub fn new(config: &PackConfig) -> Self {
        let mut labels = config.labels.clone();
        labels.sort();
        labels.dedup();
        Self { labels, ingest_timestamp: config.ingest_timestamp }
    }
}

impl LineStage for Pack {
    fn apply(&mut self, entry: &mut Entry, now_ns: i64) -> Flow {
        let mut packed = String::with_capacity(entry.line.len() + 64);
        packed.push('{');
        for name in &self.labels {
            // Anything extracted can be packed; a label that is packed is a label no longer.
            let Some(value) = entry.extracted.text(name) else { continue };
            push_string(&mut packed, name);
            packed.push(':');
            push_string(&mut packed, &value);
            packed.push(',');
            entry.labels.remove(name);
        }
        push_string(&mut packed, "_entry");
        packed.push(':');
        push_string(&mut packed, &entry.line);
        packed.push('}');
        entry.line = packed;
        if self.ingest_timestamp {
            entry.timestamp_ns = now_ns;
        }
        Flow::Pass
    }
}
