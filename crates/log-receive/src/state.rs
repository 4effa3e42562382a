//! How a source is doing, for the pages and for whoever asks: never silent trouble.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock::now_ms;

/// Lines about trouble that are written at once, before they are written one each [`PAUSE`].
const AT_ONCE: u32 = 4;
const PAUSE: Duration = Duration::from_secs(300);
/// Reasons of one trouble that are remembered as said.
const MOST_REASONS: usize = 32;

/// What a source shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceStatus {
    /// `journal`, `syslog`, `loki_push_api`, `cloudwatch_logs`, `s3`, `stdin`.
    pub kind: &'static str,
    pub job_name: String,
    /// Where it listens, for those that do.
    pub listening: Option<SocketAddr>,
    /// What keeps it from working now, and since when (ms since the epoch).
    pub trouble: Option<(String, i64)>,
    /// How often it had to begin anew (a child that died, a listener that failed).
    pub restarts: u64,
    /// Lines handed to the queue.
    pub lines: u64,
    /// When the last one was, ms since the epoch; 0 for never.
    pub last_line_ms: i64,
}

/// A source's status as its tasks write it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SourceState(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    status: SourceStatus,
    log: Log,
}

/// What the log says of trouble: a start, an end, and not the same again and again where a source comes and goes or fails for
/// several reasons in turn.
#[derive(Debug, Default)]
struct Log {
    /// Reasons of the present trouble that were said.
    said: BTreeSet<String>,
    /// Lines that were written and not earned back.
    spent: u32,
    earned_at: Option<Instant>,
    unsaid: u64,
}

impl Log {
    /// Whether a reason is to be written now.
    fn tells(&mut self, why: &str) -> bool {
        if self.said.contains(&gist(why)) {
            return false;
        }
        let now = Instant::now();
        let since = *self.earned_at.get_or_insert(now);
        let earned = u32::try_from(now.duration_since(since).as_secs() / PAUSE.as_secs()).unwrap_or(u32::MAX);
        if earned > 0 {
            self.spent = self.spent.saturating_sub(earned);
            self.earned_at = Some(now);
        }
        if self.spent >= AT_ONCE || self.said.len() >= MOST_REASONS {
            self.unsaid += 1;
            return false;
        }
        self.spent += 1;
        self.said.insert(gist(why))
    }
}

/// A reason without what differs from one time to the next, such as request ids.
fn gist(why: &str) -> String {
    let passing = |word: &&str| word.chars().filter(char::is_ascii_digit).count() >= 4;
    why.split_whitespace().filter(|word| !passing(word)).collect::<Vec<_>>().join(" ")
}

impl SourceState {
    /// A source that has done nothing yet.
    pub fn new(kind: &'static str, job_name: &str) -> Self {
        let status = SourceStatus { kind, job_name: job_name.to_owned(), ..SourceStatus::default() };
        Self(Arc::new(Mutex::new(Board { status, log: Log::default() })))
    }

    /// How it is now.
    pub fn status(&self) -> SourceStatus {
        self.0.lock().status.clone()
    }

    pub(crate) fn listening(&self, address: Option<SocketAddr>) {
        self.0.lock().status.listening = address;
    }

    /// All is well. The end of a trouble is told, if its beginning was.
    pub(crate) fn well(&self) {
        let mut board = self.0.lock();
        let Board { status, log } = &mut *board;
        let Some((why, _)) = status.trouble.take() else { return };
        if !std::mem::take(&mut log.said).is_empty() {
            tracing::info!(source = status.kind, job = status.job_name, was = why, "a log source works again");
        }
    }

    /// Something is in the way. A new reason is told at once, the same one only the first time; of a source whose troubles
    /// come and go, one every few minutes.
    pub fn trouble(&self, why: &str) {
        let mut board = self.0.lock();
        let Board { status, log } = &mut *board;
        if log.tells(why) {
            let unsaid = std::mem::take(&mut log.unsaid);
            let troubles_not_told = (unsaid > 0).then_some(unsaid);
            tracing::warn!(
                source = status.kind,
                job = status.job_name,
                troubles_not_told,
                "a log source is in trouble: {why}"
            );
        }
        let since = status.trouble.as_ref().map_or_else(now_ms, |(_, since)| *since);
        status.trouble = Some((why.to_owned(), since));
    }

    /// It begins anew.
    pub fn restarted(&self) {
        self.0.lock().status.restarts += 1;
    }

    pub(crate) fn handed_over(&self, lines: u64) {
        if lines > 0 {
            let mut board = self.0.lock();
            board.status.lines += lines;
            board.status.last_line_ms = now_ms();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that were written of trouble.
    fn spent(state: &SourceState) -> u32 {
        state.0.lock().log.spent
    }

    #[tokio::test(start_paused = true)]
    async fn reasons_that_come_in_turn_are_each_told_once() {
        let state = SourceState::new("cloudwatch_logs", "j");
        for round in 0..100 {
            state.trouble(&format!("group-a: AccessDeniedException (request id 4f7e9d54-6a1d-{round:04})"));
            state.trouble("group-b: ResourceNotFoundException");
        }
        assert_eq!(spent(&state), 2);
        assert_eq!(state.status().trouble.map(|(why, _)| why).as_deref(), Some("group-b: ResourceNotFoundException"));
        state.well();
        assert_eq!(state.status().trouble, None);
        state.trouble("group-b: ResourceNotFoundException");
        assert_eq!(spent(&state), 3, "a new trouble");
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_that_comes_and_goes_is_told_every_few_minutes() {
        let state = SourceState::new("cloudwatch_logs", "j");
        let flap = || {
            state.trouble("ThrottlingException");
            state.well();
        };
        (0..100).for_each(|_| flap());
        assert_eq!(spent(&state), AT_ONCE);
        let unsaid = |state: &SourceState| state.0.lock().log.unsaid;
        assert_eq!(unsaid(&state), u64::from(100 - AT_ONCE));
        tokio::time::advance(PAUSE).await;
        flap();
        assert_eq!((spent(&state), unsaid(&state)), (AT_ONCE, 0), "one was earned and written");
        flap();
        assert_eq!(unsaid(&state), 1);
        tokio::time::advance(PAUSE).await;
        state.trouble("ThrottlingException");
        assert_eq!(unsaid(&state), 0, "a trouble that stays is told in the end");
    }
}
