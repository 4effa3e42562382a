//! What all pools of a process share besides metrics.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use crate::{Bodies, Clock, HostFilter};

/// Lines about targets going down or coming back, per minute. A network that breaks takes a thousand targets with it; the
/// targets page has them all.
const LINES: u32 = 20;
const MINUTE_MS: i64 = 60_000;

/// Shared by the pools of a process; clones share everything but what [`ScrapeContext::for_instance`] sets, and the filter.
#[derive(Debug, Clone)]
pub struct ScrapeContext {
    /// Whose pools these are: an entry of `metrics.configs`. It has a lane of the queue to itself.
    instance: Arc<str>,
    /// Spreads the targets of different agents over time: see [`crate::offset_seed`].
    pub seed: u64,
    /// Only targets of this machine.
    pub host_filter: Option<Arc<HostFilter>>,
    /// Buffers for bodies.
    pub bodies: Bodies,
    /// Wall time.
    pub clock: Clock,
    /// Instances whose samples the queue refuses, and when it last did (ms since the epoch).
    refused: Arc<Mutex<BTreeMap<Arc<str>, i64>>>,
    spoken: Arc<Mutex<Spoken>>,
}

/// Log lines of the current minute.
#[derive(Debug, Default)]
struct Spoken {
    minute: i64,
    lines: u32,
}

impl ScrapeContext {
    /// With the system's clock and no filter.
    pub fn new(seed: u64) -> Self {
        Self {
            instance: Arc::from(""),
            seed,
            host_filter: None,
            bodies: Bodies::default(),
            clock: Clock::system(),
            refused: Arc::default(),
            spoken: Arc::default(),
        }
    }

    /// The same for an instance's pools, without a filter.
    #[must_use]
    pub fn for_instance(&self, name: &str, seed: u64) -> Self {
        Self { instance: Arc::from(name), seed, host_filter: None, ..self.clone() }
    }

    /// Whether one more line about a target may be logged now.
    pub(crate) fn may_speak(&self, now: i64) -> bool {
        let mut spoken = self.spoken.lock();
        let minute = now.div_euclid(MINUTE_MS);
        if spoken.minute != minute {
            *spoken = Spoken { minute, lines: 0 };
        }
        spoken.lines = spoken.lines.saturating_add(1);
        if spoken.lines == LINES + 1 {
            tracing::warn!("more targets go down or come back than are logged; the targets page shows all of them");
        }
        spoken.lines <= LINES
    }

    /// The queue took a batch.
    pub(crate) fn intake_answers(&self) {
        if self.is_over(self.clock.now()) {
            tracing::info!(instance = %self.instance, "the queue takes scraped samples again");
        }
    }

    /// The queue did not take a batch in time.
    pub(crate) fn intake_refuses(&self, error: &str) {
        if self.is_new(self.clock.now()) {
            tracing::error!(
                instance = %self.instance,
                error,
                "the queue refuses scraped samples; they are lost and counted until it has room"
            );
        }
    }

    /// Whether a refusal now is the first of a row, of any job of the instance.
    fn is_new(&self, now: i64) -> bool {
        self.refused.lock().insert(Arc::clone(&self.instance), now).is_none()
    }

    /// Whether a row of refusals has ended. Where room comes and goes, small batches get in between large ones that do not:
    /// only a minute without a refusal is an end.
    fn is_over(&self, now: i64) -> bool {
        let mut refused = self.refused.lock();
        let over = refused.get(&self.instance).is_some_and(|last| now.saturating_sub(*last) >= MINUTE_MS);
        if over {
            refused.remove(&self.instance);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_a_bounded_number_of_things_a_minute() {
        let context = ScrapeContext::new(0);
        let heard = |now| (0..100).filter(|_| context.may_speak(now)).count();
        assert_eq!(heard(0), 20);
        assert_eq!(heard(59_999), 0);
        assert_eq!(heard(60_000), 20);
    }

    #[test]
    fn all_pools_of_a_process_speak_with_one_voice() {
        let process = ScrapeContext::new(0);
        let (one, two) = (process.for_instance("one", 1), process.for_instance("two", 2));
        assert_eq!((0..15).filter(|_| one.may_speak(0)).count(), 15);
        assert_eq!((0..15).filter(|_| two.may_speak(0)).count(), 5);
    }

    #[test]
    fn a_row_of_refusals_is_told_once_for_each_instance_and_ends_after_a_minute_without() {
        let process = ScrapeContext::new(0);
        let (one, other_job, two) =
            (process.for_instance("one", 1), process.for_instance("one", 1), process.for_instance("two", 2));
        assert!(!one.is_over(0), "nothing was refused");
        assert!(one.is_new(0));
        assert!(!other_job.is_new(10), "told by the first job");
        assert!(two.is_new(20), "another lane");
        assert!(!other_job.is_over(30), "a small batch that got in is no end");
        assert!(!one.is_new(50_000));
        assert!(!one.is_over(109_999));
        assert!(other_job.is_over(110_000));
        assert!(!one.is_over(110_001), "told once");
        assert!(two.is_over(110_000));
        assert!(one.is_new(120_000));
    }
}
