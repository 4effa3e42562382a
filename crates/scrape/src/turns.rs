//! Who may read a very large body: one target at a time.
//!
//! Keeps true: who waits holds no memory of a body, and who has the turn waits for nothing but its own target, which has
//! until the scrape timeout; so nobody waits in a circle. A reliable target (one whose last fetch succeeded) waits for
//! reliable ones only: another gives the turn back at once when a reliable one comes, and after a second when any comes. A
//! target that stalls in every body holds up a large one by a second in each of its rounds, and a large one that was read
//! once by nothing.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

/// How long a target that is not reliable has the turn for itself while others like it wait.
const UNDISTURBED: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Turns {
    /// The turn itself.
    seat: Arc<Semaphore>,
    /// Where targets that are not reliable wait, so that only one of them is ahead of a reliable one.
    line: Arc<Semaphore>,
    waiting: watch::Sender<Waiting>,
}

/// How many wait.
#[derive(Debug, Default)]
struct Waiting {
    reliable: usize,
    all: usize,
}

/// Dropped, the turn is free.
#[derive(Debug)]
pub(crate) struct Turn {
    _seat: Option<OwnedSemaphorePermit>,
    _line: Option<OwnedSemaphorePermit>,
}

/// Tells the holder of a turn to give it back.
#[derive(Debug)]
pub(crate) struct Recall {
    waiting: watch::Receiver<Waiting>,
    reliable: bool,
    since: Instant,
}

impl Default for Turns {
    fn default() -> Self {
        Self { seat: Arc::new(Semaphore::new(1)), line: Arc::new(Semaphore::new(1)), waiting: watch::Sender::default() }
    }
}

impl Turns {
    /// Waits for the turn.
    pub(crate) async fn take(&self, reliable: bool) -> (Turn, Recall) {
        let _queued = Queued::new(&self.waiting, reliable);
        // The semaphores are never closed; if they were, reading without a turn would be right.
        let line = if reliable { None } else { self.line.clone().acquire_owned().await.ok() };
        let seat = self.seat.clone().acquire_owned().await.ok();
        let recall = Recall { waiting: self.waiting.subscribe(), reliable, since: Instant::now() };
        (Turn { _seat: seat, _line: line }, recall)
    }
}

impl Recall {
    /// Resolves when the turn is to be given back; never for a reliable target.
    pub(crate) async fn wait(mut self) {
        if self.reliable {
            return std::future::pending().await;
        }
        let mut others = self.waiting.clone();
        tokio::select! {
            _ = self.waiting.wait_for(|waiting| waiting.reliable > 0) => {}
            () = async {
                tokio::time::sleep_until(self.since + UNDISTURBED).await;
                let _ = others.wait_for(|waiting| waiting.all > 0).await;
            } => {}
        }
    }
}

/// Counted while it lives.
struct Queued<'a> {
    waiting: &'a watch::Sender<Waiting>,
    reliable: bool,
}

impl<'a> Queued<'a> {
    fn new(waiting: &'a watch::Sender<Waiting>, reliable: bool) -> Self {
        waiting.send_modify(|waiting| {
            waiting.all += 1;
            waiting.reliable += usize::from(reliable);
        });
        Self { waiting, reliable }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.waiting.send_modify(|waiting| {
            waiting.all -= 1;
            waiting.reliable -= usize::from(self.reliable);
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;

    use super::*;

    /// Takes the turn and stalls until it is recalled or an hour has passed; answers when it had to go.
    fn staller(turns: &Arc<Turns>, reliable: bool) -> JoinHandle<Duration> {
        let (turns, begun) = (turns.clone(), Instant::now());
        tokio::spawn(async move {
            let (_turn, recall) = turns.take(reliable).await;
            let _ = tokio::time::timeout(Duration::from_secs(3600), recall.wait()).await;
            begun.elapsed()
        })
    }

    async fn settled() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reliable_target_gets_the_turn_at_once_from_one_that_is_not() {
        let turns = Arc::new(Turns::default());
        let stallers: Vec<_> = (0..40).map(|_| staller(&turns, false)).collect();
        settled().await;
        let begun = Instant::now();
        let (turn, _) = turns.take(true).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        drop(turn);
        for (at, staller) in stallers.into_iter().enumerate() {
            let expected = Duration::from_secs(match at {
                0 => 0,
                39 => 38 + 3600,
                _ => at as u64,
            });
            assert_eq!(
                staller.await.unwrap(),
                expected,
                "{at}: one a second, in their order, the last as long as it likes"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reliable_target_keeps_the_turn_and_one_that_gives_up_waiting_is_not_counted() {
        let turns = Arc::new(Turns::default());
        let (turn, recall) = turns.take(true).await;
        let waiting = staller(&turns, true);
        assert!(tokio::time::timeout(Duration::from_secs(60), recall.wait()).await.is_err());
        waiting.abort();
        drop(turn);
        settled().await;
        let (_turn, recall) = turns.take(false).await;
        assert!(tokio::time::timeout(Duration::from_secs(60), recall.wait()).await.is_err(), "nobody waits");
    }
}
