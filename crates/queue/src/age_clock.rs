//! The clock by which data is called too old: the system's, but a jump ahead is believed only when it lasts.
//!
//! A clock that is set a day ahead by mistake would make all that waits look expired, and what is expired is gone. So a jump
//! forward counts only after it has stood for [`DOUBT`]; until then time goes on from where it was. A step back counts at
//! once: it can only keep data longer. It reads clocks and stores nothing on disk; what the clock said while nobody ran is
//! believed.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::lane::now_ms;

/// How long a jump ahead has to stand before it is believed: time for a person or an NTP daemon to undo it.
const DOUBT: Duration = Duration::from_secs(600);
/// Steps up to this many milliseconds are no jump: slewing, and the time between two readings.
const SMALL_MS: i64 = 60_000;

/// See the file's head. One for each reader is enough; they need not agree.
#[derive(Debug)]
pub struct AgeClock {
    anchor: Mutex<Anchor>,
}

impl Default for AgeClock {
    /// What the clock says now is believed.
    fn default() -> Self {
        Self::at(now_ms(), Instant::now())
    }
}

/// A pair of readings that was believed.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    wall_ms: i64,
    at: Instant,
    /// When the wall clock was first seen ahead of where it should be.
    ahead_since: Option<Instant>,
}

impl AgeClock {
    fn at(wall_ms: i64, now: Instant) -> Self {
        Self { anchor: Mutex::new(Anchor { wall_ms, at: now, ahead_since: None }) }
    }

    /// Milliseconds since the Unix epoch, as far as they are believed.
    pub fn now_ms(&self) -> i64 {
        self.read(now_ms(), Instant::now())
    }

    fn read(&self, wall_ms: i64, now: Instant) -> i64 {
        let believed = Anchor { wall_ms, at: now, ahead_since: None };
        let mut anchor = self.anchor.lock();
        let passed = now.saturating_duration_since(anchor.at);
        let steady_ms = anchor.wall_ms.saturating_add(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX));
        if wall_ms <= steady_ms.saturating_add(SMALL_MS) {
            *anchor = believed;
            return wall_ms;
        }
        let since = *anchor.ahead_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= DOUBT {
            *anchor = believed;
            return wall_ms;
        }
        steady_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const START_MS: i64 = 1_700_000_000_000;

    fn started() -> (AgeClock, Instant) {
        let at = Instant::now();
        (AgeClock::at(START_MS, at), at)
    }

    fn after(at: Instant, seconds: u64) -> Instant {
        at + Duration::from_secs(seconds)
    }

    #[test]
    fn a_clock_that_runs_is_believed_however_rarely_it_is_read() {
        let (clock, at) = started();
        assert_eq!(clock.read(START_MS + DAY_MS, after(at, 86_400)), START_MS + DAY_MS);
    }

    #[test]
    fn a_jump_ahead_that_is_undone_never_counts() {
        let (clock, at) = started();
        assert_eq!(clock.read(START_MS + DAY_MS, after(at, 1)), START_MS + 1_000);
        assert_eq!(clock.read(START_MS + DAY_MS + 500_000, after(at, 500)), START_MS + 500_000);
        assert_eq!(clock.read(START_MS + 501_000, after(at, 501)), START_MS + 501_000);
        // Another one begins its own time of doubt.
        assert_eq!(clock.read(START_MS + DAY_MS, after(at, 700)), START_MS + 700_000);
    }

    #[test]
    fn a_jump_ahead_that_stays_is_believed_in_the_end() {
        let (clock, at) = started();
        assert_eq!(clock.read(START_MS + DAY_MS, at), START_MS);
        assert_eq!(clock.read(START_MS + DAY_MS + 600_000, after(at, 600)), START_MS + DAY_MS + 600_000);
        assert_eq!(clock.read(START_MS + DAY_MS + 601_000, after(at, 601)), START_MS + DAY_MS + 601_000);
    }

    #[test]
    fn a_step_back_counts_at_once_and_a_small_one_ahead_too() {
        let (clock, at) = started();
        assert_eq!(clock.read(START_MS - DAY_MS, after(at, 1)), START_MS - DAY_MS);
        assert_eq!(clock.read(START_MS - DAY_MS + 30_000, after(at, 2)), START_MS - DAY_MS + 30_000);
    }
}
