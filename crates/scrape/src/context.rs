//! What all pools of a process share besides metrics.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;

use crate::{Bodies, Clock, HostFilter};

/// Lines about targets going down or coming back, per minute. A network that breaks takes a thousand targets with it; the
/// targets page has them all.
const LINES: u32 = 20;
const MINUTE_MS: i64 = 60_000;

/// Shared by pools; clones share everything but the filter.
#[derive(Debug, Clone)]
pub struct ScrapeContext {
    /// Spreads the targets of different agents over time: see [`crate::offset_seed`].
    pub seed: u64,
    /// Only targets of this machine.
    pub host_filter: Option<Arc<HostFilter>>,
    /// Buffers for bodies.
    pub bodies: Bodies,
    /// Wall time.
    pub clock: Clock,
    refusing: Arc<AtomicBool>,
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
            seed,
            host_filter: None,
            bodies: Bodies::default(),
            clock: Clock::system(),
            refusing: Arc::default(),
            spoken: Arc::default(),
        }
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

    pub(crate) fn intake_answers(&self) {
        if self.refusing.swap(false, Ordering::Relaxed) {
            tracing::info!("the queue takes scraped samples again");
        }
    }

    pub(crate) fn intake_refuses(&self, error: &str) {
        if !self.refusing.swap(true, Ordering::Relaxed) {
            tracing::error!(error, "the queue refuses scraped samples; they are lost and counted until it has room");
        }
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
}
