//! One target's life: wait for the point, fetch, hand over, say how it went; at the end, mark its series stale.
//!
//! Keeps true: each scrape ends in one hand-over (samples, or markers after a failure) that carries the report series;
//! a failed scrape changes nothing but that; a target that is gone gets its markers only after the next two points have
//! passed without it. Does not decide which targets exist: orders come from the pool.
//!
//! A loop waits nearly all its life, and there are thousands: what a scrape needs is in a boxed future that exists only
//! while it runs.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use net::NetError;
use parking_lot::Mutex;
use pipeline::{MetricIntake, off_reactor};
use prometheus_client::metrics::histogram::Histogram;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    CacheConfig, Format, IngestFault, Ingested, ScrapeCache, ScrapeContext, ScrapeMetrics, TargetState,
    bodies::Body,
    circle::{Circle, Release},
    failure::ScrapeFailure,
    fetch::Line,
    handover::hand_over,
    settings::Settings,
    status::Progress,
    target::Target,
    tick::Grid,
};

/// Bodies above this take more than about a millisecond even where every line is recognised.
const LONG_KNOWN: usize = 512 << 10;
/// The same for the first body of a target, which is parsed line by line.
const LONG_NEW: usize = 32 << 10;

/// What the pool wants of a loop.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub settings: Arc<Settings>,
    pub target: Arc<Target>,
    pub phase: Phase,
    /// Set: every scrape fails for this reason, without a request.
    pub forced: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Scrape,
    /// The target is gone: wait, mark, end.
    Leave,
    /// The process stops: end now.
    Stop {
        markers: bool,
    },
}

pub(crate) struct TargetLoop {
    pub intake: MetricIntake,
    pub metrics: Arc<ScrapeMetrics>,
    pub context: ScrapeContext,
    pub stop: CancellationToken,
    pub orders: watch::Receiver<Order>,
    pub progress: Arc<Mutex<Progress>>,
    pub circle: Weak<Circle>,
    pub cache: ScrapeCache,
    pub order: Order,
    pub grid: Grid,
    pub line: Line,
    /// Where it tells how far apart its scrapes are, and for which interval that is.
    pub lengths: (Duration, Histogram),
    /// Timestamp of the last scrape.
    pub last: Option<i64>,
}

/// How a scrape went, for the report series.
struct Outcome {
    counts: Ingested,
    body_bytes: f64,
    failure: Option<ScrapeFailure>,
}

pub(crate) fn cache_for(target: &Target, settings: &Settings) -> ScrapeCache {
    let job = &settings.job;
    let config = CacheConfig {
        honor_labels: job.honor_labels,
        honor_timestamps: job.honor_timestamps,
        track_timestamps_staleness: job.track_timestamps_staleness,
        metric_relabel: settings.metric_relabel.clone(),
        limits: job.limits,
        target_labels: target.labels.clone(),
    };
    ScrapeCache::new(target.hash, config)
}

