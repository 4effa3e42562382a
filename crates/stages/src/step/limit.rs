//! `limit`: so many lines per second, and `burst` at once. What is too much is dropped, or makes the source wait.
//!
//! The rate is that of all sources of a job together, as in Promtail, where they share one pipeline.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Flow, LineStage};
use crate::{
    Entry, StageError, StageFault, config::LimitConfig, error::Place, generations::Generations, metrics::StageMetrics,
};

/// Fewest label values that are told apart.
const LEAST_LABELS: usize = 10_000;
const NANOS_PER_SECOND: f64 = 1e9;

#[derive(Debug, Clone)]
pub(crate) struct Limit {
    rate: f64,
    burst: f64,
    scope: Arc<Mutex<Scope>>,
    metrics: StageMetrics,
}

#[derive(Debug)]
enum Scope {
    DropAll(Bucket),
    Wait(Bucket),
    /// Label name, and a bucket for each of its values.
    DropByLabel(String, Generations<Box<str>, Bucket>),
}

/// Tokens as of a moment; below zero are those lent to lines that passed and made the source wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bucket {
    tokens: f64,
    at_ns: Option<i64>,
}

impl Limit {
    pub fn new(config: &LimitConfig, place: &Place, metrics: &StageMetrics) -> Result<Self, StageError> {
        if !(config.rate > 0.0 && config.rate.is_finite()) {
            return Err(place.key("rate").fault(StageFault::NotPositive("the rate")));
        }
        if config.burst == 0 {
            return Err(place.key("burst").fault(StageFault::NotPositive("the burst")));
        }
        let scope = match (config.by_label_name.as_deref().filter(|n| !n.is_empty()), config.drop) {
            (Some(_), false) => {
                return Err(place
                    .key("by_label_name")
                    .fault(StageFault::Combination("limiting by label needs `drop: true`")));
            }
            (Some(label), true) => {
                Scope::DropByLabel(label.to_owned(), Generations::new(config.max_distinct_labels.max(LEAST_LABELS)))
            }
            (None, true) => Scope::DropAll(Bucket::default()),
            (None, false) => Scope::Wait(Bucket::default()),
        };
        #[allow(clippy::cast_precision_loss, reason = "bursts that large are no limit")]
        let burst = config.burst as f64;
        Ok(Self { rate: config.rate, burst, scope: Arc::new(Mutex::new(scope)), metrics: metrics.clone() })
    }
}

impl Bucket {
    /// Fills up to now and answers with the tokens there are.
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds between two lines")]
    fn fill(&mut self, rate: f64, burst: f64, now_ns: i64) -> &mut f64 {
        match self.at_ns {
            None => (self.tokens, self.at_ns) = (burst, Some(now_ns)),
            Some(at) if now_ns > at => {
                let passed = now_ns.saturating_sub(at) as f64 / NANOS_PER_SECOND;
                (self.tokens, self.at_ns) = ((self.tokens + passed * rate).min(burst), Some(now_ns));
            }
            Some(_) => {}
        }
        &mut self.tokens
    }

    pub fn allow(&mut self, rate: f64, burst: f64, now_ns: i64) -> Flow {
        let tokens = self.fill(rate, burst, now_ns);
        if *tokens < 1.0 {
            return Flow::Drop;
        }
        *tokens -= 1.0;
        Flow::Pass
    }

    #[allow(clippy::cast_possible_truncation, reason = "saturates: a wait of 292 years is long enough")]
    pub fn wait(&mut self, rate: f64, burst: f64, now_ns: i64) -> Flow {
        let tokens = self.fill(rate, burst, now_ns);
        *tokens -= 1.0;
        if *tokens >= 0.0 {
            return Flow::Pass;
        }
        let wait = (-*tokens / rate * NANOS_PER_SECOND).ceil() as i64;
        // The debt stands against the bucket's own time, which may be ahead of a caller's clock that went back.
        Flow::Hold(self.at_ns.unwrap_or(now_ns).saturating_add(wait))
    }
}

impl LineStage for Limit {
    fn apply(&mut self, entry: &mut Entry, now_ns: i64) -> Flow {
        let (rate, burst) = (self.rate, self.burst);
        match &mut *self.scope.lock() {
            Scope::DropAll(bucket) => bucket.allow(rate, burst, now_ns),
            Scope::Wait(bucket) => bucket.wait(rate, burst, now_ns),
            Scope::DropByLabel(label, buckets) => {
                // Lines without the label are not limited.
                let Some(value) = entry.labels.get(label) else { return Flow::Pass };
                let (bucket, forgot) = buckets.get_or_insert(value, || value.into(), Bucket::default);
                let flow = bucket.allow(rate, burst, now_ns);
                if forgot {
                    self.metrics.forget_labels();
                }
                if flow == Flow::Drop {
                    self.metrics.dropped_by_label(label, value);
                }
                flow
            }
        }
    }
}
