//! How many of a destination's shards may send at once, and when a held destination is probed.
//!
//! It decides and waits; it sends nothing. It keeps true: at most `window` attempts are under way; while held, one at a
//! time and only at probe times. The window halves on overload and grows by one per window of successes (AIMD), so the far
//! side is not met by the whole backlog the moment it comes back.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// Shared by the shards of one destination.
#[derive(Debug, Clone)]
pub(crate) struct Pace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    most: f64,
    probe_min: Duration,
    probe_max: Duration,
}

#[derive(Debug)]
struct State {
    window: f64,
    active: u32,
    held: Option<Held>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    next: Instant,
    failures: u32,
}

/// The right to make one attempt; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Permit(Pace);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.state.lock().active -= 1;
        self.0.0.changed.notify_waiters();
    }
}

impl Pace {
    /// `most` attempts at once; held destinations are probed after `probe_min`, doubling to `probe_max`.
    pub(crate) fn new(most: u32, probe_min: Duration, probe_max: Duration) -> Self {
        let most = f64::from(most.max(1));
        let state = Mutex::new(State { window: most, active: 0, held: None });
        Self(Arc::new(Shared { state, changed: Notify::new(), most, probe_min, probe_max }))
    }

    /// Waits for a place. Cancel-safe.
    pub(crate) async fn acquire(&self) -> Permit {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let probe_at = {
                let mut state = self.0.state.lock();
                let now = Instant::now();
                match state.held {
                    None if f64::from(state.active) + 1.0 <= state.window => {
                        state.active += 1;
                        return Permit(self.clone());
                    }
                    Some(held) if state.active == 0 && held.next <= now => {
                        state.active += 1;
                        return Permit(self.clone());
                    }
                    Some(held) if state.active == 0 => Some(held.next),
                    _ => None,
                }
            };
            match probe_at {
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    /// The far end took data: no longer held, and room for a little more.
    pub(crate) fn eased(&self) {
        let mut state = self.0.state.lock();
        let was_held = state.held.take().is_some();
        state.window = (state.window + 1.0 / state.window).min(self.0.most);
        drop(state);
        if was_held {
            self.0.changed.notify_waiters();
        }
    }

    /// The far end is overloaded or does not answer.
    pub(crate) fn pressed(&self) {
        let mut state = self.0.state.lock();
        state.window = (state.window / 2.0).max(1.0);
    }

    /// An attempt failed on its way. Nothing changes, but that a probe of a held destination has been used up.
    pub(crate) fn missed(&self) {
        if self.0.state.lock().held.is_some() {
            self.hold();
        }
    }

    /// The far end refuses us as we are. Returns when it will be asked again.
    pub(crate) fn hold(&self) -> Duration {
        let mut state = self.0.state.lock();
        let failures = state.held.map_or(0, |held| held.failures);
        let doubled = self.0.probe_min.saturating_mul(1u32.checked_shl(failures.min(20)).unwrap_or(u32::MAX));
        // Between half and all of it: probes of many agents spread out, yet none comes early.
        let wait = doubled.min(self.0.probe_max).mul_f64(0.5 + fastrand::f64() / 2.0);
        state.held = Some(Held { next: Instant::now() + wait, failures: failures.saturating_add(1) });
        state.window = 1.0;
        wait
    }

    /// Shards that may send at once.
    pub(crate) fn window(&self) -> u32 {
        self.0.state.lock().window as u32
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn pace() -> Pace {
        Pace::new(4, Duration::from_secs(5), Duration::from_secs(60))
    }

    fn free(pace: &Pace) -> Option<Permit> {
        pace.acquire().now_or_never()
    }

    #[tokio::test]
    async fn overload_halves_the_window_and_successes_restore_it() {
        let pace = pace();
        assert_eq!(pace.window(), 4);
        pace.pressed();
        assert_eq!(pace.window(), 2);
        for _ in 0..10 {
            pace.pressed();
        }
        assert_eq!(pace.window(), 1);
        let one = free(&pace);
        assert!(one.is_some() && free(&pace).is_none(), "the window is one");
        drop(one);
        for _ in 0..20 {
            pace.eased();
        }
        assert_eq!(pace.window(), 4);
        let all: Vec<_> = (0..4).map(|_| free(&pace).unwrap()).collect();
        assert!(free(&pace).is_none());
        drop(all);
    }

    #[tokio::test]
    async fn a_held_destination_is_asked_ever_more_slowly_until_it_takes_data() {
        let pace = pace();
        for round in 0..8 {
            let wait = pace.hold();
            let most = Duration::from_secs(5).saturating_mul(1 << round).min(Duration::from_secs(60));
            assert!(wait <= most && wait >= most / 2, "{round}: {wait:?}");
            assert!(free(&pace).is_none());
        }
        pace.eased();
        assert!(free(&pace).is_some(), "one success opens it again");
    }

    #[tokio::test]
    async fn a_probe_is_one_attempt_alone() {
        let pace = Pace::new(4, Duration::from_millis(1), Duration::from_millis(1));
        pace.hold();
        let probe = pace.acquire().await;
        assert!(free(&pace).is_none(), "the others wait for the probe's end");
        drop(probe);
        drop(pace.acquire().await);
    }

    #[tokio::test]
    async fn a_probe_that_fails_on_its_way_is_a_probe_used_up() {
        let pace = pace();
        pace.missed();
        assert!(free(&pace).is_some(), "it was not held");
        pace.hold();
        pace.missed();
        assert!(free(&pace).is_none());
    }

    #[tokio::test]
    async fn a_place_given_back_wakes_who_waits() {
        let pace = Pace::new(1, Duration::from_secs(5), Duration::from_secs(60));
        let first = pace.acquire().await;
        let waiting = tokio::spawn({
            let pace = pace.clone();
            async move { drop(pace.acquire().await) }
        });
        tokio::task::yield_now().await;
        drop(first);
        waiting.await.unwrap();
    }
}
