//! Others' words, made fit for a line that a person reads; and lengths of time.
//!
//! Keeps true: nothing here is longer than it was asked to be, and nothing steers a terminal: no control character, and none
//! that turns the direction of text round (U+202E and its like).

use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

/// Shown as its number: a terminal would act on it, or show other text than stands there.
pub(crate) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// One line of at most `most` characters; blanks of all kinds are one blank, what would steer a terminal is `<U+202E>`.
pub(crate) fn printable(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(most) {
        if steers(c) {
            let _ = write!(out, "<U+{:04X}>", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// `40 s`, `12 min`, `5 h`, `3 days`.
pub(crate) fn length(of: Duration) -> String {
    match of.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// UTC to the second.
pub(crate) fn moment(at: SystemTime) -> String {
    match jiff::Timestamp::try_from(at) {
        Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => "a time beyond all calendars".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_as_its_number() {
        assert_eq!(printable("a\u{202e}b \u{1b}[31m\n c", 100), "a<U+202E>b <U+001B>[31m c");
        assert_eq!(printable("abcdef", 3), "abc");
        assert_eq!(printable("grüß dich", 100), "grüß dich");
    }

    #[test]
    fn lengths_are_short() {
        for (seconds, text) in [(40, "40 s"), (600, "10 min"), (10_000, "2 h"), (864_000, "10 days")] {
            assert_eq!(length(Duration::from_secs(seconds)), text);
        }
    }
}
