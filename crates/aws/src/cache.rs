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
    words::{length, moment},
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
/// What came over, by a clock that may be wrong, is asked for again after this if no answer tells the time.
const DOUBT: Duration = Duration::from_secs(60);

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
    /// Over when they came, by a clock that nobody had compared with AWS's.
    came_over: bool,
}

/// The far end's clock, as well as it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FarTime {
    pub(crate) at: SystemTime,
    /// An answer told it; else it is this machine's clock, which may be anything.
    pub(crate) is_told: bool,
}

impl FarTime {
    fn after(self, passed: Duration) -> Self {
        Self { at: self.at.checked_add(passed).unwrap_or(self.at), ..self }
    }
}

impl Held {
    /// `None`: they do not end, as far as anybody knows.
    fn remaining(&self, now: FarTime) -> Option<Duration> {
        if self.came_over && !now.is_told {
            return None;
        }
        self.credentials.expiry().map(|at| at.duration_since(now.at).unwrap_or(Duration::ZERO))
    }

    /// Can something be signed with them now and arrive in time?
    fn serves(&self, now: FarTime) -> bool {
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
        let (advisory, mandatory) = if life >= SHORT_LIFE {
            (ADVISORY, MANDATORY)
        } else {
            ((life / 3).max(LONG_TRIP.min(life / 3 * 2)), (life / 10).max(TRIP.min(life / 3)))
        };
        Self { life, advisory, mandatory, last_moment: LAST_MOMENT.min(life / 20) }
    }
}

/// What pages and metrics show.
#[derive(Debug, Clone)]
pub(crate) struct CacheStatus {
    pub(crate) held: Option<Arc<Held>>,
    pub(crate) refreshes: u64,
    pub(crate) failures: u64,
    pub(crate) last_error: Option<String>,
}

#[derive(Debug)]
pub(crate) struct CredentialCache {
    source: Box<dyn Source>,
    file_check: Duration,
    hasher: RandomState,
    /// Who signs with these credentials, for log lines.
    roster: Roster,
    fetching: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    held: Option<Arc<Held>>,
    generation: u64,
    /// Refused by AWS, or the files changed: get others before the next signature if they can be had.
    stale: bool,
    /// Refused by AWS, whatever their end says.
    refused: bool,
    stamps: FileStamps,
    /// Changed files that may still be changing.
    unsettled: Option<FileStamps>,
    stored: u64,
    files_checked: Instant,
    backoff: Backoff,
    retry_at: Option<Instant>,
    background: bool,
    refreshes: u64,
    failures: u64,
    last_error: Option<FetchError>,
}

impl State {
    /// Can the credentials in use be used on? By the best clock there is; what AWS refused is over, however long it was meant to
    /// last.
    fn still_valid(&self, now: FarTime) -> bool {
        let lasts = |held: &Arc<Held>| held.serves(now) && held.credentials.expiry().is_none_or(|at| at > now.at);
        !self.refused && self.held.as_ref().is_some_and(lasts)
    }
}

enum Plan {
    Serve(Arc<Held>),
    ServeAndRefresh(Arc<Held>),
    Wait { fallback: Option<Arc<Held>> },
    Fail(FetchError),
}

impl CredentialCache {
    pub(crate) fn new(source: Box<dyn Source>, file_check: Duration) -> Self {
        let stamps = FileStamps::take(source.files());
        let state = State {
            held: None,
            generation: 0,
            stale: false,
            refused: false,
            stamps,
            unsettled: None,
            stored: source.stored_version(),
            files_checked: Instant::now(),
            backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
            retry_at: None,
            background: false,
            refreshes: 0,
            failures: 0,
            last_error: None,
        };
        Self {
            source,
            file_check,
            hasher: RandomState::new(),
            roster: Roster::default(),
            fetching: tokio::sync::Mutex::new(()),
            state: Mutex::new(state),
        }
    }

    /// Credentials to sign with at `now`, good for a while yet when they are given. While no answer has told the far end's
    /// time, fresh ones are used even if they look over: refusing them would be to never learn the time.
    pub(crate) async fn get(self: &Arc<Self>, now: FarTime) -> Result<Arc<Held>, FetchError> {
        let asked = Instant::now();
        let (plan, generation) = self.plan(now);
        match plan {
            Plan::Serve(held) => Ok(held),
            Plan::Fail(error) => Err(error),
            Plan::ServeAndRefresh(held) => {
                let cache = Arc::clone(self);
                tokio::spawn(async move {
                    let _at_the_end = Background(&cache);
                    let _ = cache.refresh(generation, now, asked).await;
                });
                Ok(held)
            }
            Plan::Wait { fallback } => {
                let cache = Arc::clone(self);
                // A task of its own: the caller may time out, and the next one then finds the result.
                let fetched = tokio::spawn(async move { cache.refresh(generation, now, asked).await }).await;
                let fetched = fetched.unwrap_or_else(|_| {
                    Err(FetchError::failed(format!("{}: the fetch broke off", self.source.describe())))
                });
                let late = now.after(asked.elapsed());
                match (fetched, fallback.filter(|held| held.serves(late))) {
                    (Ok(held), _) if held.serves(late) => Ok(held),
                    (_, Some(held)) => Ok(held),
                    (Err(error), None) => Err(error),
                    (Ok(held), None) => Err(FetchError::failed(format!(
                        "{}: the credentials were over before they could be used; the source takes too long, or gives them too late",
                        held.source
                    ))),
                }
            }
        }
    }

