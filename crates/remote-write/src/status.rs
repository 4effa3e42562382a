//! What a destination is doing, for pages and for the log: one line when its state changes, none per request.
//!
//! It sends nothing. It keeps true: no secret is in it (URLs are masked, identities describe themselves); a state that
//! flaps is told a few times at once, then every twenty seconds, and the last line is true.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{metrics::DestinationMetrics, verdict::Loss};

/// How a destination is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationState {
    /// Nothing has been answered yet.
    Starting,
    /// The last answer of every shard was good.
    Healthy,
    /// Some requests have to be repeated; nothing is lost.
    Retrying {
        /// What went wrong last.
        why: String,
    },
    /// The far end refuses us as configured, or there are no credentials to ask with. Data waits on disk; it is asked again
    /// slowly.
    Held {
        /// What the far end said, and what to do.
        why: String,
    },
    /// The worker has ended.
    Stopped,
}

impl DestinationState {
    /// One word: `starting`, `healthy`, `retrying`, `held`, `stopped`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Retrying { .. } => "retrying",
            Self::Held { .. } => "held",
            Self::Stopped => "stopped",
        }
    }
}

/// The last answer of the far end, or that there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastAnswer {
    /// `None`: no answer came.
    pub status: Option<u16>,
    /// What it said, or why none came; empty for a success.
    pub message: String,
    pub at: SystemTime,
}

/// Everything a page shows of one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationSnapshot {
    pub name: String,
    /// Without user name, password and query.
    pub url: String,
    /// The word that configuration files have for it: `prometheus`, `s3`, `loki`, `cloudwatch_logs`, ...
    pub protocol: &'static str,
    /// Who signs: source and key id, no secret.
    pub identity: Option<String>,
    pub state: DestinationState,
    /// When it entered that state.
    pub since: SystemTime,
    pub last_answer: Option<LastAnswer>,
    pub last_success: Option<SystemTime>,
    /// Since this worker started, in samples.
    pub delivered: u64,
    pub filtered: u64,
    pub expired: u64,
    /// By reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Attempts that had to be repeated.
    pub retries: u64,
}

/// A handle on a destination's state. Clones show the same destination.
#[derive(Debug, Clone)]
pub struct DestinationStatus(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    identity: Option<Arc<dyn net::Authorize>>,
    board: Mutex<Board>,
    metrics: DestinationMetrics,
}

#[derive(Debug)]
struct Board {
    snapshot: DestinationSnapshot,
    /// Roads whose last answer was not good.
    failing: BTreeSet<Track>,
    /// Those of them that hold the destination.
    holding: BTreeSet<Track>,
    /// Lines that may be said now; one comes back every [`PAUSE`].
    allowance: u32,
    counted_at: Instant,
    unsaid: u32,
    /// What the last line said.
    said: Option<DestinationState>,
    /// When a line last said that it is held.
    held_said_at: Option<Instant>,
    /// Somebody waits to say the present state when a line comes back.
    catching_up: bool,
    losses: BTreeMap<Loss, LossLine>,
}

#[derive(Debug, Default)]
struct LossLine {
    said_at: Option<Instant>,
    unsaid: u64,
    what: &'static str,
    /// Whether the far end was, the last time.
    asked: bool,
    /// Of the last answer.
    message: String,
    /// Somebody waits to say the rest.
    due: bool,
}

/// One order of requests: a shard, and the address that it sends to where it sends to several.
pub(crate) type Track = (u32, u64);

/// An order of requests that is under way: when it is over, whatever came of it, its failures say nothing any more.
#[derive(Debug)]
pub(crate) struct Way<'a> {
    status: &'a DestinationStatus,
    track: Track,
}

impl Way<'_> {
    /// A request came to its end and the far end works; `accepted`: it took all of it.
    pub(crate) fn working(&self, accepted: bool) {
        self.status.works(self.track, accepted);
    }

    /// A request has to be repeated.
    pub(crate) fn retrying(&self, why: &str) {
        self.status.fails(self.track, why);
    }

    /// The far end refuses us as we are. Other tracks may work nevertheless: that is no end of it.
    pub(crate) fn held(&self, why: String) {
        let mut board = self.status.0.board.lock();
        board.holding.insert(self.track);
        self.status.enter(board, DestinationState::Held { why });
    }
}

