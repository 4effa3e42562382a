//! Go's durations: `1h30m`, `-1.5s`, `250ms`.

/// Nanoseconds of `text` as Go's `time.ParseDuration` reads it; nothing if it is not a duration or too long for 64 bits.
pub fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let (value, after) = number(rest)?;
        let (unit, after) = unit(after)?;
        total = total.checked_add(value.in_unit(unit)?)?;
        rest = after;
    }
    Some(if negative { -total } else { total })
}

struct Number<'a> {
    whole: i64,
    fraction: &'a str,
}

impl Number<'_> {
    fn in_unit(&self, unit: i64) -> Option<i64> {
        let mut nanos = self.whole.checked_mul(unit)?;
        let mut scale = unit;
        for digit in self.fraction.bytes() {
            // Digits below a nanosecond are cut.
            let tenth = scale / 10;
            let lost = scale % 10;
            nanos = nanos.checked_add(i64::from(digit - b'0') * tenth + i64::from(digit - b'0') * lost / 10)?;
            scale = tenth;
            if scale == 0 {
                break;
            }
        }
        Some(nanos)
    }
}

fn number(text: &str) -> Option<(Number<'_>, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at_checked(digits(text))?;
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at_checked(digits(rest))?,
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    Some((Number { whole, fraction }, rest))
}

fn unit(text: &str) -> Option<(i64, &str)> {
    let end = text.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(text.len());
    let (unit, rest) = text.split_at_checked(end)?;
    let nanos = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    Some((nanos, rest))
}

/// Nanoseconds as Go prints a duration: `1h30m0s`, `1.5s`, `250ms`, `0s`.
pub(crate) fn go_duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let decimal = |value: u64, unit: u64| {
        let text = format!("{}.{:0width$}", value / unit, value % unit, width = unit.ilog10() as usize);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{nanos}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
            let minutes = nanos / 60_000_000_000;
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        let cases = [
            ("0", Some(0)),
            ("5s", Some(5_000_000_000)),
            ("-1.5h", Some(-5_400_000_000_000)),
            ("1h2m3s4ms5us6ns", Some(3_723_004_005_006)),
            ("0.5ms", Some(500_000)),
            (".5s", Some(500_000_000)),
            ("1.0000000001s", Some(1_000_000_000)),
            ("0.25m", Some(15_000_000_000)),
            ("µs", None),
            ("1", None),
            ("", None),
            ("1d", None),
            ("9999999999h", None),
            ("1.5.5s", None),
        ];
        for (text, nanos) in cases {
            assert_eq!(go_duration(text), nanos, "{text}");
        }
    }

    #[test]
    fn durations_print_as_in_go() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (-60_000_000_000, "-1m0s"),
        ] {
            assert_eq!(go_duration_text(nanos), text);
        }
    }
}
