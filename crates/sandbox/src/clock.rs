//! The sandbox's idea of now. It can be frozen and shifted, so that clock trouble can be played without waiting.
//!
//! Keeps true: verification, expiry and the `Date` header all read the same clock.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// A source of time plus a shift that may change while the sandbox runs. Clones share the shift.
#[derive(Clone)]
pub struct Clock {
    source: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    skew_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::from_fn(SystemTime::now)
    }

    /// A clock that stands still at `at` (until it is shifted).
    pub fn fixed(at: SystemTime) -> Self {
        Self::from_fn(move || at)
    }

    /// A clock read from `source` at each use.
    pub fn from_fn(source: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { source: Arc::new(source), skew_ms: Arc::new(AtomicI64::new(0)) }
    }

    /// Milliseconds since the Unix epoch, shift included; 0 before the epoch.
    pub fn now_ms(&self) -> i64 {
        let since = (self.source)().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(self.skew_ms())
    }

    /// How far the sandbox's clock is ahead of its source, in milliseconds (negative: behind).
    pub fn skew_ms(&self) -> i64 {
        self.skew_ms.load(Ordering::Relaxed)
    }

    /// Shifts the clock: `ms` ahead of its source.
    pub fn set_skew_ms(&self, ms: i64) {
        self.skew_ms.store(ms, Ordering::Relaxed);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("now_ms", &self.now_ms()).field("skew_ms", &self.skew_ms()).finish()
    }
}

/// `20150830T123600Z`, the form SigV4 uses. Times outside years 0-9999 print as the epoch.
pub(crate) fn basic_utc(ms: i64) -> String {
    let stamp = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    stamp.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// `2015-08-30T12:36:00.000Z`, the form XML answers use.
pub(crate) fn extended_utc(ms: i64) -> String {
    let stamp = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{}.{:03}Z", stamp.strftime("%Y-%m-%dT%H:%M:%S"), ms.rem_euclid(1000))
}

/// The same, without the fraction when there is none, as JSON documents and STS have it.
pub(crate) fn iso_utc(ms: i64) -> String {
    let text = extended_utc(ms);
    match text.strip_suffix(".000Z") {
        Some(whole) => format!("{whole}Z"),
        None => text,
    }
}

/// `Sun, 30 Aug 2015 12:36:00 GMT`, the form of the `Date` header (RFC 9110).
pub(crate) fn http_date(ms: i64) -> String {
    let stamp = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&stamp)
        .unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 GMT".to_owned())
}

/// Reads `YYYYMMDDTHHMMSSZ`; anything else is `None`.
pub(crate) fn read_basic_utc(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let shape = b"ddddddddTddddddZ";
    let fits = bytes.len() == shape.len()
        && bytes.iter().zip(shape).all(|(byte, want)| if *want == b'd' { byte.is_ascii_digit() } else { byte == want });
    if !fits {
        return None;
    }
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?.as_millisecond())
}

/// Reads an HTTP date or the basic form, as the `Date` header may hold either.
pub(crate) fn read_date_header(text: &str) -> Option<i64> {
    read_basic_utc(text).or_else(|| {
        // RFC 2822 readers want a zone they know; RFC 9110 always says GMT.
        let stamp = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Some(stamp.as_millisecond())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_440_938_160_000;

    #[test]
    fn the_three_forms_of_a_time_are_those_of_the_documents() {
        assert_eq!(basic_utc(AT), "20150830T123600Z");
        assert_eq!(extended_utc(AT + 7), "2015-08-30T12:36:00.007Z");
        assert_eq!(http_date(AT), "Sun, 30 Aug 2015 12:36:00 GMT");
    }

    #[test]
    fn reading_undoes_printing() {
        assert_eq!(read_basic_utc(&basic_utc(AT)), Some(AT));
        assert_eq!(read_date_header(&http_date(AT)), Some(AT));
        assert_eq!(read_date_header(&basic_utc(AT)), Some(AT));
    }

    #[test]
    fn a_malformed_time_is_nothing() {
        for text in
            ["", "20150830T123600", "2015083xT123600Z", "20151330T123600Z", "20150830 123600Z", "+0150830T123600Z"]
        {
            assert_eq!(read_basic_utc(text), None, "{text}");
        }
    }

    #[test]
    fn clones_share_the_shift() {
        let clock = Clock::fixed(UNIX_EPOCH);
        clock.clone().set_skew_ms(-5);
        assert_eq!(clock.now_ms(), -5);
    }
}
