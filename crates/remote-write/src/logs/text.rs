//! JSON and times, written by hand: one pass over the bytes of a line, no allocation for it.
//!
//! Keeps true: what is written is valid JSON for any text; a time is RFC 3339 in UTC with nine digits of a second.

use model::Labels;

use super::{LogFormat, sheaf::Row};

/// Appends a JSON string with its quotes.
pub(crate) fn put_json_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    put_escaped(out, text);
    out.push(b'"');
}

/// For each byte, whether it stands for itself in a JSON string.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        plain[byte] = false;
        byte += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain
};

/// Appends the inside of a JSON string.
pub(crate) fn put_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at(plain(rest));
        out.extend_from_slice(plain);
        match special.first() {
            Some(b'"') => out.extend_from_slice(b"\\\""),
            Some(b'\\') => out.extend_from_slice(b"\\\\"),
            Some(b'\n') => out.extend_from_slice(b"\\n"),
            Some(b'\r') => out.extend_from_slice(b"\\r"),
            Some(b'\t') => out.extend_from_slice(b"\\t"),
            Some(other) => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&hex_digits(*other));
            }
            None => return,
        }
        rest = special.get(1..).unwrap_or_default();
    }
}

/// How many bytes [`put_escaped`] makes of these.
pub(crate) fn escaped_len(bytes: &[u8]) -> usize {
    let more = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 1,
        0..0x20 => 5,
        _ => 0,
    };
    bytes.len() + bytes.iter().map(more).sum::<usize>()
}

/// How many bytes at the beginning stand for themselves: 32 at a time, which the compiler turns into a few instructions.
fn plain(bytes: &[u8]) -> usize {
    let special = |byte: &u8| u8::from(*byte < 0x20) | u8::from(*byte == b'"') | u8::from(*byte == b'\\');
    let blocks = bytes.chunks_exact(32);
    let plain = blocks.take_while(|block| block.iter().fold(0, |found, byte| found | special(byte)) == 0).count() * 32;
    let rest = bytes.get(plain..).unwrap_or_default();
    plain + rest.iter().position(|byte| !PLAIN[usize::from(*byte)]).unwrap_or(rest.len())
}

fn hex_digits(byte: u8) -> [u8; 2] {
    let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
    [digit(byte >> 4), digit(byte & 15)]
}

/// Appends a decimal number.
pub(crate) fn put_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// `{"a":"b"}`.
pub(crate) fn label_object(labels: &Labels) -> Vec<u8> {
    let mut out = Vec::new();
    put_object(&mut out, labels.iter());
    out
}

fn put_object<'t>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'t str, &'t str)>) {
    out.push(b'{');
    for (index, (name, value)) in pairs.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_json_string(out, name);
        out.push(b':');
        put_json_string(out, value);
    }
    out.push(b'}');
}

/// Writes lines as records or objects hold them.
#[derive(Debug)]
pub(crate) struct LineWriter {
    format: LogFormat,
    /// The second that `prefix` is for.
    second: i64,
    prefix: String,
}

const SECOND: i64 = 1_000_000_000;

impl LineWriter {
    pub(crate) fn new(format: LogFormat) -> Self {
        Self { format, second: i64::MIN, prefix: String::new() }
    }

    /// Whether lines are written as JSON strings.
    pub(crate) fn escapes(&self) -> bool {
        self.format == LogFormat::Json
    }

    /// Appends the line and a line feed.
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, row: &Row<'_>) {
        self.put_text(out, row, row.entry.line);
    }

    /// The same with another text for the line.
    pub(crate) fn put_text(&mut self, out: &mut Vec<u8>, row: &Row<'_>, line: &str) {
        match self.format {
            LogFormat::Text => out.extend_from_slice(line.as_bytes()),
            LogFormat::Json => {
                out.reserve(line.len() + row.head.labels.len() + 80);
                out.extend_from_slice(b"{\"timestamp\":\"");
                self.put_time(out, row.entry.timestamp_ns);
                out.extend_from_slice(b"\",\"line\":\"");
                put_escaped(out, line);
                out.extend_from_slice(b"\",\"labels\":");
                out.extend_from_slice(&row.head.labels);
                let mut metadata = row.entry.metadata().peekable();
                if metadata.peek().is_some() {
                    out.extend_from_slice(b",\"metadata\":");
                    put_object(out, metadata);
                }
                out.push(b'}');
            }
        }
        out.push(b'\n');
    }

    fn put_time(&mut self, out: &mut Vec<u8>, at_ns: i64) {
        let second = at_ns.div_euclid(SECOND);
        if second != self.second {
            self.second = second;
            let time = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            self.prefix = time.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
        }
        out.extend_from_slice(self.prefix.as_bytes());
        let mut nanos = at_ns.rem_euclid(SECOND);
        let mut digits = [b'0'; 9];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (nanos % 10) as u8;
            nanos /= 10;
        }
        out.extend_from_slice(&digits);
        out.push(b'Z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_json_string_that_reads_back() {
        for text in ["", "plain", "a\"b\\c\n\r\t\u{1}\u{1f}\u{7f}é😀", "\u{0}"] {
            let mut out = Vec::new();
            put_json_string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn a_special_byte_is_found_wherever_it_stands() {
        for length in 1..100 {
            for at in 0..length {
                for special in ["\"", "\\", "\u{1f}", "\n"] {
                    let text = format!("{}{special}{}", "x".repeat(at), "é".repeat(length - at));
                    let mut out = Vec::new();
                    put_json_string(&mut out, &text);
                    assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
                }
            }
        }
    }

    #[test]
    fn numbers_and_times_are_written_whole() {
        let mut out = Vec::new();
        for number in [0, 7, 10, u64::MAX] {
            out.clear();
            put_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
        let mut writer = LineWriter::new(LogFormat::Json);
        for (at, text) in [
            (1_700_000_000_000_000_001, "2023-11-14T22:13:20.000000001Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (0, "1970-01-01T00:00:00.000000000Z"),
        ] {
            out.clear();
            writer.put_time(&mut out, at);
            assert_eq!(std::str::from_utf8(&out).unwrap(), text);
        }
    }
}
