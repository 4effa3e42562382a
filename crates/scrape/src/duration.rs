//! Durations as Prometheus writes them: `1h30m`, `15s`, `500ms`.
//!
//! Only for the labels `__scrape_interval__` and `__scrape_timeout__`, which hold durations as text. Years have 365 days.

use std::time::Duration;

/// Largest unit first, each at most once, as they must be written.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration; `None` when it is not one or does not fit.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut total = 0u64;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.bytes().position(|b| !b.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let length = tail.bytes().position(|b| b.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(length)?;
        // The iterator goes on from the last unit: a smaller one must follow.
        let (_, scale) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*scale)?)?;
        rest = tail;
    }
    // Go's durations end at 2^63 nanoseconds.
    (total <= i64::MAX.unsigned_abs() / 1_000_000).then(|| Duration::from_millis(total))
}

/// Writes a duration as Prometheus does; below a millisecond is cut off.
pub(crate) fn format(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    for (unit, scale) in UNITS {
        // Years and weeks are only used for whole ones: 90d, not 12w6d.
        let whole_only = matches!(unit, "y" | "w");
        if rest == 0 || (whole_only && !rest.is_multiple_of(scale)) {
            continue;
        }
        let count = rest / scale;
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
            rest %= scale;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_as_prometheus_does() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("15s", 15_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("2h", 7_200_000),
            ("1y2w3d4h5m6s7ms", 33_019_506_007),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "1", "s", "1.5s", "-1s", "1s1m", "1s1s", "1 s", "5us", "99999999999y", "300y", "1mss"] {
            assert_eq!(parse(text), None, "{text}");
        }
        for (ms, text) in [
            (0, "0s"),
            (15_000, "15s"),
            (60_000, "1m"),
            (90_000, "1m30s"),
            (500, "500ms"),
            (7_776_000_000, "90d"),
            (604_800_000, "1w"),
            (31_536_000_000, "1y"),
        ] {
            assert_eq!(format(Duration::from_millis(ms)), text);
        }
    }
}
