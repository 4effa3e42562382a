//! Keeps a repeated warning to one line in ten seconds, and says how much the line stands for.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const PAUSE: Duration = Duration::from_secs(10);

/// Sums amounts until a line may be written.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    state: Mutex<(Option<Instant>, u64)>,
}

impl Throttle {
    /// Adds `amount`; gives the sum since the last line when it is time for one.
    pub(crate) fn add(&self, amount: u64) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.1 = state.1.saturating_add(amount);
        if state.0.is_some_and(|last| now.duration_since(last) < PAUSE) {
            return None;
        }
        state.0 = Some(now);
        Some(std::mem::take(&mut state.1))
    }

    /// What no line has told yet, if it is time for one.
    pub(crate) fn due(&self) -> Option<u64> {
        let waits = self.state.lock().1 > 0;
        waits.then(|| self.add(0)).flatten()
    }

    /// What no line has told yet, whatever the time: there will be no other.
    pub(crate) fn rest(&self) -> Option<u64> {
        Some(std::mem::take(&mut self.state.lock().1)).filter(|amount| *amount > 0)
    }
}
