//! When a target is scraped: points on the wall clock, a fixed offset into each interval.
//!
//! Keeps true: the points depend only on the target, the seed and the interval, so a restart goes on where the last
//! process was, and targets are spread over the interval.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::Labels;
use tokio::time::Instant;

/// A scrape this close to its point carries the point's time, which compresses better.
const TOLERANCE_MS: i64 = 2;
/// Shorter intervals are not snapped: the tolerance would be more than a hundredth of them.
const SNAP_ABOVE_MS: i64 = 100 * TOLERANCE_MS;

/// FNV-1a, 64 bits.
pub(crate) fn fnv64a<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in parts.into_iter().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// What spreads the targets of different agents: a hash of the host's full name and the external labels.
pub fn offset_seed(hostname: &str, external_labels: &Labels) -> u64 {
    let labels = external_labels.iter().flat_map(|(n, v)| [n.as_bytes(), b"\xff", v.as_bytes(), b"\xff"]);
    fnv64a([hostname.as_bytes()].into_iter().chain(labels))
}

/// The points at which one target is scraped, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    interval: i64,
    offset: i64,
}

impl Grid {
    /// `hash` is the target's, `seed` the agent's.
    pub(crate) fn new(interval: Duration, hash: u64, seed: u64) -> Self {
        let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let offset = i64::try_from((hash ^ seed) % interval.unsigned_abs()).unwrap_or(0);
        Self { interval, offset }
    }

    /// The first point after `now`.
    pub(crate) fn after(self, now: i64) -> i64 {
        let since = now.saturating_sub(self.offset).rem_euclid(self.interval);
        now.saturating_add(self.interval - since)
    }

    /// Whether `time` is a point.
    pub(crate) fn contains(self, time: i64) -> bool {
        time.saturating_sub(self.offset).rem_euclid(self.interval) == 0
    }

    /// The timestamp of a scrape meant for `point` that began at `actual`.
    pub(crate) fn snap(self, point: i64, actual: i64) -> i64 {
        if self.interval > SNAP_ABOVE_MS && actual.abs_diff(point) <= TOLERANCE_MS.unsigned_abs() {
            point
        } else {
            actual
        }
    }

    pub(crate) fn interval(self) -> i64 {
        self.interval
    }
}

/// Wall time. Where time is paused (tests), it follows Tokio's clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    follow: Option<(i64, Instant)>,
    /// Milliseconds by which somebody has set it, for tests.
    set: Option<&'static AtomicI64>,
}

impl Clock {
    /// The system's.
    pub fn system() -> Self {
        Self { follow: None, set: None }
    }

    /// `start` (ms since the epoch) now, then as Tokio's clock goes on.
    pub fn following_tokio(start: i64) -> Self {
        Self { follow: Some((start, Instant::now())), set: None }
    }

    /// The same clock, which is ahead by what `by` says at the time, in milliseconds.
    pub fn set_by(self, by: &'static AtomicI64) -> Self {
        Self { set: Some(by), ..self }
    }

    /// Milliseconds since the Unix epoch.
    pub fn now(&self) -> i64 {
        self.unset().saturating_add(self.set.map_or(0, |by| by.load(Ordering::Relaxed)))
    }

    fn unset(&self) -> i64 {
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        match self.follow {
            Some((start, origin)) => start.saturating_add(millis(origin.elapsed())),
            None => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => millis(since),
                Err(before) => -millis(before.duration()),
            },
        }
    }

    /// When `time` will be, by the clock that timers use; at most a year from now.
    pub(crate) fn instant_of(&self, time: i64) -> Instant {
        let wait = time.saturating_sub(self.now()).max(0).unsigned_abs();
        Instant::now() + Duration::from_millis(wait.min(365 * 24 * 3_600_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_gives_the_published_values() {
        assert_eq!(fnv64a([b"".as_slice()]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv64a([b"foo".as_slice(), b"bar"]), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn points_lie_at_the_offset_of_each_interval_whenever_asked() {
        for (hash, seed) in [(0, 0), (7, 3), (u64::MAX, 1), (123_456_789, 987_654_321)] {
            let grid = Grid::new(Duration::from_secs(15), hash, seed);
            let offset = ((hash ^ seed) % 15_000) as i64;
            for now in [-1, 0, 1, 14_999, 15_000, 1_700_000_000_123] {
                let next = grid.after(now);
                assert!(next > now && next <= now + 15_000);
                assert_eq!(next.rem_euclid(15_000), offset);
                assert_eq!(grid.after(next), next + 15_000);
                assert!(grid.contains(next) && !grid.contains(next + 1));
            }
        }
    }

    #[test]
    fn only_small_delays_of_long_intervals_are_snapped() {
        let grid = Grid::new(Duration::from_secs(15), 0, 0);
        assert_eq!(grid.snap(15_000, 15_002), 15_000);
        assert_eq!(grid.snap(15_000, 14_998), 15_000);
        assert_eq!(grid.snap(15_000, 15_003), 15_003);
        let short = Grid::new(Duration::from_millis(200), 0, 0);
        assert_eq!(short.snap(200, 201), 201);
    }

    #[test]
    fn a_seed_moves_every_target() {
        let empty = Labels::new();
        let labels: Labels = [("cluster", "a")].into_iter().collect();
        assert_ne!(offset_seed("host-1", &empty), offset_seed("host-2", &empty));
        assert_ne!(offset_seed("host-1", &empty), offset_seed("host-1", &labels));
    }
}
