//! From columns to a batch; failed scrapes and the end of a target.

use model::MetricBatch;

use super::{Phase, ScrapeCache};

impl ScrapeCache {
    /// The scrape failed: what the previous successful one had ends at `scrape_ts` (ms), once.
    pub fn fail(&mut self, scrape_ts: i64) {
        self.end_series(scrape_ts);
        self.phase = Phase::Failed;
    }

    /// The target is gone: as [`fail`](Self::fail), and the report series end as well.
    pub fn end(&mut self, ts: i64) {
        self.end_series(ts);
        self.report.set_stale();
        self.phase = Phase::Ended;
    }

    /// The process stops: as [`end`](Self::end), and the series with timestamps of their own end as well.
    pub fn stop(&mut self, ts: i64) {
        for (tracked, timed) in self.slots.tracked.words_mut().iter_mut().zip(self.slots.timed.words_mut()) {
            *tracked |= std::mem::take(timed);
        }
        self.end(ts);
    }

    fn end_series(&mut self, stamp: i64) {
        self.stamp = stamp;
        self.extras.clear();
        let slots = &mut self.slots;
        slots.times = Vec::new();
        slots.now.clear();
        for (emitted, tracked) in slots.emitted.words_mut().iter_mut().zip(slots.tracked.words_mut()) {
            *emitted = std::mem::take(tracked);
        }
        for slot in 0..slots.values.len() {
            if slots.emitted.get(slot) {
                slots.set_value(slot, model::stale_marker());
            }
        }
    }

    /// What the last [`ingest`](Self::ingest), [`fail`](Self::fail) or [`end`](Self::end) came to, with the report
    /// series `report` (name, value) under the target's labels. After `end` the report series are markers, whatever
    /// `report` says. Before any of them, and after an `ingest` that failed, the batch is empty.
    pub fn batch(&mut self, report: &[(&str, f64)]) -> MetricBatch<'_> {
        let stamp = self.stamp;
        if self.phase == Phase::Scraped {
            for chunk in &mut self.chunks {
                chunk.renew_base(&self.slots, stamp);
            }
        }
        if matches!(self.phase, Phase::Scraped | Phase::Failed) {
            self.report.set(report);
        }
        let mut batch = MetricBatch { stream: self.stream, chunks: Vec::with_capacity(self.chunks.len() + 1) };
        if self.phase == Phase::Idle {
            return batch;
        }
        batch.chunks.extend(self.chunks.iter().map(|chunk| chunk.columns(&self.slots, stamp)));
        batch.chunks.extend(self.extras.columns());
        batch.chunks.extend(self.report.columns(stamp));
        batch.chunks.retain(|chunk| chunk.items() > 0);
        batch
    }
}