impl Drop for Way<'_> {
    fn drop(&mut self) {
        let mut board = self.status.0.board.lock();
        board.failing.remove(&self.track);
        board.holding.remove(&self.track);
    }
}

/// Changes of state that are told at once, before they are told one each [`PAUSE`].
const AT_ONCE: u32 = 6;
const PAUSE: Duration = Duration::from_secs(180);
/// A destination that comes to be held needs a person: that is told however often its state changed, but no more often than this.
const HELD_AGAIN: Duration = Duration::from_secs(30);
/// The log says the same kind of loss no more often than this.
const QUIET: Duration = Duration::from_secs(60);

impl DestinationStatus {
    pub(crate) fn new(
        name: String,
        url: String,
        protocol: &'static str,
        identity: Option<Arc<dyn net::Authorize>>,
        metrics: DestinationMetrics,
    ) -> Self {
        let snapshot = DestinationSnapshot {
            name,
            url,
            protocol,
            identity: None,
            state: DestinationState::Starting,
            since: SystemTime::now(),
            last_answer: None,
            last_success: None,
            delivered: 0,
            filtered: 0,
            expired: 0,
            rejected: BTreeMap::new(),
            retries: 0,
        };
        let board = Board {
            snapshot,
            failing: BTreeSet::new(),
            holding: BTreeSet::new(),
            allowance: AT_ONCE,
            counted_at: Instant::now(),
            unsaid: 0,
            said: None,
            held_said_at: None,
            catching_up: false,
            losses: BTreeMap::new(),
        };
        Self(Arc::new(Shared { identity, board: Mutex::new(board), metrics }))
    }

    /// The present state with its figures.
    pub fn snapshot(&self) -> DestinationSnapshot {
        let mut snapshot = self.0.board.lock().snapshot.clone();
        snapshot.identity = self.0.identity.as_ref().map(|identity| identity.describe());
        snapshot
    }

    /// The present state.
    pub fn state(&self) -> DestinationState {
        self.0.board.lock().snapshot.state.clone()
    }

    /// An answer came, or did not.
    pub(crate) fn answered(&self, status: Option<u16>, message: String) {
        let answer = LastAnswer { status, message, at: SystemTime::now() };
        self.0.board.lock().snapshot.last_answer = Some(answer);
    }

    /// A shard's request came to its end and the far end works; `accepted`: it took all of it.
    pub(crate) fn working(&self, shard: u32, accepted: bool) {
        self.works((shard, 0), accepted);
    }

    /// A shard's request has to be repeated.
    pub(crate) fn retrying(&self, shard: u32, why: &str) {
        self.fails((shard, 0), why);
    }

