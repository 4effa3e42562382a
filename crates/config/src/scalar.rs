//! What the text of a scalar can mean: durations, sizes, truth values, numbers.
//!
//! Each reader accepts the union of the dialects that meet in one file (Prometheus, Go, YAML 1.1). Errors say what the
//! form is, and never repeat the text.

use std::time::Duration;

/// Longest duration taken (Go's limit is 292 years); keeps arithmetic on deadlines far from overflow.
const MAX_SECONDS: f64 = 100.0 * 365.0 * 86400.0;

/// Prometheus (`1d12h`, `0`) and Go (`1h30m`, `1.5s`, `250ms`, `10µs`) durations, not negative.
pub fn duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "a duration is a number with a unit, such as 30s, 1m, 1h30m, 250ms or 7d";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err("a duration here cannot be negative".into());
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(FORM.into());
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 7 * 86_400_000_000_000,
            "y" => 365 * 86_400_000_000_000,
            "" => return Err(format!("the unit is missing; {FORM}")),
            _ => return Err(FORM.into()),
        };
        nanos = fixed_point(number, unit).and_then(|n| nanos.checked_add(n)).ok_or(FORM)?;
        rest = tail;
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| FORM)?;
    let remainder = u32::try_from(nanos % 1_000_000_000).map_err(|_| FORM)?;
    let duration = Duration::new(seconds, remainder);
    if duration.as_secs_f64() > MAX_SECONDS { Err("this is more than 100 years".into()) } else { Ok(duration) }
}

/// `number` (digits with at most one dot) times `unit`, rounded down; `None` if it is no number or too large.
fn fixed_point(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 20 {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = fraction.get(..fraction.len().min(15))?;
    let parts: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    whole.checked_mul(unit)?.checked_add(parts.checked_mul(unit)? / scale)
}

/// Bytes: `512MB`, `8GiB`, `256kb`, `1048576`, `0`. All units are powers of 1024, as in Prometheus and Grafana's files.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    const FORM: &str = "a size is a number of bytes with or without a unit, such as 512KB, 10MB or 8GiB";
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        "e" | "eb" | "eib" => 60,
        _ => return Err(FORM.into()),
    };
    let bytes = fixed_point(&number.replace('_', ""), 1_u128 << shift).ok_or(FORM)?;
    u64::try_from(bytes).map_err(|_| "this is more than 16 EiB".into())
}

/// YAML 1.1 truth values, as Go's loader takes them.
pub(crate) fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Ok(true),
        "false" | "no" | "off" | "n" => Ok(false),
        _ => Err("this is either true or false".into()),
    }
}

/// Whole numbers, not negative: `10`, `1_000`, `0755` (octal), `0x1f`.
pub(crate) fn whole(text: &str) -> Result<u64, String> {
    const FORM: &str = "a whole number is wanted";
    let text = text.replace('_', "");
    let text = text.strip_prefix('+').unwrap_or(&text);
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (text.get(2..).unwrap_or_default(), 16),
        [b'0', b'o' | b'O', ..] => (text.get(2..).unwrap_or_default(), 8),
        [b'0', b'b' | b'B', ..] => (text.get(2..).unwrap_or_default(), 2),
        [b'0', _, ..] => (text, 8),
        [b'-', ..] => return Err("a number here cannot be negative".into()),
        _ => (text, 10),
    };
    if digits.starts_with('+') {
        return Err(FORM.into());
    }
    u64::from_str_radix(digits, radix).map_err(|_| FORM.into())
}

/// A number with or without a fraction, not negative: rates and shares.
pub(crate) fn real(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    match number {
        Some(number) if number >= 0.0 => Ok(number),
        Some(_) => Err("a number here cannot be negative".into()),
        None => Err("a number is wanted".into()),
    }
}

/// A duration as Prometheus prints it: the largest units first, nothing that is zero.
pub(crate) fn show_duration(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".into();
    }
    let mut rest = duration.as_nanos();
    let mut shown = String::new();
    for (unit, name) in [
        (86_400_000_000_000_u128, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ] {
        if rest >= unit {
            shown.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    shown
}

/// A size in the largest unit that divides it.
pub(crate) fn show_size(bytes: u64) -> String {
    let units = ["TiB", "GiB", "MiB", "KiB"].iter().zip([40_u32, 30, 20, 10]);
    for (name, shift) in units {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{name}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn durations_of_both_dialects_are_read() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("0", ms(0)),
            ("0s", ms(0)),
            ("15s", ms(15_000)),
            ("1m30s", ms(90_000)),
            ("1.5h", ms(5_400_000)),
            ("1d12h", ms(36 * 3_600_000)),
            ("1w", ms(7 * 86_400_000)),
            ("1y", ms(365 * 86_400_000)),
            ("250ms", ms(250)),
            ("10µs", Duration::from_micros(10)),
            (".5s", ms(500)),
            ("+3s", ms(3000)),
            ("1h2m3s4ms", ms(3_723_004)),
        ] {
            assert_eq!(duration(text), Ok(expected), "{text}");
            assert_eq!(duration(&show_duration(expected)), Ok(expected), "{text}");
        }
        for text in
            ["", "15", "s", "1 s", "15x", "-5s", "1.2.3s", "99999999999999999999999y", "200y", "1h-5m", ".s", "1e3s"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, expected) in [
            ("0", 0),
            ("10", 10),
            ("1KB", 1024),
            ("1KiB", 1024),
            ("256kb", 256 << 10),
            ("1.5MB", 3 << 19),
            ("8GiB", 8 << 30),
            ("1_000", 1000),
        ] {
            assert_eq!(size(text), Ok(expected), "{text}");
            assert_eq!(size(&show_size(expected)), Ok(expected), "{text}");
        }
        for text in ["", "MB", "1XB", "-1", "1.2.3", "99999EB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn truth_values_and_numbers_are_those_of_yaml_1_1() {
        for text in ["true", "True", "yes", "on", "ON"] {
            assert_eq!(flag(text), Ok(true), "{text}");
        }
        for text in ["false", "no", "Off"] {
            assert_eq!(flag(text), Ok(false), "{text}");
        }
        assert!(flag("1").is_err());
        for (text, expected) in [("0", 0), ("10", 10), ("1_000", 1000), ("0755", 493), ("0x1f", 31), ("0o17", 15)] {
            assert_eq!(whole(text), Ok(expected), "{text}");
        }
        for text in ["", "-1", "1.5", "lots", "0x", "++1", "0x+1"] {
            assert!(whole(text).is_err(), "{text}");
        }
    }
}
