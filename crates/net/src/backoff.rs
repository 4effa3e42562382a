//! How long to wait before the next attempt. Knows no clock and sleeps never; the caller does both.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

/// Exponential delays with full jitter: attempt `n` waits a random time up to `min(max, min * 2^n)`.
///
/// Full jitter spreads the retries of many senders that failed in the same instant; see "Exponential Backoff And Jitter"
/// (AWS Architecture Blog).
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// `min` bounds the first delay, `max` every delay.
    pub fn new(min: Duration, max: Duration) -> Self {
        let min = min.max(Duration::from_millis(1));
        Self { min, max: max.max(min), failures: 0 }
    }

    /// The delay after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        // Never zero: a zero delay in a loop is a spin.
        Duration::from_nanos(1) + ceiling.mul_f64(fastrand::f64())
    }

    /// The delay after one more failure that came with the far end's own wish: at least that wish, spread by up to a
    /// tenth so that all the refused do not come back in the same instant.
    pub fn next_delay_after(&mut self, wish: Duration) -> Duration {
        let own = self.next_delay();
        own.max(wish + wish.mul_f64(fastrand::f64() * 0.1))
    }

    /// The upper bound of the next delay.
    pub fn ceiling(&self) -> Duration {
        let factor = 1u32.checked_shl(self.failures.min(31)).unwrap_or(u32::MAX);
        self.min.checked_mul(factor).unwrap_or(self.max).min(self.max)
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets the failures; called after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// How long the far end asks us to wait: `x-amz-retry-after` (milliseconds), else `Retry-After` (seconds or an HTTP date,
/// RFC 9110 section 10.2.3). `None` when absent or unreadable; a date in the past is zero.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    if let Some(ms) =
        headers.get("x-amz-retry-after").and_then(|v| v.to_str().ok()).and_then(|v| v.trim().parse::<u64>().ok())
    {
        return Some(Duration::from_millis(ms));
    }
    let value = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    Some(parse_http_date(value)?.duration_since(now).unwrap_or(Duration::ZERO))
}

/// Reads an HTTP date (`Sun, 06 Nov 1994 08:49:37 GMT`, RFC 9110 section 5.6.7). Only years after 1970.
pub fn parse_http_date(text: &str) -> Option<SystemTime> {
    let zoned = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    let seconds = u64::try_from(zoned.timestamp().as_second()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(name, value.parse().unwrap());
        map
    }

    #[test]
    fn delays_double_up_to_the_maximum_and_never_pass_their_ceiling() {
        let mut backoff = Backoff::new(Duration::from_millis(30), Duration::from_secs(5));
        let mut ceilings = Vec::new();
        for _ in 0..10 {
            let ceiling = backoff.ceiling();
            let delay = backoff.next_delay();
            assert!(delay > Duration::ZERO && delay <= ceiling + Duration::from_nanos(1));
            ceilings.push(ceiling.as_millis());
        }
        assert_eq!(ceilings, [30, 60, 120, 240, 480, 960, 1920, 3840, 5000, 5000]);
        for _ in 0..100 {
            backoff.next_delay();
        }
        assert_eq!(backoff.ceiling(), Duration::from_secs(5));
        backoff.reset();
        assert_eq!(backoff.ceiling(), Duration::from_millis(30));
    }

    #[test]
    fn delays_of_zero_do_not_make_a_loop_spin() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(backoff.ceiling(), Duration::from_millis(1));
        let sum: Duration = (0..1000).map(|_| backoff.next_delay()).sum();
        assert!(sum > Duration::from_millis(100), "{sum:?}");
    }

    #[test]
    fn a_wish_of_the_far_end_is_a_lower_bound() {
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(2));
        let delay = backoff.next_delay_after(Duration::from_secs(10));
        assert!(delay >= Duration::from_secs(10) && delay <= Duration::from_secs(11));
    }

    #[test]
    fn retry_after_reads_seconds_dates_and_amazon_milliseconds() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 60);
        assert_eq!(retry_after(&headers("retry-after", "7"), now), Some(Duration::from_secs(7)));
        let date = headers("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(retry_after(&date, now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after(&date, now + Duration::from_secs(100)), Some(Duration::ZERO));
        assert_eq!(retry_after(&headers("x-amz-retry-after", "1500"), now), Some(Duration::from_millis(1500)));
        assert_eq!(retry_after(&headers("retry-after", "soon"), now), None);
        assert_eq!(retry_after(&headers("retry-after", "-3"), now), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
