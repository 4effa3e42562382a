//! Where and why an exposition is malformed.

use std::fmt;

/// Text of the offending line that is shown, in characters.
const SHOWN: usize = 80;

/// A fault as the scanner sees it: cheap to make and to throw away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Offset in the body.
    pub at: usize,
    pub reason: &'static str,
}

impl Fault {
    pub(crate) fn new(at: usize, reason: &'static str) -> Self {
        Self { at, reason }
    }

    pub(crate) fn explain(self, body: &[u8]) -> ParseError {
        let at = self.at.min(body.len());
        let (before, after) = body.split_at_checked(at).unwrap_or((body, &[]));
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        let start = memchr::memrchr(b'\n', before).map_or(0, |found| found + 1);
        let end = at + memchr::memchr(b'\n', after).unwrap_or(after.len());
        // Of a long line, what surrounds the fault.
        let from = if at - start > SHOWN { at - SHOWN / 2 } else { start };
        let text = body.get(from..end.min(from.saturating_add(4 * SHOWN))).unwrap_or_default();
        let text = String::from_utf8_lossy(text);
        let mut shown: String = text.chars().take(SHOWN).map(visible).collect();
        if from > start {
            shown.insert_str(0, "...");
        }
        if text.chars().count() > SHOWN {
            shown.push_str("...");
        }
        ParseError { line, reason: self.reason, text: shown }
    }
}

/// Control characters become visible; quotes and letters of any script stay as they are.
fn visible(character: char) -> String {
    if character.is_control() { character.escape_debug().to_string() } else { character.to_string() }
}

/// A malformed exposition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// What is wrong, in lower case.
    pub reason: &'static str,
    /// The line, cut to about 80 characters around the fault, control characters escaped.
    pub text: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)?;
        // Behind the last line there is nothing to show.
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

impl std::error::Error for ParseError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_its_line_and_shows_its_text() {
        let body = b"a 1\nb \tx\x07 \"\nc 3\n";
        let error = Fault::new(6, "not a number").explain(body);
        assert_eq!(error.to_string(), "line 2: not a number: b \\tx\\u{7} \"");
    }

    #[test]
    fn a_fault_behind_the_last_line_shows_no_text() {
        let body = b"a 1\n";
        let error = Fault::new(4, "the body does not end with # EOF").explain(body);
        assert_eq!(error.to_string(), "line 2: the body does not end with # EOF");
    }

    #[test]
    fn a_long_line_is_cut_around_the_fault() {
        let body = [b"a".repeat(500), b"!".to_vec(), b"b".repeat(500)].concat();
        let error = Fault::new(500, "r").explain(&body);
        assert!(error.text.contains('!') && error.text.starts_with("...") && error.text.ends_with("..."));
        assert!(error.text.len() <= SHOWN + 6);
        assert_eq!(Fault::new(5000, "r").explain(&body).line, 1);
    }
}
