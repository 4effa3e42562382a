//! Numbers of expositions: Go's `strconv.ParseFloat` grammar, rounded to nearest even, as Prometheus reads them.
//!
//! The common shape - at most 19 digits, a small exponent - takes one pass and one exact multiplication or division
//! (Clinger's fast path); the rest goes to the standard library, hexadecimal floats to a few lines here. Underscores
//! are refused, and so is what overflows to infinity. Any NaN becomes the one NaN that Prometheus stores.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation
    )
)]

use model::NORMAL_NAN_BITS;

/// Powers of ten that a double holds exactly.
const POW10: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
const MAX_EXACT: u64 = 1 << 53;

/// Reads the number that `bytes` start with and says how many bytes it took: it ends at a blank, a line feed or the
/// end. `None` if these bytes are no number.
#[inline]
pub(crate) fn leading_number(bytes: &[u8]) -> Option<(f64, usize)> {
    plain_decimal(bytes).or_else(|| {
        let len = bytes.iter().position(|byte| is_end(*byte)).unwrap_or(bytes.len());
        Some((number(bytes.get(..len)?)?, len))
    })
}

#[inline]
fn is_end(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n')
}

/// The common shape only.
#[inline]
fn plain_decimal(bytes: &[u8]) -> Option<(f64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let mut mantissa = 0u64;
    let mut at = digits(bytes, start, &mut mantissa);
    let mut count = at - start;
    let mut exponent = 0i32;
    if bytes.get(at) == Some(&b'.') {
        let end = digits(bytes, at + 1, &mut mantissa);
        let decimals = end - at - 1;
        at = end;
        count += decimals;
        // At most 19, or the number is refused below.
        exponent = -i32::try_from(decimals).ok()?;
    }
    if count == 0 || count > 19 {
        return None;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let sign = bytes.get(at + 1).copied()?;
        let first = at + 1 + usize::from(matches!(sign, b'+' | b'-'));
        let mut stated = 0u64;
        at = digits(bytes, first, &mut stated);
        if at == first || at - first > 4 {
            return None;
        }
        let stated = i32::try_from(stated).ok()?;
        exponent += if sign == b'-' { -stated } else { stated };
    }
    if bytes.get(at).is_some_and(|byte| !is_end(*byte)) || mantissa > MAX_EXACT {
        return None;
    }
    // Below 2^53, so exact.
    let whole = mantissa as f64;
    let magnitude = if exponent == 0 {
        whole
    } else {
        let power = *POW10.get(exponent.unsigned_abs() as usize)?;
        if exponent < 0 { whole / power } else { whole * power }
    };
    Some((if negative { -magnitude } else { magnitude }, at))
}

/// Adds the run of digits at `at` to `number`, wrapping; returns where the run ends.
#[inline]
fn digits(bytes: &[u8], mut at: usize, number: &mut u64) -> usize {
    while let Some(byte) = bytes.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        *number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    at
}

/// All of `token` as a number.
pub(crate) fn number(token: &[u8]) -> Option<f64> {
    let (negative, signed, magnitude) = match token {
        [b'-', rest @ ..] => (true, true, rest),
        [b'+', rest @ ..] => (false, true, rest),
        rest => (false, false, rest),
    };
    let parsed = match magnitude {
        [b'0', b'x' | b'X', rest @ ..] => hexadecimal(rest)?,
        [b'0'..=b'9' | b'.', ..] => {
            if magnitude.iter().any(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) {
                return None;
            }
            let parsed: f64 = std::str::from_utf8(magnitude).ok()?.parse().ok()?;
            // Go answers "value out of range", and Prometheus fails the scrape.
            parsed.is_finite().then_some(parsed)?
        }
        word if word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"infinity") => f64::INFINITY,
        word if !signed && word.eq_ignore_ascii_case(b"nan") => f64::from_bits(NORMAL_NAN_BITS),
        _ => return None,
    };
    Some(if negative { -parsed } else { parsed })
}

/// What follows `0x`: digits, at most one point, and the exponent that Go demands.
fn hexadecimal(token: &[u8]) -> Option<f64> {
    let split = token.iter().position(|byte| matches!(byte, b'p' | b'P'))?;
    let (digits, exponent) = (token.get(..split)?, token.get(split + 1..)?);
    let mut mantissa = 0u64;
    let mut sticky = false;
    let (mut seen, mut point) = (false, false);
    // Power of two that the mantissa is to be multiplied with.
    let mut scale = 0i64;
    for byte in digits {
        let digit = match byte {
            b'.' if !point => {
                point = true;
                continue;
            }
            _ => char::from(*byte).to_digit(16)?,
        };
        seen = true;
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            scale -= if point { 4 } else { 0 };
        } else {
            sticky |= digit != 0;
            scale += if point { 0 } else { 4 };
        }
    }
    let (down, magnitude) = match exponent {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if !seen || magnitude.is_empty() || magnitude.iter().any(|byte| !byte.is_ascii_digit()) {
        return None;
    }
    // Saturates far beyond any exponent that matters, whatever the number of mantissa digits in a body.
    let stated = magnitude.iter().fold(0i64, |n, byte| (n * 10 + i64::from(byte - b'0')).min(1 << 40));
    scale += if down { -stated } else { stated };
    power_of_two(mantissa, sticky, scale)
}