impl TargetLoop {
    pub(crate) async fn run(mut self: Box<Self>) {
        let mut point = self.grid.after(self.context.clock.now());
        loop {
            let due = self.context.clock.instant_of(point);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                changed = self.orders.changed() => {
                    // The pool is gone without a word: nothing may be claimed about the target.
                    if changed.is_err() || Box::pin(self.obey()).await {
                        return;
                    }
                    point = self.next_point(point);
                }
                () = tokio::time::sleep_until(due) => {
                    Box::pin(self.scrape(point)).await;
                    point = self.point_after(point);
                }
            }
        }
    }

    /// The point to wait for after a scrape meant for `point`. Missed points are left out, as a ticker does. A clock that was
    /// set is followed, backwards too: no wait is ever longer than an interval.
    fn point_after(&self, point: i64) -> i64 {
        let now = self.context.clock.now();
        // A timer may fire a moment early.
        let early = point.saturating_sub(now) <= self.grid.interval() / 10;
        self.grid.after(if early { now.max(point) } else { now })
    }

    /// The point to wait for after an order: the same, unless the order moved the points or took long.
    fn next_point(&self, point: i64) -> i64 {
        let now = self.context.clock.now();
        let interval = self.grid.interval();
        let due = point.saturating_add(interval / 10) >= now && point.saturating_sub(now) <= interval;
        if due && self.grid.contains(point) { point } else { self.grid.after(now) }
    }

    /// Does what the pool wants. True: the loop ends.
    async fn obey(&mut self) -> bool {
        let order = self.orders.borrow_and_update().clone();
        match order.phase {
            Phase::Scrape => {
                self.adopt(order).await;
                false
            }
            Phase::Leave => self.leave().await,
            Phase::Stop { markers } => {
                if markers && self.last.is_some() {
                    self.cache.stop(self.context.clock.now());
                    self.hand_over_end().await;
                }
                true
            }
        }
    }

    async fn adopt(&mut self, order: Order) {
        let changed = order.settings.cache_version != self.order.settings.cache_version;
        self.order = order;
        self.grid = Grid::new(self.order.target.interval, self.order.target.hash, self.context.seed);
        if changed {
            // What the rules make of the same text may be other series. The old ones end just after their last sample and
            // before their first new one, so that those that go on are in order.
            if let Some(last) = self.last {
                self.end(last + 1).await;
            }
            self.cache = cache_for(&self.order.target, &self.order.settings);
        }
    }

    /// The target is gone. Waits for the next two points and a tenth of an interval, in case it comes back; then marks
    /// its series stale at the first of those points. True: the loop ends.
    async fn leave(&mut self) -> bool {
        if self.last.is_some() {
            let first = self.grid.after(self.context.clock.now());
            let interval = self.grid.interval();
            let end = self.context.clock.instant_of(first.saturating_add(interval).saturating_add(interval / 10));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return true,
                // Back again, or the process stops: obey that instead. An error is left for the next look.
                _ = self.orders.changed() => {
                    self.orders.mark_changed();
                    return false;
                }
                () = tokio::time::sleep_until(end) => {}
            }
            match self.release() {
                Release::Resumed => return false,
                Release::Succeeded => return true,
                Release::Gone => self.end(first).await,
            }
            return true;
        }
        !matches!(self.release(), Release::Resumed)
    }

    fn release(&self) -> Release {
        self.circle.upgrade().map_or(Release::Succeeded, |circle| circle.release(&self.order.target))
    }

    /// Marks everything stale.
    async fn end(&mut self, timestamp: i64) {
        self.cache.end(timestamp);
        self.hand_over_end().await;
    }

    async fn hand_over_end(&mut self) {
        let batch = self.cache.batch(&[]);
        hand_over(&self.intake, &self.metrics, &self.context, batch, self.order.target.interval, self.stop.cancelled())
            .await;
    }

    /// One scrape, from request to batch. Broken off without a trace when the process stops.
    async fn scrape(&mut self, point: i64) {
        let settings = self.order.settings.clone();
        let target = self.order.target.clone();
        let begun = Instant::now();
        let start = self.context.clock.now();
        let timestamp = self.grid.snap(point, start);
        if let Some(last) = self.last {
            let (interval, lengths) = &mut self.lengths;
            if *interval != target.interval {
                (*interval, *lengths) = (target.interval, self.metrics.interval_length(target.interval));
            }
            lengths.observe((start - last) as f64 / 1000.0);
        }
        let fetched = match &self.order.forced {
            Some(reason) => Err(ScrapeFailure::Forced(reason.clone())),
            None => tokio::select! {
                result = self.line.fetch(&settings, &target, &self.context.bodies) => result,
                // A process that stops does not wait for slow targets; what to do about it is read from the order.
                () = stopping(&self.stop, self.orders.clone()) => return,
            },
        };
        let outcome = match fetched {
            Ok((body, format)) => self.ingest(body, format, timestamp).await,
            Err(failure) => {
                let failure = failure.with_limit_of(&settings.job.limits);
                let too_large =
                    matches!(failure, ScrapeFailure::TooLarge | ScrapeFailure::Net(NetError::BodyTooLarge { .. }));
                if too_large {
                    self.metrics.exceeded_body_size.inc();
                }
                let body_bytes = if too_large { -1.0 } else { 0.0 };
                Outcome { counts: Ingested::default(), body_bytes, failure: Some(failure) }
            }
        };
        if outcome.failure.is_some() {
            self.cache.fail(timestamp);
        }
        self.metrics.duplicate_timestamp.inc_by(u64::from(outcome.counts.duplicates));
        self.metrics.out_of_bounds.inc_by(u64::from(outcome.counts.out_of_bounds));

        let elapsed = begun.elapsed();
        let (report, length) = report(&outcome, elapsed, &settings, &target);
        let batch = self.cache.batch(report.get(..length).unwrap_or(&report));
        hand_over(
            &self.intake,
            &self.metrics,
            &self.context,
            batch,
            target.interval,
            stopping(&self.stop, self.orders.clone()),
        )
        .await;
        self.last = Some(timestamp);

        self.note(start, elapsed, outcome.failure.map(|f| f.to_string()));
    }

    /// Remembers the scrape for the targets page, and tells the log when the target went down or came back.
    fn note(&self, start: i64, elapsed: Duration, error: Option<String>) {
        let state = if error.is_some() { TargetState::Down } else { TargetState::Up };
        let before = {
            let mut progress = self.progress.lock();
            let before = progress.state;
            *progress = Progress {
                state,
                last_scrape: Some(start),
                last_duration: elapsed,
                last_error: error.clone(),
                series: self.cache.series() as u64,
            };
            before
        };
        let news = match (before, state) {
            (TargetState::Down, TargetState::Up) => "target is up again",
            (TargetState::Unknown | TargetState::Up, TargetState::Down) => "target is down",
            _ => return,
        };
        // Forced errors are the pool's news, told once there.
        if self.order.forced.is_none() && self.context.may_speak(start) {
            let (job, url) = (&self.order.settings.job.job_name, net::masked(&self.order.target.url));
            match error {
                Some(error) => tracing::warn!(%job, %url, %error, "{news}"),
                None => tracing::info!(%job, %url, "{news}"),
            }
        }
    }

    async fn ingest(&mut self, body: Body, format: Format, timestamp: i64) -> Outcome {
        let turn = self.context.bodies.parsing_turn().await;
        let text = body.bytes();
        let long = text.len() > if self.cache.series() == 0 { LONG_NEW } else { LONG_KNOWN };
        let result = off_reactor(long, || self.cache.ingest(text, format, timestamp));
        drop(turn);
        let body_bytes = text.len() as f64;
        match result {
            Ok(counts) => Outcome { counts, body_bytes, failure: None },
            Err(error) => {
                match error.fault {
                    IngestFault::SampleLimit { .. } | IngestFault::TooManySamples { .. } => {
                        self.metrics.exceeded_sample_limit.inc();
                    }
                    IngestFault::LabelLimit { .. }
                    | IngestFault::LabelNameLength { .. }
                    | IngestFault::LabelValueLength { .. } => {
                        self.metrics.exceeded_label_limits.inc();
                    }
                    _ => {}
                }
                Outcome { counts: error.counts, body_bytes, failure: Some(error.into()) }
            }
        }
    }
}