    /// A shard begins to bring something to one of several addresses.
    pub(crate) fn way(&self, shard: u32, address: u64) -> Way<'_> {
        Way { status: self, track: (shard, address) }
    }

    fn works(&self, track: Track, accepted: bool) {
        let mut board = self.0.board.lock();
        if accepted {
            board.snapshot.last_success = Some(SystemTime::now());
        }
        board.failing.remove(&track);
        board.holding.remove(&track);
        let was_held = matches!(board.snapshot.state, DestinationState::Held { .. });
        if was_held && board.holding.is_empty() {
            board.failing.clear();
        }
        if board.failing.is_empty() && board.holding.is_empty() {
            self.enter(board, DestinationState::Healthy);
        }
    }

    fn fails(&self, track: Track, why: &str) {
        let mut board = self.0.board.lock();
        board.snapshot.retries += 1;
        board.failing.insert(track);
        // Trouble on the way does not change that the far end has to be put right.
        if !matches!(board.snapshot.state, DestinationState::Held { .. }) {
            self.enter(board, DestinationState::Retrying { why: why.to_owned() });
        }
    }

    /// The far end refuses us as we are.
    pub(crate) fn held(&self, why: String) {
        self.enter(self.0.board.lock(), DestinationState::Held { why });
    }

    pub(crate) fn stopped(&self) {
        let mut board = self.0.board.lock();
        board.snapshot.state = DestinationState::Stopped;
        board.snapshot.since = SystemTime::now();
        let losses: Vec<Loss> = board.losses.keys().copied().collect();
        drop(board);
        for loss in losses {
            self.say_loss(self.0.board.lock(), loss);
        }
        self.0.metrics.held.set(0);
        self.0.metrics.shards.set(0);
    }

    /// Samples that came to their end without loss.
    pub(crate) fn count(&self, delivered: u64, filtered: u64, expired: u64) {
        let mut board = self.0.board.lock();
        board.snapshot.delivered += delivered;
        board.snapshot.filtered += filtered;
        board.snapshot.expired += expired;
    }

    /// Samples that are lost here, and the far end's words.
    pub(crate) fn lost(&self, loss: Loss, samples: u64, message: &str) {
        self.lost_items("samples", loss, samples, message);
    }

    /// The same for what is called otherwise.
    pub(crate) fn lost_items(&self, what: &'static str, loss: Loss, samples: u64, message: &str) {
        self.lose(what, loss, samples, message, true);
    }

    /// The same for what nobody was asked about: it cannot be sent.
    pub(crate) fn lost_unasked(&self, what: &'static str, loss: Loss, items: u64, message: &str) {
        self.lose(what, loss, items, message, false);
    }

    fn lose(&self, what: &'static str, loss: Loss, samples: u64, message: &str, asked: bool) {
        if samples == 0 {
            return;
        }
        self.0.metrics.rejected(loss.as_str(), samples);
        let mut board = self.0.board.lock();
        *board.snapshot.rejected.entry(loss.as_str()).or_default() += samples;
        let line = board.losses.entry(loss).or_default();
        line.unsaid += samples;
        (line.what, line.asked) = (what, asked);
        message.clone_into(&mut line.message);
        if line.said_at.is_none_or(|at| at.elapsed() >= QUIET) {
            self.say_loss(board, loss);
            return;
        }
        // The rest is told too, even if nothing more is lost.
        if let (false, Ok(runtime)) = (line.due, tokio::runtime::Handle::try_current()) {
            line.due = true;
            let shared = Arc::downgrade(&self.0);
            runtime.spawn(async move {
                tokio::time::sleep(QUIET).await;
                if let Some(shared) = shared.upgrade() {
                    let status = Self(shared);
                    status.say_loss(status.0.board.lock(), loss);
                }
            });
        }
    }

    /// What was lost for this reason and not told yet.
    fn say_loss(&self, mut board: parking_lot::MutexGuard<'_, Board>, loss: Loss) {
        let name = board.snapshot.name.clone();
        let Some(line) = board.losses.get_mut(&loss) else { return };
        line.due = false;
        let items = std::mem::take(&mut line.unsaid);
        if items == 0 {
            return;
        }
        line.said_at = Some(Instant::now());
        let (what, asked, message) = (line.what, line.asked, std::mem::take(&mut line.message));
        drop(board);
        if !asked || matches!(loss, Loss::Damaged | Loss::Undecodable) {
            tracing::warn!(destination = name, items, reason = loss.as_str(), why = message, "{what} lost");
            return;
        }
        tracing::warn!(
            destination = name,
            items,
            reason = loss.as_str(),
            answer = message,
            "{what} lost: the destination refuses them for good"
        );
    }

    /// A part of a long line was refused for good; the counts are the caller's.
    pub(crate) fn part_lost(&self, loss: Loss, message: &str) {
        let destination = self.0.board.lock().snapshot.name.clone();
        tracing::warn!(
            destination,
            reason = loss.as_str(),
            answer = message,
            "a part of a long line is lost: the destination refuses it for good"
        );
    }

    fn enter(&self, mut board: parking_lot::MutexGuard<'_, Board>, state: DestinationState) {
        let changed = board.snapshot.state.word() != state.word();
        let news = gist(&board.snapshot.state) != gist(&state);
        board.snapshot.state = state;
        if !changed {
            // The same state for another reason is news only while held: there a person is at work.
            let held = matches!(board.snapshot.state, DestinationState::Held { .. });
            if !(held && news) {
                return;
            }
        }
        if changed {
            board.snapshot.since = SystemTime::now();
            self.0.metrics.held.set(i64::from(matches!(board.snapshot.state, DestinationState::Held { .. })));
        }
        let due = matches!(board.snapshot.state, DestinationState::Held { .. })
            && board.held_said_at.is_none_or(|at| at.elapsed() >= HELD_AGAIN);
        if board.allowance() > 0 || due {
            self.say(board);
            return;
        }
        board.unsaid += 1;
        if board.catching_up {
            return;
        }
        // The last line must become true again, whatever happens next.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            board.catching_up = true;
            let shared = Arc::downgrade(&self.0);
            runtime.spawn(async move {
                tokio::time::sleep(PAUSE).await;
                if let Some(shared) = shared.upgrade() {
                    Self(shared).catch_up();
                }
            });
        }
    }

    fn catch_up(&self) {
        let mut board = self.0.board.lock();
        board.catching_up = false;
        board.allowance();
        let stopped = matches!(board.snapshot.state, DestinationState::Stopped);
        if !stopped && board.said.as_ref().map(gist) != Some(gist(&board.snapshot.state)) {
            self.say(board);
        }
    }

    fn say(&self, mut board: parking_lot::MutexGuard<'_, Board>) {
        board.allowance = board.allowance.saturating_sub(1);
        board.said = Some(board.snapshot.state.clone());
        if matches!(board.snapshot.state, DestinationState::Held { .. }) {
            board.held_said_at = Some(Instant::now());
        }
        let unsaid = std::mem::take(&mut board.unsaid);
        let changes_not_told = (unsaid > 0).then_some(unsaid);
        let snapshot = board.snapshot.clone();
        drop(board);
        let identity = self.0.identity.as_ref().map_or_else(|| "none".to_owned(), |identity| identity.describe());
        let (destination, url) = (&snapshot.name, &snapshot.url);
        match &snapshot.state {
            DestinationState::Healthy if snapshot.last_success.is_none() => tracing::warn!(
                destination,
                url,
                changes_not_told,
                "destination answers and has taken nothing yet; what it refuses is counted as rejected"
            ),
            DestinationState::Healthy => tracing::info!(destination, url, changes_not_told, "destination answers"),
            DestinationState::Retrying { why } => tracing::warn!(
                destination,
                url,
                why,
                changes_not_told,
                "destination fails for now; its data waits and is sent again"
            ),
            DestinationState::Held { why } => tracing::warn!(
                destination,
                url,
                identity,
                why,
                changes_not_told,
                "destination cannot be served as it is configured; its data waits on disk, and it is tried again now and then"
            ),
            DestinationState::Starting | DestinationState::Stopped => {}
        }
    }
}