/// `mantissa * 2^scale`, rounded to nearest even; `sticky` says that non-zero digits were cut off below the mantissa.
fn power_of_two(mantissa: u64, sticky: bool, scale: i64) -> Option<f64> {
    if mantissa == 0 {
        return Some(0.0);
    }
    // Normalised: the leading bit at 63, so the value is in [2^top, 2^(top + 1)).
    let shift = i64::from(mantissa.leading_zeros());
    let normal = mantissa << shift;
    let top = scale + 63 - shift;
    if top > 1023 {
        return None;
    }
    // Bits that the result keeps: 53, fewer for subnormal numbers.
    let keep = (top + 1075).clamp(0, 53);
    if keep == 0 && top < -1075 {
        return Some(0.0);
    }
    // 11..=64 bits go.
    let dropped = 64 - keep;
    let (kept, rest) = if dropped == 64 { (0, normal) } else { (normal >> dropped, normal << (64 - dropped)) };
    let half = 1u64 << 63;
    let up = rest > half || rest == half && (sticky || kept & 1 == 1);
    let rounded = kept + u64::from(up);
    // `rounded` is at most 2^53 and the power at least 2^-1074: assembled from bits, the carry does what it should.
    let bits = if keep < 53 { rounded } else { (u64::try_from(top + 1022).ok()? << 52) + rounded };
    let value = f64::from_bits(bits);
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<f64> {
        let whole = leading_number(text.as_bytes()).filter(|(_, len)| *len == text.len()).map(|(value, _)| value);
        let line = format!("{text} 7\n");
        let led = leading_number(line.as_bytes()).map(|(value, len)| {
            assert_eq!(len, text.len(), "{text}");
            value
        });
        assert_eq!(whole.map(f64::to_bits), led.map(f64::to_bits), "{text}");
        assert_eq!(whole.map(f64::to_bits), number(text.as_bytes()).map(f64::to_bits), "{text}");
        whole
    }

    #[test]
    fn numbers_read_as_go_reads_them() {
        for (text, value) in [
            ("0", 0.0),
            ("1", 1.0),
            ("-1", -1.0),
            ("+1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("-.5e1", -5.0),
            ("00012", 12.0),
            ("1e3", 1000.0),
            ("1E+3", 1000.0),
            ("1.5e-07", 1.5e-7),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("123456789012345678901234567890", 1.234_567_890_123_456_8e29),
            ("0.1234567890123456789", 0.123_456_789_012_345_68),
            ("1e22", 1e22),
            ("1e23", 1e23),
            ("1.7976931348623157e+308", f64::MAX),
            ("4.9e-324", 5e-324),
            ("1e-400", 0.0),
            ("0x1p-2", 0.25),
            ("0x1.8p1", 3.0),
            ("-0X.8P+1", -1.0),
            ("0x1.fffffffffffff8p0", 2.0),
            ("0x1.fffffffffffff7p0", 1.999_999_999_999_999_8),
            ("0x10000000000000800000000001p0", 1.267_650_600_228_229_7e30),
            ("0x1p-1074", 5e-324),
            ("0x1p-1075", 0.0),
            ("0x1.8p-1075", 5e-324),
            ("0x1p-1076", 0.0),
            ("0x1p-99999999999999999999", 0.0),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x0.0000000001p-1030", 0.0 + f64::from_bits(1 << 4)),
            ("0x0p999999999", 0.0),
            ("Inf", f64::INFINITY),
            ("+inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
        ] {
            assert_eq!(read(text), Some(value), "{text}");
        }
        assert_eq!(read("-0").map(f64::to_bits), Some((-0.0f64).to_bits()));
        for text in ["NaN", "nan", "NAN"] {
            assert_eq!(read(text).map(f64::to_bits), Some(NORMAL_NAN_BITS));
        }
    }

    #[test]
    fn what_go_or_prometheus_refuses_is_no_number() {
        for text in [
            "",
            "-",
            "+",
            ".",
            "e1",
            "1e",
            "1e+",
            "--1",
            "+-1",
            "1_000",
            "0x_1p0",
            "0x1",
            "0x",
            "0xp1",
            "0x1p",
            "0x1p+",
            "0x1.2.3p1",
            "0x1pa",
            "1.2.3",
            "abc",
            "1a",
            "1f",
            "infin",
            "in",
            "+nan",
            "-nan",
            "nan(5)",
            "1e400",
            "-1e309",
            "0x1p1024",
            "0x1.fffffffffffff8p1023",
            "1,5",
            "٣",
            "\r",
            "1\r",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_finite_double_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            for text in [format!("{value}"), format!("{value:e}"), format!("{value:?}")] {
                prop_assert_eq!(read(&text).map(f64::to_bits), Some(bits));
            }
        }

        #[test]
        fn decimals_round_as_the_standard_library_rounds(text in "-?[0-9]{0,25}\\.?[0-9]{0,25}([eE][+-]?[0-9]{1,3})?") {
            let expected = text.parse::<f64>().ok().filter(|v| v.is_finite());
            prop_assert_eq!(read(&text).map(f64::to_bits), expected.map(f64::to_bits));
        }

        #[test]
        fn hexadecimal_forms_of_doubles_are_exact(fraction in 0u64..1 << 52, exponent in -1022i32..=1023) {
            let expected = f64::from_bits((exponent + 1023) as u64) ;
            let expected = f64::from_bits((expected.to_bits() << 52) | fraction);
            prop_assert_eq!(read(&format!("0x1.{fraction:013x}p{exponent}")), Some(expected));
        }

        #[test]
        fn any_bytes_are_a_number_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = leading_number(&bytes);
            let _ = number(&bytes);
        }
    }
}