    /// Takes what was fetched elsewhere, if there is nothing yet: what a slow source gave need not be asked for twice.
    pub(crate) fn offer(&self, fetched: Fetched, now: FarTime) {
        let mut state = self.state.lock();
        if state.held.is_none() {
            state.generation = state.generation.wrapping_add(1);
            self.accept(&mut state, fetched, now);
        }
    }

    /// AWS refused these credentials: fetch others before the next signature. Nothing happens if they are gone already.
    pub(crate) fn invalidate(&self, fingerprint: u64) {
        let mut state = self.state.lock();
        if state.held.as_ref().is_some_and(|h| h.fingerprint == fingerprint) {
            state.stale = true;
            state.refused = true;
        }
    }

    /// The credentials in use, and whether they are about to be replaced.
    pub(crate) fn held(&self) -> (Option<Arc<Held>>, bool) {
        let state = self.state.lock();
        (state.held.clone(), state.stale)
    }

    pub(crate) fn status(&self) -> CacheStatus {
        let state = self.state.lock();
        CacheStatus {
            held: state.held.clone(),
            refreshes: state.refreshes,
            failures: state.failures,
            last_error: state.last_error.as_ref().map(|e| e.message.clone()),
        }
    }

    pub(crate) fn describe(&self) -> String {
        self.source.describe()
    }

    pub(crate) fn advice_when_expired(&self) -> String {
        self.source.advice_when_expired()
    }

    /// Counts a destination among those that log lines name, for as long as `destination` lives.
    pub(crate) fn join(&self, destination: &Arc<str>) {
        if !self.roster.join(destination) {
            return;
        }
        // The line about the fetch is long past and did not name this one.
        let held = self.state.lock().held.clone();
        if let Some(held) = held {
            announce(destination, &held.source, &held.credentials, SystemTime::now(), held.came_over);
        }
    }

    fn look_at_files(&self, state: &mut State) {
        let settling = self.file_check.min(SETTLING);
        let wait = if state.unsettled.is_some() { settling } else { self.file_check };
        if state.stamps.is_empty() || state.files_checked.elapsed() < wait {
            return;
        }
        state.files_checked = Instant::now();
        let seen = state.stamps.again();
        if seen == state.stamps {
            state.unsettled = None;
        } else if settling.is_zero() || state.unsettled.as_ref() == Some(&seen) {
            // Stamped before the fetch: a change in the middle of it is seen next time.
            state.stamps = seen;
            state.unsettled = None;
            state.stale = true;
            state.retry_at = None;
            state.backoff.reset();
        } else {
            state.unsettled = Some(seen);
        }
    }

    fn plan(&self, now: FarTime) -> (Plan, u64) {
        let mut state = self.state.lock();
        let stored = self.source.stored_version();
        if state.stored != stored {
            state.stored = stored;
            state.stale = true;
            state.retry_at = None;
            state.backoff.reset();
        }
        self.look_at_files(&mut state);
        let resting = state.retry_at.is_some_and(|at| Instant::now() < at);
        let failed = || {
            let silent = || FetchError::failed(format!("{}: no credentials yet", self.source.describe()));
            Plan::Fail(state.last_error.clone().unwrap_or_else(silent))
        };
        let plan = match &state.held {
            None if resting => failed(),
            None => Plan::Wait { fallback: None },
            Some(held) => {
                let remaining = held.remaining(now).unwrap_or(Duration::MAX);
                let recheck = held.recheck_at.is_some_and(|at| Instant::now() >= at);
                if !held.serves(now) {
                    if resting { failed() } else { Plan::Wait { fallback: None } }
                } else if resting {
                    Plan::Serve(Arc::clone(held))
                } else if state.stale || remaining <= held.windows.mandatory {
                    Plan::Wait { fallback: Some(Arc::clone(held)) }
                } else if (remaining <= held.windows.advisory || recheck) && !state.background {
                    Plan::ServeAndRefresh(Arc::clone(held))
                } else {
                    Plan::Serve(Arc::clone(held))
                }
            }
        };
        if matches!(plan, Plan::ServeAndRefresh(_)) {
            state.background = true;
        }
        (plan, state.generation)
    }

