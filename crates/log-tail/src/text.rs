//! Encodings: where a line ends, and what its bytes say.
//!
//! Lines are found in the bytes as stored, so positions stay positions in the file. Bytes that say nothing in their
//! encoding become U+FFFD: a bad line never stops a file.

use encoding_rs::{CoderResult, Encoding, UTF_16BE, UTF_16LE};

use crate::TailError;

/// How a job's files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Charset {
    /// UTF-8, or any bytes: the queue replaces what is not.
    #[default]
    Utf8,
    /// One in which the byte 0x0A is nothing but the end of a line.
    Bytes(&'static Encoding),
    Utf16Le,
    Utf16Be,
    /// UTF-16 whose first two bytes say which; big endian if they do not (RFC 2781).
    Utf16,
}

impl Charset {
    /// By IANA name, in any case; empty is UTF-8. `iso-8859-1` is read as windows-1252, as everybody does.
    pub fn from_name(name: &str) -> Result<Self, TailError> {
        let unknown = || TailError::Encoding { name: name.to_owned() };
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "utf-8" | "utf8" | "csutf8" | "us-ascii" | "ascii" | "nop" => Ok(Self::Utf8),
            "utf-16" | "utf16" | "csutf16" => Ok(Self::Utf16),
            "utf-16le" | "utf16le" | "csutf16le" => Ok(Self::Utf16Le),
            "utf-16be" | "utf16be" | "csutf16be" => Ok(Self::Utf16Be),
            other => {
                let found = Encoding::for_label(other.as_bytes()).ok_or_else(unknown)?;
                if found == encoding_rs::UTF_8 { Ok(Self::Utf8) } else { Ok(Self::Bytes(found)) }
            }
        }
    }

    /// The charset of a file that begins with `head`.
    pub(crate) fn settled(self, head: &[u8]) -> Self {
        match (self, head) {
            (Self::Utf16, [0xff, 0xfe, ..]) => Self::Utf16Le,
            (Self::Utf16, _) => Self::Utf16Be,
            (known, _) => known,
        }
    }

    /// Bytes of the smallest unit; positions are multiples of it.
    pub(crate) fn unit(self) -> usize {
        match self {
            Self::Utf8 | Self::Bytes(_) => 1,
            Self::Utf16Le | Self::Utf16Be | Self::Utf16 => 2,
        }
    }

    /// Length of the first line with its end, if it has one. `data` begins at a unit.
    pub(crate) fn line_end(self, data: &[u8]) -> Option<usize> {
        if self.unit() == 1 {
            return memchr::memchr(b'\n', data).map(|at| at + 1);
        }
        let newline: [u8; 2] = if self == Self::Utf16Le { [b'\n', 0] } else { [0, b'\n'] };
        data.chunks_exact(2).position(|unit| unit == newline).map(|at| (at + 1) * 2)
    }

    /// Decodes one line into `out`, replacing what is there. For [`Utf8`](Self::Utf8) there is nothing to do.
    pub(crate) fn decode(self, line: &[u8], out: &mut Vec<u8>) {
        let (encoding, line) = match self {
            Self::Utf8 => return,
            Self::Bytes(encoding) => (encoding, line),
            Self::Utf16Le => (UTF_16LE, line.strip_prefix(&[0xff, 0xfe]).unwrap_or(line)),
            Self::Utf16Be | Self::Utf16 => (UTF_16BE, line.strip_prefix(&[0xfe, 0xff]).unwrap_or(line)),
        };
        let mut decoder = encoding.new_decoder_without_bom_handling();
        let room = decoder.max_utf8_buffer_length(line.len()).unwrap_or(line.len().saturating_mul(3));
        out.clear();
        out.resize(room, 0);
        let (result, _, written, _) = decoder.decode_to_utf8(line, out, true);
        debug_assert_eq!(result, CoderResult::InputEmpty);
        out.truncate(written);
    }

    /// The first lines of a file that begins with `head`, decoded, without their ends; what follows the last end too.
    pub fn first_lines(self, head: &[u8], most: usize) -> Vec<String> {
        let charset = self.settled(head);
        let (mut rest, mut lines, mut decoded) = (head, Vec::new(), Vec::new());
        while lines.len() < most && !rest.is_empty() {
            let end = charset.line_end(rest);
            let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
            let line = line.get(..line.len() - end.map_or(0, |_| charset.unit())).unwrap_or(line);
            charset.decode(line, &mut decoded);
            let bytes = if charset == Self::Utf8 { line } else { &decoded };
            lines.push(String::from_utf8_lossy(bytes).into_owned());
            rest = after;
        }
        lines
    }

    /// Where to cut a line that is too long for one piece: at most `limit`, not inside a character if that can be seen.
    pub(crate) fn cut(self, data: &[u8], limit: usize) -> usize {
        let limit = limit.min(data.len());
        match self {
            Self::Utf8 => {
                let continues = |at: usize| data.get(at).is_some_and(|b| b & 0xc0 == 0x80);
                (limit.saturating_sub(3)..=limit).rev().find(|at| !continues(*at)).filter(|at| *at > 0).unwrap_or(limit)
            }
            Self::Bytes(_) => limit,
            Self::Utf16Le | Self::Utf16Be | Self::Utf16 => (limit & !1).max(2.min(limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(charset: Charset, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        charset.decode(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_first_lines_of_a_file_come_as_text() {
        let utf16: Vec<u8> = "\u{feff}eins\nzw\u{f6}lf\nrest".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(Charset::Utf16.first_lines(&utf16, 9), ["eins", "zw\u{f6}lf", "rest"]);
        let latin = Charset::from_name("iso-8859-1").unwrap();
        assert_eq!(latin.first_lines(b"gr\xfcn\nblau\n", 1), ["gr\u{fc}n"]);
        assert_eq!(Charset::Utf8.first_lines(b"a\n\nb", 9), ["a", "", "b"]);
    }

    #[test]
    fn names_are_known_in_any_case_and_unknown_ones_are_refused() {
        assert_eq!(Charset::from_name("UTF-8").unwrap(), Charset::Utf8);
        assert_eq!(Charset::from_name("").unwrap(), Charset::Utf8);
        assert_eq!(Charset::from_name("utf-16LE").unwrap(), Charset::Utf16Le);
        assert!(matches!(Charset::from_name("Shift_JIS").unwrap(), Charset::Bytes(_)));
        assert!(matches!(Charset::from_name("ISO-8859-1").unwrap(), Charset::Bytes(_)));
        assert!(Charset::from_name("klingon").is_err());
    }

    #[test]
    fn utf16_lines_end_at_units_and_lose_their_mark() {
        // U+0A00 and U+010A hold the byte 0x0A without being line ends.
        let bytes: Vec<u8> = "\u{feff}a\u{0a00}\u{010a}b\nc".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let charset = Charset::Utf16.settled(&bytes);
        assert_eq!(charset, Charset::Utf16Le);
        let end = charset.line_end(&bytes).unwrap();
        assert_eq!(decoded(charset, &bytes[..end - 2]), "a\u{0a00}\u{010a}b");
        assert_eq!(charset.line_end(&bytes[end..]), None);
    }

    #[test]
    fn old_encodings_and_broken_bytes_become_text() {
        assert_eq!(decoded(Charset::from_name("iso-8859-1").unwrap(), b"caf\xe9"), "café");
        assert_eq!(decoded(Charset::from_name("shift_jis").unwrap(), b"\x83\x65\xff"), "テ\u{fffd}");
    }

    #[test]
    fn a_cut_keeps_characters_whole() {
        let text = "aé".repeat(10);
        for limit in 2..text.len() {
            let at = Charset::Utf8.cut(text.as_bytes(), limit);
            assert!(at > 0 && at <= limit && text.is_char_boundary(at), "{limit}");
        }
        assert_eq!(Charset::Utf8.cut(&[0x80; 10], 5), 5);
    }
}
