//! Where goes what is made of spans: samples to a metrics instance, lines to a logs instance or to standard output.
//!
//! Keeps true: what finds no room in time is counted and dropped, so that spans never wait for what is only derived from them.

use std::{
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use model::{BaseVector, LogBatch, MetricBatch, MetricChunk, Presence, Timestamps};
use pipeline::{Durability, LogIntake, MetricIntake, Receipt, off_reactor};
use tokio_util::sync::CancellationToken;

use crate::{auto_log::Line, metrics::StageCounts, span_metrics::Column};

/// How long samples wait for room in the lane of their instance.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lines handed over as one record.
const TOGETHER: usize = 4096;

/// The ways into other instances. `None`: there is no such processor, or it has no need of one.
#[derive(Debug, Clone, Default)]
pub struct Sinks {
    pub samples: Option<MetricIntake>,
    pub lines: Option<LogIntake>,
    /// Tells streams of this stage from those of others in those lanes.
    pub stream: u64,
    /// Cancelled before the stage is stopped: nobody goes on with the series that it made, so that they end.
    pub retired: CancellationToken,
}

impl Sinks {
    pub(crate) async fn put_columns(&self, columns: &[Column], counts: &StageCounts) {
        let Some(intake) = &self.samples else { return };
        let now = Timestamps::Common(millis());
        let base = BaseVector::none();
        for columns in columns.chunks(16) {
            let mut chunks = Vec::with_capacity(columns.len());
            for column in columns {
                chunks.push(MetricChunk {
                    table: &column.table,
                    base: &base,
                    present: Presence::All,
                    timestamps: now,
                    values: &column.values,
                });
            }
            let batch = MetricBatch { stream: self.stream, chunks };
            let items = batch.items();
            match tokio::time::timeout(PATIENCE, intake.append(&batch)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(items, %error, "samples of spanmetrics were not taken");
                    counts.lost_samples.inc_by(u64::from(items));
                }
                Err(_) => {
                    counts.lost_samples.inc_by(u64::from(items));
                }
            }
        }
    }

    /// Gives the receipt of the last lines that were handed over: with it all of them are durable.
    pub(crate) async fn put_lines(&self, lines: &[Line], patience: Duration, counts: &StageCounts) -> Option<Receipt> {
        let Some(intake) = &self.lines else {
            off_reactor(lines.len() > 16, || print(lines));
            counts.lines.inc_by(lines.len() as u64);
            return None;
        };
        let now = nanos();
        let mut receipt = None;
        let mut batch = LogBatch::new();
        for lines in lines.chunks(TOGETHER) {
            batch.clear();
            let mut lost = 0;
            for line in lines {
                let stream = batch.stream(&line.labels);
                let pushed = stream.and_then(|stream| batch.push(stream, now, line.text.as_bytes(), &[]));
                lost += u64::from(pushed.is_err());
            }
            let items = u64::from(batch.items());
            if items > 0 {
                let appended = intake.append(&mut batch, self.stream, Durability::Soon);
                match tokio::time::timeout(patience, appended).await {
                    Ok(Ok(taken)) => {
                        receipt = Some(taken);
                        counts.lines.inc_by(items);
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(items, %error, "lines made of spans were not taken");
                        lost += items;
                    }
                    Err(_) => lost += items,
                }
            }
            counts.lost_lines.inc_by(lost);
        }
        receipt
    }
}

fn print(lines: &[Line]) {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line.text);
        text.push('\n');
    }
    // Nobody reads it: nothing is to be done about that.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn millis() -> i64 {
    nanos() / 1_000_000
}

fn nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
