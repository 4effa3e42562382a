//! Keeps one identity's credentials fresh: early in the background, in time when needed, and still valid ones in use while a
//! source is down.
//!
//! Knows no source and no signature. Keeps true: one fetch at a time however many ask; a caller that gives up does not stop
//! the fetch; a source that fails is not asked in a tight loop; valid credentials are served whatever the source says.

use std::{
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use aws_credential_types::Credentials;
use net::{Backoff, FileStamps};
use parking_lot::Mutex;

use crate::{
    error::FetchError,
    origin::{Fetched, Origin},
    roster::Roster,
};

/// What the cache fetches from; a trait so that its behaviour can be tested without AWS.
pub(crate) trait Source: Send + Sync + std::fmt::Debug + 'static {
    fn fetch(&self) -> net::BoxFuture<'_, Result<Fetched, FetchError>>;
    fn files(&self) -> Vec<PathBuf>;
    /// Another number than before: a secret in a store, which this source reads, is another.
    fn stored_version(&self) -> u64 {
        0
    }
    fn describe(&self) -> String;
    /// What a person does when AWS calls these credentials expired and a new fetch gave none other.
    fn advice_when_expired(&self) -> String;
}

impl Source for Arc<Origin> {
    fn fetch(&self) -> net::BoxFuture<'_, Result<Fetched, FetchError>> {
        Box::pin(Origin::fetch(self))
    }
    fn files(&self) -> Vec<PathBuf> {
        Origin::files(self)
    }
    fn stored_version(&self) -> u64 {
        Origin::stored_version(self)
    }
    fn describe(&self) -> String {
        Origin::describe(self)
    }
    fn advice_when_expired(&self) -> String {
        Origin::advice_when_expired(self)
    }
}

/// Lifetimes below this scale the windows; see [`Windows::of`].
const SHORT_LIFE: Duration = Duration::from_secs(15 * 60);
const ADVISORY: Duration = Duration::from_secs(5 * 60);
const MANDATORY: Duration = Duration::from_secs(60);
/// What a request may take from its signature to the check at the far end, on a busy machine; a short life gives a third.
const TRIP: Duration = Duration::from_secs(5);
const LONG_TRIP: Duration = Duration::from_secs(15);
/// So close to its end nothing is signed any more: it would be over when it arrives.
const LAST_MOMENT: Duration = Duration::from_millis(500);
/// A source is never asked more often than this, whatever hurry there is.
const SHORTEST_REST: Duration = Duration::from_millis(25);
/// Several files are replaced one after the other; what was seen changing is read once it has kept still so long.
const SETTLING: Duration = Duration::from_millis(250);
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Credentials in use.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) credentials: Credentials,
    pub(crate) source: String,
    /// Differs when key id, secret or token differ; says nothing about them.
    pub(crate) fingerprint: u64,
    /// Local clock when these very credentials were first seen.
    pub(crate) obtained_at: SystemTime,
    generation: u64,
    windows: Windows,
    recheck_at: Option<Instant>,
}

impl Held {
    /// `None`: they do not end.
    fn remaining(&self, now: SystemTime) -> Option<Duration> {
        self.credentials.expiry().map(|at| at.duration_since(now).unwrap_or(Duration::ZERO))
    }

    /// Can something be signed with them now and arrive in time?
    fn serves(&self, now: SystemTime) -> bool {
        self.remaining(now).is_none_or(|left| left > self.windows.last_moment)
    }
}

/// By how much life is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Windows {
    /// The whole life, from when they were fetched.
    life: Duration,
    /// From here on a refresh runs in the background.
    advisory: Duration,
    /// From here on callers wait for one.
    mandatory: Duration,
    /// From here on they do not serve.
    last_moment: Duration,
}

impl Windows {
    /// Five minutes and one, as in the SDKs. Below a quarter of an hour a third and a tenth of the life; below a minute more,
    /// since a request takes its time on the way however short the life: two thirds and one third of a second or three.
    fn of(life: Duration) -> Self {
        // The same credentials again keep the windows of their whole life.
        let mut windows = before.map_or_else(|| Windows::of(life), |held| held.windows);
        windows.advisory = match before {
            Some(_) => windows.mandatory.max(life / 2).min(windows.advisory),
            // Spread, so that a fleet started at once does not refresh at once.
            None => windows.advisory.mul_f64(0.8 + 0.2 * fastrand::f64()),
        };
        if before.is_none() {
            announce(&self.roster.names(), &source, &credentials, now);
        }
        let held = Arc::new(Held {
            fingerprint,
            obtained_at,
            generation: state.generation,
            windows,
            recheck_at: recheck.and_then(|after| Instant::now().checked_add(after)),
            credentials,
            source,
        });
        state.held = Some(Arc::clone(&held));
        state.stale = false;
        state.refreshes += 1;
        state.last_error = None;
        if no_longer_life {
            // The source has nothing newer yet: asking again at once would be a loop.
            rest(state, now);
        } else {
            state.backoff.reset();
            state.retry_at = None;
        }
        held
    }
}

fn announce(destinations: &str, source: &str, credentials: &Credentials, now: SystemTime) {
    tracing::info!(
        destinations,
        source,
        key = credentials.access_key_id(),
        expires_in_seconds = credentials.expiry().map(|at| at.duration_since(now).unwrap_or_default().as_secs()),
        "AWS credentials in use"
    );
}

/// Schedules the next attempt: soon enough for the time that valid credentials have left, and for lives that are short.
fn rest(state: &mut State, now: SystemTime) {
    let mut delay = FIRST_RETRY / 8 + state.backoff.next_delay();
    if let Some(held) = &state.held {
        if held.windows.life < SHORT_LIFE {
            delay = delay.min(held.windows.life / 4);
        }
        if let Some(left) = held.remaining(now).filter(|left| !left.is_zero()) {
            delay = delay.min(left / 4);
        }
    }
    state.retry_at = Instant::now().checked_add(delay.max(SHORTEST_REST));
}

fn check_expiry(fetched: Fetched, now: SystemTime) -> Result<Fetched, FetchError> {
    match fetched.credentials.expiry() {
        Some(at) if at <= now => {
            let ago = now.duration_since(at).unwrap_or_default().as_secs();
            Err(FetchError::failed(format!(
                "{}: it gave credentials that expired {ago} s ago; whatever renews them has stopped, or this machine's clock is wrong",
                fetched.source
            )))
        }
        _ => Ok(fetched),
    }
}

#[cfg(test)]
mod tests;
