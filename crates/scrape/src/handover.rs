//! From a loop to the queue: one batch, in records of a size that the queue takes.
//!
//! Keeps true: what the queue does not take within the given time is counted as refused, never silently dropped; a scrape
//! never waits longer than that for the queue.

use std::time::Duration;

use model::{MetricBatch, MetricChunk};
use pipeline::MetricIntake;

use crate::{ScrapeContext, ScrapeMetrics};

/// A record carries at most about this much, tables and bases included; the queue takes four times as much.
const RECORD_BYTES: usize = 4 << 20;

/// Gives a batch to the queue. A queue that is full waits; after `patience` (one interval) the next scrape matters more,
/// and what is left of this one is refused and counted. The same when `quit` resolves: a process that stops does not wait
/// for a full queue.
pub(crate) async fn hand_over(
    intake: &MetricIntake,
    metrics: &ScrapeMetrics,
    context: &ScrapeContext,
    batch: MetricBatch<'_>,
    patience: Duration,
    quit: impl Future<Output = ()>,
) {
    if batch.chunks.is_empty() {
        return;
    }
    let mut left = u64::from(batch.items());
    let work = async {
        for part in parts(batch) {
            intake.append(&part).await.map_err(|error| error.to_string())?;
            left -= u64::from(part.items());
        }
        Ok(())
    };
    let result = tokio::select! {
        // A queue with room takes the batch even if the process stops.
        biased;
        result = work => result,
        () = tokio::time::sleep(patience) => Err("the queue has no room".to_owned()),
        () = quit => Err("the queue has no room and the agent stops".to_owned()),
    };
    let Err(error) = result else {
        return context.intake_answers();
    };
    metrics.refused_batches.inc();
    metrics.refused_samples.inc_by(left);
    context.intake_refuses(&error);
}

/// The batch itself, or several of the same stream if it is large.
fn parts(batch: MetricBatch<'_>) -> impl Iterator<Item = MetricBatch<'_>> {
    let stream = batch.stream;
    let mut chunks = batch.chunks.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = chunks.next()?;
        let mut bytes = weight(&first);
        let mut part = MetricBatch { stream, chunks: vec![first] };
        while let Some(next) = chunks.next_if(|next| bytes + weight(next) <= RECORD_BYTES) {
            bytes += weight(&next);
            part.chunks.push(next);
        }
        Some(part)
    })
}

/// What a chunk can take in a record at most: its contexts, and ten bytes for each value.
fn weight(chunk: &MetricChunk<'_>) -> usize {
    chunk.table.bytes().len() + chunk.base.bytes().len() + chunk.values.len() * 10 + 64
}

#[cfg(test)]
mod tests {
    use model::{BaseVector, MetricType, Presence, SeriesTableBuilder, Timestamps};

    use super::*;

    #[test]
    fn a_large_batch_is_cut_into_records_in_order() {
        let mut builder = SeriesTableBuilder::new();
        let family = builder.family("m", MetricType::Gauge, "", "");
        for i in 0..500 {
            builder.push(family, &[("__name__", "m"), ("i", &i.to_string())].into_iter().collect()).unwrap();
        }
        let (table, base, values) = (builder.build(), BaseVector::none(), vec![1.0; 500]);
        let chunk = |ts| MetricChunk {
            table: &table,
            base: &base,
            present: Presence::All,
            timestamps: Timestamps::Common(ts),
            values: &values,
        };
        let batch = MetricBatch { stream: 7, chunks: (0..3000).map(chunk).collect() };
        let parts: Vec<_> = parts(batch).collect();
        assert!(parts.len() > 3, "{}", parts.len());
        assert!(parts.iter().all(|p| p.stream == 7 && p.chunks.iter().map(weight).sum::<usize>() <= RECORD_BYTES));
        let times: Vec<_> = parts.iter().flat_map(|p| &p.chunks).map(|c| c.timestamps).collect();
        assert_eq!(times, (0..3000).map(Timestamps::Common).collect::<Vec<_>>());
    }
}