    /// Fetches, unless someone did since `seen`. It was `now` at `asked`.
    async fn refresh(&self, seen: u64, now: FarTime, asked: Instant) -> Result<Arc<Held>, FetchError> {
        let _alone = self.fetching.lock().await;
        {
            let state = self.state.lock();
            if state.generation != seen {
                return match (&state.held, &state.last_error) {
                    (Some(held), _) if held.generation == state.generation => Ok(Arc::clone(held)),
                    (_, Some(error)) => Err(error.clone()),
                    _ => Err(FetchError::failed("no credentials")),
                };
            }
        }
        let fetched = self.source.fetch().await;
        let now = now.after(asked.elapsed());
        let result = fetched.and_then(|fetched| if now.is_told { check_expiry(fetched, now.at) } else { Ok(fetched) });
        let mut state = self.state.lock();
        state.generation = state.generation.wrapping_add(1);
        match result {
            Ok(fetched) => Ok(self.accept(&mut state, fetched, now)),
            Err(error) => {
                state.failures += 1;
                rest(&mut state, now);
                let valid = state.still_valid(now);
                tracing::warn!(
                    destinations = self.roster.names(),
                    source = self.source.describe(),
                    still_valid = valid,
                    %error,
                    "AWS credentials could not be refreshed"
                );
                state.last_error = Some(error.clone());
                Err(error)
            }
        }
    }

    fn accept(&self, state: &mut State, fetched: Fetched, now: FarTime) -> Arc<Held> {
        let Fetched { credentials, source, recheck } = fetched;
        let parts = (credentials.access_key_id(), credentials.secret_access_key(), credentials.session_token());
        let fingerprint = self.hasher.hash_one(parts);
        let before = state.held.as_ref().filter(|h| h.fingerprint == fingerprint);
        let obtained_at = before.map_or_else(SystemTime::now, |h| h.obtained_at);
        let no_longer_life =
            before.is_some_and(|h| h.credentials.expiry().is_some() && h.credentials.expiry() >= credentials.expiry());
        let before_refused = before.is_some() && state.refused;
        let life = credentials.expiry().and_then(|at| at.duration_since(now.at).ok()).unwrap_or(Duration::MAX);
        let came_over = credentials.expiry().is_some_and(|at| at <= now.at);
        let recheck = if came_over { Some(recheck.map_or(DOUBT, |after| after.min(DOUBT))) } else { recheck };
        // The same credentials again keep the windows of their whole life.
        let mut windows = before.map_or_else(|| Windows::of(life), |held| held.windows);
        windows.advisory = match before {
            Some(_) => windows.mandatory.max(life / 2).min(windows.advisory),
            // Spread, so that a fleet started at once does not refresh at once.
            None => windows.advisory.mul_f64(0.8 + 0.2 * fastrand::f64()),
        };
        if before.is_none() {
            announce(&self.roster.names(), &source, &credentials, now.at, came_over);
        }
        let held = Arc::new(Held {
            fingerprint,
            obtained_at,
            generation: state.generation,
            windows,
            came_over,
            recheck_at: recheck.and_then(|after| Instant::now().checked_add(after)),
            credentials,
            source,
        });
        state.held = Some(Arc::clone(&held));
        state.stale = false;
        // The very same ones again are as refused as before.
        state.refused &= before_refused;
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

/// A background refresh that is under way; over when this goes, however it ends.
struct Background<'c>(&'c CredentialCache);

impl Drop for Background<'_> {
    fn drop(&mut self) {
        self.0.state.lock().background = false;
    }
}

fn announce(destinations: &str, source: &str, credentials: &Credentials, now: SystemTime, came_over: bool) {
    if came_over {
        let ago = credentials.expiry().and_then(|at| now.duration_since(at).ok()).unwrap_or_default().as_secs();
        let key = crate::verdict::plain_id(credentials.access_key_id());
        if crate::process::is_of_command(credentials) {
            tracing::warn!(
                destinations,
                source,
                key,
                expired_seconds_ago = ago,
                "AWS credentials came expired by this machine's clock: the command of credential_process prints old ones out of a cache, or \
                 its clock or this machine's is wrong; AWS is asked with them until an answer tells the time"
            );
        } else {
            tracing::warn!(
                destinations,
                source,
                key,
                expired_seconds_ago = ago,
                "AWS credentials came expired by this machine's clock; AWS is asked with them all the same, since the clock may be what is wrong"
            );
        }
        return;
    }
    tracing::info!(
        destinations,
        source,
        key = crate::verdict::plain_id(credentials.access_key_id()),
        expires_in_seconds = credentials.expiry().map(|at| at.duration_since(now).unwrap_or_default().as_secs()),
        "AWS credentials in use"
    );
}

/// Schedules the next attempt: soon enough for the time that valid credentials have left, and for lives that are short.
fn rest(state: &mut State, now: FarTime) {
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
            if let Some(stale) = crate::process::stale(&fetched.credentials, now, "AWS's clock") {
                return Err(stale.told(|words| format!("{}: {words}; they are not used", fetched.source)));
            }
            let ago = length(now.duration_since(at).unwrap_or_default());
            Err(FetchError::failed(format!(
                "{}: it gave credentials that expired {ago} ago by AWS's clock (at {}); whatever renews them has stopped",
                fetched.source,
                moment(at)
            )))
        }
        _ => Ok(fetched),
    }
}

#[cfg(test)]
mod tests;
