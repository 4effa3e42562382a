//! `docker`: lines of Docker's json-file log driver.
//!
//! The same as `json` (log, stream, time), `labels` (stream), `timestamp` (RFC 3339) and `output`, one after the other.

use super::{Flow, LineStage, json::Json, labels::FromExtracted, output::Output, timestamp::Timestamp};
use crate::{Entry, StageError, config::JsonConfig, error::Place};

#[derive(Debug, Clone)]
pub(crate) struct Docker {
    json: Json,
    labels: FromExtracted,
    timestamp: Timestamp,
    output: Output,
}

impl Docker {
    pub fn new(place: &Place) -> Result<Self, StageError> {
        let pair = |name: &str, path: &str| (name.to_owned(), Some(path.to_owned()));
        let expressions = vec![pair("output", "log"), pair("stream", "stream"), pair("timestamp", "time")];
        Ok(Self {
            json: Json::new(&JsonConfig { expressions, ..JsonConfig::default() }, place)?,
            labels: FromExtracted::of("stream"),
            timestamp: Timestamp::rfc3339_nano("timestamp"),
            output: Output::of("output"),
        })
    }
}

impl LineStage for Docker {
    fn apply(&mut self, entry: &mut Entry, now_ns: i64) -> Flow {
        entry.extracted.seed(&entry.labels);
        let stages: [&mut dyn LineStage; 4] = [&mut self.json, &mut self.labels, &mut self.timestamp, &mut self.output];
        let mut flow = Flow::Pass;
        for stage in stages {
            // The first that cannot read it says why.
            if let unread @ Flow::Unread(_) = stage.apply(entry, now_ns)
                && flow == Flow::Pass
            {
                flow = unread;
            }
        }
        flow
    }
}
