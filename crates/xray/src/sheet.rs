//! JSON that is itself a text in JSON, as `PutTraceSegments` wants its documents: written once, escaped twice.
//!
//! It knows no document. It keeps true: what is written is what serde_json would have written, and written again as a text.

use base64::Engine;

use crate::{metadata::order, read::Value};

/// Writes at the end of a list of bytes.
#[derive(Debug)]
pub(crate) struct Sheet<'v> {
    text: &'v mut Vec<u8>,
    start: usize,
    /// Bytes that are there for the outer text's sake.
    extra: usize,
}

/// Backslashes of a text that is escaped for the outer JSON already: each is a byte more than the document has.
pub(crate) const fn backslashes(text: &str) -> usize {
    let (mut rest, mut found) = (text.as_bytes(), 0);
    while let [first, more @ ..] = rest {
        if *first == b'\\' {
            found += 1;
        }
        rest = more;
    }
    found
}

/// Writes a literal as it is. It is escaped once: `\"` is a quote of the document.
macro_rules! put {
    ($sheet:expr, $text:expr) => {{
        const EXTRA: usize = $crate::sheet::backslashes($text);
        $sheet.escaped($text.as_bytes(), EXTRA);
    }};
}
pub(crate) use put;

/// Of the low four bits.
#[inline]
const fn digit(value: u8) -> u8 {
    let value = value & 15;
    value + if value < 10 { b'0' } else { b'a' - 10 }
}

/// Two digits for each byte.
#[inline]
pub(crate) fn hexadecimal(bytes: &[u8], to: &mut Vec<u8>) {
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        // Eight times four bits, each moved into a byte of its own.
        let mut digits = u64::from(u32::from_be_bytes(*word));
        digits = (digits | (digits << 16)) & 0x0000_ffff_0000_ffff;
        digits = (digits | (digits << 8)) & 0x00ff_00ff_00ff_00ff;
        digits = (digits | (digits << 4)) & 0x0f0f_0f0f_0f0f_0f0f;
        // One in each that is a letter.
        let letters = ((digits + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
        digits += 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10);
        to.extend_from_slice(&digits.to_be_bytes());
    }
    to.extend(rest.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]));
}

/// The two digits of a number below 100.
#[inline]
fn two(number: u64) -> [u8; 2] {
    const PAIRS: [[u8; 2]; 100] = pairs();
    usize::try_from(number).ok().and_then(|number| PAIRS.get(number)).copied().unwrap_or_default()
}

#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation)] // while it is compiled
const fn pairs() -> [[u8; 2]; 100] {
    let mut pairs = [[0; 2]; 100];
    let mut at = 0;
    while at < 100 {
        pairs[at] = [b'0' + (at / 10) as u8, b'0' + (at % 10) as u8];
        at += 1;
    }
    pairs
}

/// Whether a byte of a text is written otherwise.
#[inline]
const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether nothing in a text is written otherwise.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    // Without a branch for each byte the compiler looks at all of a block at once.
    fn block<const N: usize>(block: &[u8; N]) -> bool {
        !block.iter().fold(false, |found, byte| found | is_escaped(*byte))
    }
    let (blocks, rest) = text.as_chunks::<16>();
    // The last block overlaps the one before.
    let end = match (rest, text.last_chunk::<16>(), text.first_chunk::<8>(), text.last_chunk::<8>()) {
        ([], ..) => true,
        (_, Some(last), ..) => block(last),
        (_, None, Some(first), Some(last)) => block(first) & block(last),
        _ => !rest.iter().any(|byte| is_escaped(*byte)),
    };
    end && blocks.iter().all(block)
}

impl<'v> Sheet<'v> {
    pub(crate) fn at_end_of(text: &'v mut Vec<u8>) -> Self {
        let start = text.len();
        Self { text, start, extra: 0 }
    }

    /// Bytes of the document so far, as it is without the outer text.
    pub(crate) fn len(&self) -> usize {
        self.text.len() - self.start - self.extra
    }

    /// Takes all of it back.
    pub(crate) fn clear(&mut self) {
        self.text.truncate(self.start);
        self.extra = 0;
    }

    /// What was written and its `extra` bytes, to be written again elsewhere.
    pub(crate) fn extra(&self) -> usize {
        self.extra
    }

