//! The far end's clock, learnt from the `Date` of its answers.
//!
//! Sets no clock. Keeps true: only answers of AWS itself count, the newest sample wins, so that a corrected local clock
//! corrects the offset too; a person is told of an offset once a minute, however many destinations see it.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use net::Answer;
use parking_lot::Mutex;

use crate::roster::Roster;

/// Changes smaller than this are noise of whole-second dates and queues.
const NOTABLE: Duration = Duration::from_secs(30);
/// Above this a refused signature may be the clock's fault (AWS tolerates five minutes).
pub(crate) const SKEW_MS: i64 = 4 * 60 * 1000;
/// A round trip longer than this says nothing about the time.
const LONGEST_TRIP: Duration = Duration::from_secs(15 * 60);

/// The same offset of a host is told to a person again after this.
const QUIET: Duration = Duration::from_secs(60);
/// Different offsets told within that time; a host whose dates jump about tells nothing more.
const MOST_TOLD: usize = 8;

/// What is said about one host's clock, for all destinations there.
#[derive(Debug)]
pub(crate) struct ClockNotices {
    host: String,
    roster: Roster,
    told: Mutex<Vec<(i64, Instant)>>,
}

impl ClockNotices {
    pub(crate) fn new(host: &str) -> Self {
        Self { host: host.to_owned(), roster: Roster::default(), told: Mutex::default() }
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Counts a destination among those that the line names, for as long as `destination` lives.
    pub(crate) fn join(&self, destination: &Arc<str>) {
        self.roster.join(destination);
    }

    /// True when this offset is to be told now.
    fn due(&self, offset_ms: i64, now: Instant) -> bool {
        let mut told = self.told.lock();
        told.retain(|(_, at)| now.saturating_duration_since(*at) < QUIET);
        let is_new = told.len() < MOST_TOLD && !told.iter().any(|(known, _)| !is_notable(*known, offset_ms));
        if is_new {
            told.push((offset_ms, now));
        }
        is_new
    }

    fn tell(&self, offset_ms: i64, corrects: bool) {
        if !self.due(offset_ms, Instant::now()) {
            return;
        }
        let (host, destinations, offset_seconds) = (self.host.as_str(), self.roster.names(), offset_ms / 1000);
        if corrects {
            tracing::warn!(
                host,
                destinations,
                offset_seconds,
                "this machine's clock differs from AWS's; requests are signed with AWS's time, but set the clock right (NTP)"
            );
        } else {
            tracing::warn!(
                host,
                destinations,
                offset_seconds,
                "this machine's clock differs from AWS's and is not corrected (AWS_DISABLE_CLOCK_SKEW_CORRECTION, or disable_clock_skew_correction of the profile): set it right (NTP)"
            );
        }
    }
}

fn is_notable(before_ms: i64, after_ms: i64) -> bool {
    after_ms.abs_diff(before_ms) > u64::try_from(NOTABLE.as_millis()).unwrap_or(u64::MAX)
}

/// Local clock plus a learnt offset.
#[derive(Debug)]
pub(crate) struct Clock {
    corrects: bool,
    notices: Arc<ClockNotices>,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Far end minus local.
    offset_ms: i64,
    known: bool,
    /// Local time of the last notable change.
    changed_at: SystemTime,
}

impl Clock {
    /// `corrects: false` turns the correction off, not the measuring.
    pub(crate) fn new(corrects: bool, notices: Arc<ClockNotices>) -> Self {
        let state = State { offset_ms: 0, known: false, changed_at: SystemTime::UNIX_EPOCH };
        Self { corrects, notices, state: Mutex::new(state) }
    }

    /// See [`ClockNotices::join`].
    pub(crate) fn join(&self, destination: &Arc<str>) {
        self.notices.join(destination);
    }

    /// The time to sign with and to judge expiry by.
    pub(crate) fn now(&self) -> SystemTime {
        let now = SystemTime::now();
        if self.corrects { shift(now, self.state.lock().offset_ms) } else { now }
    }

    /// Far end minus local, in milliseconds, once an answer has told.
    pub(crate) fn offset_ms(&self) -> Option<i64> {
        let state = self.state.lock();
        state.known.then_some(state.offset_ms)
    }

    /// Learns from an answer.
    pub(crate) fn observe(&self, answer: &Answer<'_>) {
        let Some(told) = told_by(answer) else {
            return;
        };
        let mut state = self.state.lock();
        let offset_ms = told.applied_to(state.offset_ms);
        let is_news = is_notable(state.offset_ms, offset_ms);
        if is_news {
            state.changed_at = SystemTime::now();
        }
        state.offset_ms = offset_ms;
        state.known = true;
        drop(state);
        if is_news && offset_ms.abs() > 60_000 {
            self.notices.tell(offset_ms, self.corrects);
        }
    }

