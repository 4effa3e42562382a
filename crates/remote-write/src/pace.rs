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
    refused: Probes,
    unready: Probes,
}

/// A held destination is tried again after `min`, doubling to `max`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probes {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

/// Why a destination is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The far end refuses us as we are.
    Refused,
    /// We cannot even ask: no credentials, say. The next try costs the far end nothing.
    Unready,
}

#[derive(Debug)]
struct State {
    window: f64,
    active: u32,
    held: Option<Held>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    cause: Cause,
    next: Instant,
    failures: u32,
    /// A probe is under way. Other attempts that fail now began before the destination was held.
    probing: bool,
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
    /// `most` attempts at once; how often a held destination is probed depends on the cause.
    pub(crate) fn new(most: u32, refused: Probes, unready: Probes) -> Self {
        let most = f64::from(most.max(1));
        let state = Mutex::new(State { window: most, active: 0, held: None });
        Self(Arc::new(Shared { state, changed: Notify::new(), most, refused, unready }))
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
                let State { active, window, held } = &mut *state;
                match held {
                    None if f64::from(*active) + 1.0 <= *window => {
                        *active += 1;
                        return Permit(self.clone());
                    }
                    Some(held) if *active == 0 && held.next <= now => {
                        *active += 1;
                        held.probing = true;
                        return Permit(self.clone());
                    }
                    Some(held) if *active == 0 => Some(held.next),
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
        let held = self.0.state.lock().held;
        if let Some(held) = held {
            self.hold(held.cause);
        }
    }

    /// No attempt can succeed for now. Returns when the next one is made.
    pub(crate) fn hold(&self, cause: Cause) -> Duration {
        let mut state = self.0.state.lock();
        let now = Instant::now();
        // Several attempts were under way when the first of them was refused: that is one refusal.
        if let Some(held) = state.held.filter(|held| held.cause == cause && !held.probing) {
            return held.next.saturating_duration_since(now);
        }
        let failures = state.held.filter(|held| held.cause == cause).map_or(0, |held| held.failures);
        let probes = match cause {
            Cause::Refused => self.0.refused,
            Cause::Unready => self.0.unready,
        };
        let doubled = probes.min.saturating_mul(1u32.checked_shl(failures.min(20)).unwrap_or(u32::MAX));
        // Between half and all of it: probes of many agents spread out, yet none comes early.
        let wait = doubled.min(probes.max).mul_f64(0.5 + fastrand::f64() / 2.0);
        let failures = failures.saturating_add(1);
        state.held = Some(Held { cause, next: now + wait, failures, probing: false });
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
        of(4, Duration::from_secs(5), Duration::from_secs(60))
    }

    fn of(most: u32, min: Duration, max: Duration) -> Pace {
        let unready = Probes { min: Duration::from_secs(1), max: Duration::from_secs(30) };
        Pace::new(most, Probes { min, max }, unready)
    }

    /// As if the time of the next probe had come.
    fn probe(pace: &Pace) -> Permit {
        pace.0.state.lock().held.as_mut().unwrap().next = Instant::now();
        free(pace).unwrap()
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
            let wait = pace.hold(Cause::Refused);
            let most = Duration::from_secs(5).saturating_mul(1 << round).min(Duration::from_secs(60));
            assert!(wait <= most && wait >= most / 2, "{round}: {wait:?}");
            assert!(free(&pace).is_none());
            drop(probe(&pace));
        }
        pace.eased();
        assert!(free(&pace).is_some(), "one success opens it again");
    }

    #[tokio::test]
    async fn a_destination_that_cannot_be_asked_is_tried_again_soon() {
        let pace = pace();
        for round in 0..8 {
            let wait = pace.hold(Cause::Unready);
            let most = Duration::from_secs(1).saturating_mul(1 << round).min(Duration::from_secs(30));
            assert!(wait <= most && wait >= most / 2, "{round}: {wait:?}");
            drop(probe(&pace));
        }
        let wait = pace.hold(Cause::Refused);
        assert!(wait <= Duration::from_secs(5), "the first refusal: {wait:?}");
    }

    #[tokio::test]
    async fn attempts_that_were_under_way_together_are_one_refusal() {
        let pace = pace();
        let all: Vec<_> = (0..4).map(|_| free(&pace).unwrap()).collect();
        for _ in &all {
            assert!(pace.hold(Cause::Unready) <= Duration::from_secs(1));
        }
        drop(all);
        let probe = probe(&pace);
        assert!(pace.hold(Cause::Unready) > Duration::from_millis(900), "the probe is the second");
        drop(probe);
    }

    #[tokio::test]
    async fn a_probe_is_one_attempt_alone() {
        let pace = of(4, Duration::from_millis(1), Duration::from_millis(1));
        pace.hold(Cause::Refused);
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
        pace.hold(Cause::Refused);
        let probe = probe(&pace);
        pace.missed();
        drop(probe);
        assert!(free(&pace).is_none());
    }

    #[tokio::test]
    async fn a_place_given_back_wakes_who_waits() {
        let pace = of(1, Duration::from_secs(5), Duration::from_secs(60));
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
