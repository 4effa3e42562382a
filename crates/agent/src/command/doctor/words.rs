//! Small texts for people: durations, times, clocks, cut and masked words.
//!
//! Keeps true: nothing here is longer than it was asked to be.

use std::time::{Duration, SystemTime};

/// At most `most` characters; what is cut is shown by dots, behind a whole word where one ends near.
pub fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(3)).collect();
    let at_word = kept.rsplit_once(' ').map(|(whole, _)| whole).filter(|whole| whole.len() + 40 > kept.len());
    format!("{}...", at_word.unwrap_or(&kept))
}

/// `3 days`, `2 h 5 min`, `40 s`.
pub fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// UTC to the second.
pub fn time(at: SystemTime) -> String {
    match jiff::Timestamp::try_from(at) {
        Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => "a time beyond all calendars".to_owned(),
    }
}

/// `in 58 min (2026-...)`, `12 min ago (...)`, as seen at `now`.
pub fn when(at: SystemTime, now: SystemTime) -> String {
    match at.duration_since(now) {
        Ok(left) => format!("in {} ({})", duration(left), time(at)),
        Err(past) => format!("{} ago ({})", duration(past.duration()), time(at)),
    }
}

/// This machine's time, moved by what the far end's clock differs: what AWS judges ends by.
pub fn far_now(offset_ms: Option<i64>) -> SystemTime {
    let (now, offset) = (SystemTime::now(), offset_ms.unwrap_or(0));
    let length = Duration::from_millis(offset.unsigned_abs());
    let moved = if offset < 0 { now.checked_sub(length) } else { now.checked_add(length) };
    moved.unwrap_or(now)
}

/// The far end's clock minus ours, in words: `600 s behind`.
pub fn offset(milliseconds: i64) -> String {
    let length = duration(Duration::from_millis(milliseconds.unsigned_abs()));
    match milliseconds {
        // Dates on the wire are whole seconds.
        -1999..=1999 => "right".to_owned(),
        2000.. => format!("{length} behind"),
        _ => format!("{length} ahead"),
    }
}

/// How the answer's `Date` stands to this machine's time, of the same offset: `the answer's Date is 600 s later`.
pub fn by_date(milliseconds: i64) -> String {
    let seconds = milliseconds.unsigned_abs() / 1000;
    match milliseconds {
        -1999..=1999 => "by the answer's Date".to_owned(),
        2000.. => format!("the answer's Date is {seconds} s later"),
        _ => format!("the answer's Date is {seconds} s earlier"),
    }
}

/// The role's name in its ARN.
pub fn role_name(arn: &str) -> String {
    arn.rsplit('/').next().unwrap_or(arn).to_owned()
}

/// Who a policy is attached to: the role of an assumed-role ARN, else the ARN itself.
pub fn principal(arn: &str) -> String {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts.as_slice() {
        [_, partition, "sts", _, account, resource] if resource.starts_with("assumed-role/") => {
            let role = resource.split('/').nth(1).unwrap_or_default();
            format!("arn:{partition}:iam::{account}:role/{role}")
        }
        _ => arn.to_owned(),
    }
}

/// A terminal would act on it, or show other text than stands there: controls, and what turns the direction of text round.
fn steers(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The text with what steers a terminal shown by `spelling`. What comes from outside is in every text of a report.
pub fn plain(text: &str, spelling: fn(char) -> String) -> String {
    if !text.chars().any(steers) {
        return text.to_owned();
    }
    text.chars().map(|c| if steers(c) { spelling(c) } else { c.to_string() }).collect()
}

/// `<U+202E>`.
pub fn as_name(c: char) -> String {
    format!("<U+{:04X}>", u32::from(c))
}

/// `\u202e`, which is the same character inside a JSON string, where alone it can stand.
pub fn as_json(c: char) -> String {
    format!("\\u{:04x}", u32::from(c))
}

/// One line without what may hold a token: AWS quotes the request as signed after these words.
pub fn said(text: &str) -> String {
    said_in(text, 400)
}

/// The same for words that end in what to do.
pub fn said_at_length(text: &str) -> String {
    said_in(text, 1200)
}

fn said_in(text: &str, most: usize) -> String {
    let lower = text.to_ascii_lowercase();
    let marks = ["the canonical string", "canonical string for", "the string-to-sign", "x-amz-security-token"];
    let end = marks.iter().filter_map(|mark| lower.find(mark)).min().unwrap_or(text.len());
    let kept = text.get(..text.floor_char_boundary(end)).unwrap_or_default();
    let line = kept.split_whitespace().collect::<Vec<_>>().join(" ");
    short(&plain(&line, as_name), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_said_from_this_machines_view() {
        assert_eq!(offset(600_000), "10 min behind");
        assert_eq!(offset(-90_000), "90 s ahead");
        assert_eq!(offset(1500), "right");
        assert_eq!(by_date(600_000), "the answer's Date is 600 s later");
        assert_eq!(by_date(-90_000), "the answer's Date is 90 s earlier");
    }

    #[test]
    fn a_session_belongs_to_its_role() {
        assert_eq!(
            principal("arn:aws:sts::123456789012:assumed-role/writer/s-1"),
            "arn:aws:iam::123456789012:role/writer"
        );
        assert_eq!(principal("arn:aws:iam::1:user/u"), "arn:aws:iam::1:user/u");
        assert_eq!(role_name("arn:aws:iam::1:role/path/writer"), "writer");
    }

    #[test]
    fn a_quoted_request_is_not_repeated() {
        let text =
            said("It does not match.\n\nThe Canonical String for this request was 'x-amz-security-token:SECRET'");
        assert_eq!(text, "It does not match.");
        assert!(!said("x-amz-security-token:SECRET").contains("SECRET"));
    }

    #[test]
    fn what_is_too_long_ends_behind_a_word() {
        assert_eq!(short("one two three", 12), "one two...");
        assert_eq!(short(&"x".repeat(50), 10), "xxxxxxx...");
        assert_eq!(short("one two", 7), "one two");
    }

    #[test]
    fn what_steers_a_terminal_is_spelt_out() {
        assert_eq!(said("a\u{202e}b\u{1b}[31mc"), "a<U+202E>b<U+001B>[31mc");
        let json = serde_json::json!({"said": "a\u{202e}b"});
        let text = plain(&format!("{json:#}\n"), as_json);
        assert!(
            text.contains("a\\u202eb") && serde_json::from_str::<serde_json::Value>(&text).unwrap() == json,
            "{text}"
        );
    }

    #[test]
    fn durations_are_short() {
        for (seconds, text) in [(5, "5 s"), (600, "10 min"), (7500, "2 h 5 min"), (864_000, "10 days")] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