/// Resolves when the process stops. `orders` is a copy: the loop's own must still see the order as new.
async fn stopping(stop: &CancellationToken, mut orders: watch::Receiver<Order>) {
    tokio::select! {
        () = stop.cancelled() => {}
        Ok(_) = orders.wait_for(|order| matches!(order.phase, Phase::Stop { .. })) => {}
    }
}

/// The report series, and how many of them the job wants.
fn report(
    outcome: &Outcome,
    elapsed: Duration,
    settings: &Settings,
    target: &Target,
) -> ([(&'static str, f64); 8], usize) {
    let up = if outcome.failure.is_none() { 1.0 } else { 0.0 };
    let series = [
        ("up", up),
        ("scrape_duration_seconds", elapsed.as_secs_f64()),
        ("scrape_samples_scraped", f64::from(outcome.counts.scraped)),
        ("scrape_samples_post_metric_relabeling", f64::from(outcome.counts.post_relabel)),
        ("scrape_series_added", f64::from(outcome.counts.added)),
        ("scrape_timeout_seconds", target.timeout.as_secs_f64()),
        ("scrape_sample_limit", settings.job.limits.samples as f64),
        ("scrape_body_size_bytes", outcome.body_bytes),
    ];
    (series, if settings.job.extra_metrics { 8 } else { 5 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F>(_: fn(Box<TargetLoop>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_waiting_loop_is_small() {
        let size = size_of_future(TargetLoop::run);
        assert!(size <= 1024, "a waiting loop takes {size} bytes");
    }
}
