//! `limits_config` of an instance: how many lines a second, and how many label sets, all of its sources may hand over.
//!
//! Lines come here after their stages. Keeps true: the memory for label sets is bounded by `max_streams`.

use std::{collections::HashMap, hash::BuildHasher};

use model::Labels;
use parking_lot::Mutex;

use crate::{
    StageMetrics,
    step::{Flow, limit::Bucket},
};

/// A label set counts as long as it had a line within this time, nanoseconds.
const ACTIVE_NS: i64 = 300_000_000_000;

/// How many lines, and what happens to more of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateRate {
    /// Lines per second; above zero.
    pub per_second: f64,
    /// Lines that may come at once.
    pub burst: u64,
    /// What is too much is dropped; otherwise its source waits.
    pub drop: bool,
}

/// The one gate of an instance, shared by its sources.
#[derive(Debug)]
pub struct LineGate {
    rate: Option<(GateRate, Mutex<Bucket>)>,
    max_streams: usize,
    streams: Mutex<Streams>,
    metrics: StageMetrics,
}

/// Label sets that had lines lately, by hash, and when the last was.
#[derive(Debug, Default)]
struct Streams {
    seen: HashMap<u64, i64, foldhash::fast::RandomState>,
    looked_ns: i64,
}

/// What the gate says of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Pass,
    /// It does not pass and is counted.
    Drop,
    /// It passes, and its source waits until then (nanoseconds since the epoch) before it brings more.
    Hold(i64),
}

impl LineGate {
    /// `max_streams` 0: no limit. `metrics`: those of the instance.
    pub fn new(rate: Option<GateRate>, max_streams: usize, metrics: StageMetrics) -> Self {
        let rate = rate.map(|rate| (rate, Mutex::default()));
        Self { rate, max_streams, streams: Mutex::default(), metrics }
    }

    /// Everything passes: nobody need ask.
    pub fn is_open(&self) -> bool {
        self.rate.is_none() && self.max_streams == 0
    }

    /// Asks for one line.
    pub fn pass(&self, labels: &Labels, now_ns: i64) -> Passage {
        if self.max_streams > 0 && !self.streams.lock().admit(labels, self.max_streams, now_ns) {
            // Promtail's client counts them under this name.
            self.metrics.count_dropped("stream_limited", 1);
            return Passage::Drop;
        }
        let Some((rate, bucket)) = &self.rate else { return Passage::Pass };
        #[allow(clippy::cast_precision_loss, reason = "bursts that large are no limit")]
        let burst = rate.burst as f64;
        let mut bucket = bucket.lock();
        let flow = match rate.drop {
            true => bucket.allow(rate.per_second, burst, now_ns),
            false => bucket.wait(rate.per_second, burst, now_ns),
        };
        match flow {
            Flow::Pass | Flow::Unread(_) => Passage::Pass,
            Flow::Hold(until_ns) => Passage::Hold(until_ns),
            Flow::Drop => {
                self.metrics.count_dropped("global_rate_limiter_drop", 1);
                Passage::Drop
            }
        }
    }
}

impl Streams {
    fn admit(&mut self, labels: &Labels, max: usize, now_ns: i64) -> bool {
        let hash = self.seen.hasher().hash_one(labels);
        if let Some(last) = self.seen.get_mut(&hash) {
            *last = now_ns;
            return true;
        }
        // Looking through all of them for each refused line would cost more than the line.
        if self.seen.len() >= max && now_ns.saturating_sub(self.looked_ns).abs() > ACTIVE_NS / 100 {
            self.looked_ns = now_ns;
            self.seen.retain(|_, last| now_ns.saturating_sub(*last) < ACTIVE_NS);
        }
        let fits = self.seen.len() < max;
        if fits {
            self.seen.insert(hash, now_ns);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn labels(name: &str) -> Labels {
        [("app", name)].into_iter().collect()
    }

    #[test]
    fn a_rate_drops_or_makes_wait() {
        let gate =
            |drop| LineGate::new(Some(GateRate { per_second: 2.0, burst: 2, drop }), 0, StageMetrics::unregistered());
        let asked = |gate: &LineGate| [(); 4].map(|()| gate.pass(&labels("a"), SECOND));
        assert_eq!(asked(&gate(true)), [Passage::Pass, Passage::Pass, Passage::Drop, Passage::Drop]);
        let half = SECOND / 2;
        let wait = [Passage::Pass, Passage::Pass, Passage::Hold(SECOND + half), Passage::Hold(2 * SECOND)];
        assert_eq!(asked(&gate(false)), wait);
    }

    #[test]
    fn label_sets_beyond_the_limit_wait_for_others_to_go_quiet() {
        let gate = LineGate::new(None, 2, StageMetrics::unregistered());
        assert!(!gate.is_open());
        let pass = |name, seconds: i64| gate.pass(&labels(name), seconds * SECOND) == Passage::Pass;
        assert!(pass("a", 0) && pass("b", 0) && !pass("c", 1) && pass("a", 200));
        assert!(!pass("c", 299) && pass("c", 310) && !pass("b", 311) && pass("a", 312));
    }
}