/// A state's words without what differs from answer to answer, such as request ids and times.
fn gist(state: &DestinationState) -> (&'static str, String) {
    let passing = |word: &&str| word.chars().filter(char::is_ascii_digit).count() >= 4 || word.len() > 24;
    let words = match state {
        DestinationState::Retrying { why } | DestinationState::Held { why } => {
            why.split_whitespace().filter(|word| !passing(word)).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    };
    (state.word(), words)
}

impl Board {
    /// Lines that may be said now.
    fn allowance(&mut self) -> u32 {
        let earned = self.counted_at.elapsed().as_secs() / PAUSE.as_secs();
        if earned > 0 {
            self.allowance = self.allowance.saturating_add(u32::try_from(earned).unwrap_or(AT_ONCE)).min(AT_ONCE);
            self.counted_at = Instant::now();
        }
        self.allowance
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{RemoteLabels, RemoteStorageMetrics};

    fn status() -> DestinationStatus {
        let labels =
            RemoteLabels { instance_group_name: String::new(), remote_name: "r".into(), url: "http://h/".into() };
        let metrics = RemoteStorageMetrics::default().of(labels);
        DestinationStatus::new("r".into(), "http://h/".into(), "prometheus", None, metrics)
    }

    #[test]
    fn it_is_healthy_only_when_every_shard_is() {
        let status = status();
        assert_eq!(status.state(), DestinationState::Starting);
        status.retrying(0, "refused");
        status.retrying(1, "refused");
        status.working(0, true);
        assert_eq!(status.state().word(), "retrying");
        status.working(1, true);
        assert_eq!(status.state(), DestinationState::Healthy);
    }

    #[test]
    fn an_address_that_works_does_not_end_the_trouble_of_another() {
        let status = status();
        let (good, bad) = (status.way(0, 1), status.way(0, 2));
        let said = |status: &DestinationStatus| AT_ONCE - status.0.board.lock().allowance;
        for _ in 0..50 {
            bad.retrying("ThrottlingException");
            good.working(true);
        }
        assert_eq!((status.state().word(), said(&status)), ("retrying", 1));
        for _ in 0..50 {
            bad.held("AccessDeniedException".into());
            good.working(true);
        }
        assert_eq!((status.state().word(), said(&status)), ("held", 2));
        // The queue gave its lines up.
        drop(bad);
        good.working(true);
        assert_eq!((status.state(), said(&status)), (DestinationState::Healthy, 3));
    }

    #[test]
    fn held_is_left_by_a_success_and_not_by_trouble_on_the_way() {
        let status = status();
        status.held("403".into());
        status.retrying(0, "reset");
        assert_eq!(status.state(), DestinationState::Held { why: "403".into() });
        status.working(2, true);
        assert_eq!(status.state(), DestinationState::Healthy);
    }

    #[test]
    fn losses_are_counted_by_reason() {
        let status = status();
        status.lost(Loss::TooLarge, 1, "m");
        status.lost(Loss::TooLarge, 2, "m");
        status.lost(Loss::Duplicate, 0, "m");
        assert_eq!(status.snapshot().rejected, BTreeMap::from([("too_large", 3)]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_line_becomes_true_however_often_the_state_changed() {
        let status = status();
        for _ in 0..20 {
            status.retrying(0, "reset");
            status.working(0, true);
        }
        status.retrying(0, "reset");
        let said = |status: &DestinationStatus| status.0.board.lock().said.clone();
        assert_ne!(said(&status), Some(status.state()), "a flood of lines was told");
        tokio::time::sleep(PAUSE * 2).await;
        assert_eq!(said(&status), Some(DestinationState::Retrying { why: "reset".into() }));
        assert_eq!(status.0.board.lock().unsaid, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn that_it_is_held_is_told_however_often_the_state_changed() {
        let status = status();
        let unsaid = |status: &DestinationStatus| status.0.board.lock().unsaid;
        for _ in 0..20 {
            status.retrying(0, "reset");
            status.working(0, true);
        }
        status.held("403".to_owned());
        assert_eq!(status.0.board.lock().said, Some(DestinationState::Held { why: "403".into() }));
        for _ in 0..20 {
            status.working(0, true);
            status.held("403".to_owned());
        }
        assert_eq!(unsaid(&status), 40, "and it is no flood");
    }

    #[tokio::test(start_paused = true)]
    async fn every_loss_is_told_in_the_end() {
        let status = status();
        let unsaid = |status: &DestinationStatus| status.0.board.lock().losses[&Loss::BadRequest].unsaid;
        for _ in 0..6 {
            status.lost_items("spans", Loss::BadRequest, 1, "no");
        }
        assert_eq!(unsaid(&status), 5);
        tokio::time::sleep(QUIET * 2).await;
        assert_eq!(unsaid(&status), 0);
        for _ in 0..3 {
            status.lost_items("spans", Loss::BadRequest, 1, "no");
        }
        assert_eq!(unsaid(&status), 2);
        status.stopped();
        assert_eq!(unsaid(&status), 0);
    }

    #[test]
    fn another_request_id_is_no_news() {
        let status = status();
        for id in ["1c6a5f3e-0b1c-4f7e-9d54-6a1d3a2b7c10", "9f2e7d6c-11aa-4b1e-8a55-0d3c2b1a9e87", "Q7X2K9M4W1"] {
            status.held(format!("SignatureDoesNotMatch: wrong (HTTP 403, request id {id}); write the right secret"));
        }
        assert_eq!(status.0.board.lock().allowance, AT_ONCE - 1, "told once");
        status.held("AccessDenied: not yours".to_owned());
        assert_eq!(status.0.board.lock().allowance, AT_ONCE - 2, "another refusal is news");
    }
}