    /// True when a request signed at `sent_at` was signed with another offset than the present one.
    pub(crate) fn changed_since(&self, sent_at: SystemTime) -> bool {
        self.corrects && self.state.lock().changed_at > sent_at
    }
}

/// False where `AWS_DISABLE_CLOCK_SKEW_CORRECTION=true` wants requests dated by this machine's clock.
pub(crate) fn corrects() -> bool {
    !std::env::var("AWS_DISABLE_CLOCK_SKEW_CORRECTION").is_ok_and(|v| v.trim().eq_ignore_ascii_case("true"))
}

/// Far end's clock minus ours, in milliseconds, where the answer may be believed.
pub(crate) fn offset_told_by(answer: &Answer<'_>) -> Option<i64> {
    told_by(answer).map(|told| told.applied_to(0))
}

/// What one answer says of the far end's clock minus ours, in milliseconds. It was written at some moment of the round trip,
/// and a `Date` names a whole second, so it says a range.
#[derive(Debug, Clone, Copy)]
struct Told {
    least: i64,
    most: i64,
}

impl Told {
    /// What is believed from now on. What agrees with the answer is kept: an answer a second long must not move a clock that
    /// is right, nor undo what others told more exactly. A small difference moves it as little as possible.
    fn applied_to(self, believed: i64) -> i64 {
        let nearest = believed.clamp(self.least, self.most);
        if is_notable(believed, nearest) { self.least.midpoint(self.most) } else { nearest }
    }
}

fn told_by(answer: &Answer<'_>) -> Option<Told> {
    let headers = answer.headers;
    // A proxy's or a cache's answer carries the proxy's or the past's date.
    let of_aws = headers.contains_key("x-amzn-requestid") || headers.contains_key("x-amz-request-id");
    if !of_aws || headers.contains_key("age") {
        return None;
    }
    let second = millis(net::parse_http_date(headers.get("date")?.to_str().ok()?)?)?;
    let trip = answer.received_at.duration_since(answer.sent_at).ok()?;
    if trip > LONGEST_TRIP {
        return None;
    }
    let least = second.checked_sub(millis(answer.received_at)?)?;
    let most = second.checked_add(999)?.checked_sub(millis(answer.sent_at)?)?;
    Some(Told { least, most })
}

fn millis(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()
}

pub(crate) fn shift(time: SystemTime, by_ms: i64) -> SystemTime {
    let by = Duration::from_millis(by_ms.unsigned_abs());
    let moved = if by_ms >= 0 { time.checked_add(by) } else { time.checked_sub(by) };
    moved.unwrap_or(time).max(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode};

    fn a_clock(corrects: bool) -> Clock {
        Clock::new(corrects, Arc::new(ClockNotices::new("aws.example")))
    }

    fn observe(clock: &Clock, headers: &[(&'static str, &str)], sent: u64, received: u64) {
        let headers: HeaderMap =
            headers.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap())).collect();
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        clock.observe(&Answer {
            status: StatusCode::FORBIDDEN,
            headers: &headers,
            body: b"",
            sent_at: at(sent),
            received_at: at(received),
        });
    }

    const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    const AT: u64 = 784_111_777;
    const ID: (&str, &str) = ("x-amzn-requestid", "r");

    #[test]
    fn the_offset_is_taken_at_the_middle_of_what_an_answer_says_and_the_newest_wins() {
        let clock = a_clock(true);
        observe(&clock, &[DATE, ID], AT - 610, AT - 590);
        assert_eq!(clock.offset_ms(), Some(600_499));
        observe(&clock, &[DATE, ID], AT + 10, AT + 10);
        assert_eq!(clock.offset_ms(), Some(-9_500));
    }

    #[test]
    fn a_date_that_names_a_whole_second_does_not_move_a_clock_that_is_right() {
        let clock = a_clock(true);
        let answered = |after_ms: u64| told_offset(&clock, AT * 1000 + after_ms);
        assert_eq!(answered(950), 0, "the second had nearly passed");
        assert_eq!(answered(0), 0);
        // The local clock is 280 ms behind: only an answer from before the second by our clock can tell.
        assert_eq!(told_offset(&clock, AT * 1000 - 280), 260, "least that it can be");
        assert_eq!(answered(100), 260, "and no later answer undoes it that does not contradict it");
    }

    /// The offset after an answer that takes 20 ms.
    fn told_offset(clock: &Clock, sent_ms: u64) -> i64 {
        let headers: HeaderMap = [DATE, ID].iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(sent_ms);
        let received_at = at + Duration::from_millis(20);
        clock.observe(&Answer { status: StatusCode::OK, headers: &headers, body: b"", sent_at: at, received_at });
        clock.offset_ms().unwrap()
    }

    #[test]
    fn proxies_caches_and_endless_trips_teach_nothing() {
        let clock = a_clock(true);
        observe(&clock, &[DATE], AT - 600, AT - 600);
        observe(&clock, &[DATE, ID, ("age", "3")], AT - 600, AT - 600);
        observe(&clock, &[("date", "yesterday"), ID], AT - 600, AT - 600);
        observe(&clock, &[DATE, ID], AT - 2000, AT);
        observe(&clock, &[DATE, ID], AT, AT - 5);
        assert_eq!(clock.offset_ms(), None);
    }

    #[test]
    fn only_a_notable_change_counts_as_reclocked_and_the_opt_out_measures_only() {
        let clock = a_clock(true);
        let before = SystemTime::now() - Duration::from_secs(1);
        observe(&clock, &[DATE, ID], AT - 2, AT - 2);
        assert!(!clock.changed_since(before));
        observe(&clock, &[DATE, ID], AT - 600, AT - 600);
        assert!(clock.changed_since(before));
        assert!(!clock.changed_since(SystemTime::now() + Duration::from_secs(1)));
        assert!(clock.now() > SystemTime::now() + Duration::from_secs(500));

        let off = a_clock(false);
        observe(&off, &[DATE, ID], AT - 600, AT - 600);
        assert_eq!(off.offset_ms(), Some(600_499));
        assert!(off.now() <= SystemTime::now() && !off.changed_since(before));
    }

    #[test]
    fn an_offset_is_told_once_a_minute_and_dates_that_jump_about_are_not_told_for_ever() {
        let notices = ClockNotices::new("aws.example");
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        assert!(notices.due(7_200_000, now));
        assert!(!notices.due(7_201_000, now), "the same but for the noise of whole seconds");
        assert!(notices.due(-7_200_000, now));
        assert!(notices.due(7_200_000, now + minute));
        let told = (1..1000).filter(|n| notices.due(n * 3_600_000 * 24, now + minute)).count();
        assert!(told < MOST_TOLD, "{told}");
    }
}