    /// What is escaped already, with so many bytes for the outer text's sake.
    #[inline]
    pub(crate) fn escaped(&mut self, text: &[u8], extra: usize) {
        self.text.extend_from_slice(text);
        self.extra += extra;
    }

    /// A piece of JSON.
    fn json(&mut self, json: &str) {
        for byte in json.bytes() {
            if matches!(byte, b'"' | b'\\') {
                self.text.push(b'\\');
                self.extra += 1;
            }
            self.text.push(byte);
        }
    }

    /// A text with its quotes.
    pub(crate) fn text(&mut self, text: &str) {
        put!(self, r#"\""#);
        self.within_quotes(text);
        put!(self, r#"\""#);
    }

    /// Part of a text.
    #[inline]
    pub(crate) fn within_quotes(&mut self, text: &str) {
        if is_plain(text.as_bytes()) {
            self.text.extend_from_slice(text.as_bytes());
        } else {
            self.with_escapes(text.as_bytes());
        }
    }

    #[cold]
    fn with_escapes(&mut self, text: &[u8]) {
        for part in text.split_inclusive(|byte| is_escaped(*byte)) {
            let Some((last, plain)) = part.split_last().filter(|(last, _)| is_escaped(**last)) else {
                self.text.extend_from_slice(part);
                continue;
            };
            self.text.extend_from_slice(plain);
            match last {
                b'"' => self.escaped(br#"\\\""#, 2),
                b'\\' => self.escaped(br"\\\\", 2),
                b'\n' => self.escaped(br"\\n", 1),
                b'\r' => self.escaped(br"\\r", 1),
                b'\t' => self.escaped(br"\\t", 1),
                0x08 => self.escaped(br"\\b", 1),
                0x0c => self.escaped(br"\\f", 1),
                other => {
                    self.escaped(br"\\u00", 1);
                    self.text.extend([digit(other >> 4), digit(*other)]);
                }
            }
        }
    }

    /// Two digits for each byte, without quotes.
    #[inline]
    pub(crate) fn hexadecimal(&mut self, bytes: &[u8]) {
        hexadecimal(bytes, self.text);
    }

    pub(crate) fn bool(&mut self, claim: bool) {
        self.text.extend_from_slice(if claim { b"true" } else { b"false" });
    }

    pub(crate) fn int(&mut self, number: i64) {
        if number < 0 {
            self.text.push(b'-');
        }
        self.whole(number.unsigned_abs());
    }

    fn whole(&mut self, mut number: u64) {
        // As many as the largest has.
        let mut digits = [0; 20];
        let mut used = 0;
        for pair in digits.as_chunks_mut::<2>().0.iter_mut().rev() {
            *pair = two(number % 100);
            used += 2;
            number /= 100;
            if number == 0 {
                used -= usize::from(pair[0] == b'0');
                break;
            }
        }
        self.text.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
    }

    /// A finite number.
    pub(crate) fn double(&mut self, number: f64) {
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut *self.text, &number);
    }

    /// Seconds since the Unix epoch, to the microsecond: what a double holds of today's times, and what X-Ray asks for.
    pub(crate) fn seconds(&mut self, nanoseconds: u64) {
        const SECOND: u64 = 1_000_000;
        let micros = nanoseconds / 1000;
        // Between these two a double's neighbours are less than a microsecond apart, so that the shortest text that reads as
        // the double is the number itself without its last zeros; and it is written without an exponent.
        if !(SECOND..(1 << 32) * SECOND).contains(&micros) {
            return self.double(micros as f64 / 1e6);
        }
        self.whole(micros / SECOND);
        let part = micros % SECOND;
        let ([a, b], [c, d], [e, f]) = (two(part / 10_000), two(part / 100 % 100), two(part % 100));
        let digits = [b'.', a, b, c, d, e, f];
        // A whole number keeps one.
        let zeros = digits.iter().skip(2).rev().take_while(|digit| **digit == b'0').count();
        self.text.extend_from_slice(digits.get(..digits.len() - zeros).unwrap_or_default());
    }

    /// An object of fields that are written each with a comma before it.
    #[inline]
    pub(crate) fn object(&mut self, fields: impl FnOnce(&mut Self)) {
        self.between(b'{', b'}', fields);
    }

    #[inline]
    pub(crate) fn list<T>(&mut self, items: impl IntoIterator<Item = T>, each: impl Fn(T, &mut Self)) {
        self.between(b'[', b']', |sheet| {
            for item in items {
                put!(sheet, ",");
                each(item, sheet);
            }
        });
    }

    #[inline]
    fn between(&mut self, open: u8, close: u8, write: impl FnOnce(&mut Self)) {
        let at = self.text.len();
        write(self);
        match self.text.get_mut(at) {
            // The first comma.
            Some(first) => *first = open,
            None => self.text.push(open),
        }
        self.text.push(close);
    }

    /// A value as plain JSON: bytes as base64, numbers that JSON has no word for as text; maps by their keys.
    pub(crate) fn value(&mut self, value: &Value<'_>) {
        match *value {
            Value::Text(text) => self.text(text),
            Value::Bool(claim) => self.bool(claim),
            Value::Int(number) => self.int(number),
            Value::Double(number) if number.is_finite() => self.double(number),
            Value::Double(number) => self.text(&number.to_string()),
            Value::Bytes(bytes) => self.text(&base64::engine::general_purpose::STANDARD.encode(bytes)),
            Value::Array(list) => self.list(list.values(), |value, sheet| sheet.or_null(value.as_ref())),
            Value::Map(list) => {
                let mut pairs: Vec<_> = list.pairs().collect();
                order(&mut pairs);
                self.object(|sheet| {
                    for (key, value) in &pairs {
                        put!(sheet, ",");
                        sheet.text(key);
                        put!(sheet, ":");
                        sheet.or_null(value.as_ref());
                    }
                });
            }
        }
    }

    fn or_null(&mut self, value: Option<&Value<'_>>) {
        match value {
            Some(value) => self.value(value),
            None => put!(self, "null"),
        }
    }

    /// JSON that came as such.
    pub(crate) fn other(&mut self, json: &serde_json::Value) {
        self.json(&json.to_string());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a sheet has written, read as the text that it is, and whether it knows how long that is.
    fn inner(write: impl FnOnce(&mut Sheet<'_>)) -> String {
        let mut text = b"\"".to_vec();
        let mut sheet = Sheet::at_end_of(&mut text);
        write(&mut sheet);
        let len = sheet.len();
        text.push(b'"');
        let inner: String = serde_json::from_slice(&text).unwrap();
        assert_eq!(inner.len(), len, "{inner}");
        assert_eq!(serde_json::to_vec(&inner).unwrap(), text, "escaped as serde_json does");
        inner
    }

    proptest! {
        #[test]
        fn texts_and_numbers_are_written_as_serde_json_does(text in "(\\PC|[\u{0}-\u{ff}]){0,60}", int: i64, double: f64) {
            prop_assert_eq!(inner(|sheet| sheet.text(&text)), serde_json::to_string(&text).unwrap());
            prop_assert_eq!(inner(|sheet| sheet.int(int)), int.to_string());
            if double.is_finite() {
                prop_assert_eq!(inner(|sheet| sheet.double(double)), serde_json::to_string(&double).unwrap());
            }
            let json = serde_json::json!({ "a": text });
            prop_assert_eq!(inner(|sheet| sheet.other(&json)), json.to_string());
        }

        #[test]
        fn times_are_written_as_doubles(nanoseconds in prop_oneof![
            any::<u64>(),
            0..5_000_000_000u64,
            1_700_000_000_000_000_000..1_900_000_000_000_000_000u64,
            // Whole seconds, milliseconds.
            (0..5_000_000_000u64).prop_map(|seconds| seconds.saturating_mul(1_000_000_000)),
            (0..5_000_000_000_000u64).prop_map(|millis| millis.saturating_mul(1_000_000)),
            4_290_000_000_000_000_000..4_300_000_000_000_000_000u64,
        ]) {
            let double = (nanoseconds / 1000) as f64 / 1e6;
            prop_assert_eq!(inner(|sheet| sheet.seconds(nanoseconds)), serde_json::to_string(&double).unwrap());
        }
    }

    #[test]
    fn the_ends_of_numbers_are_written_whole() {
        for number in [0, 1, -1, 9, 10, i64::MAX, i64::MIN] {
            assert_eq!(inner(|sheet| sheet.int(number)), number.to_string());
        }
        let bytes: Vec<u8> = (0..=255).collect();
        for few in bytes.chunks(7) {
            assert_eq!(inner(|sheet| sheet.hexadecimal(few)), hex::encode(few));
        }
    }
}
