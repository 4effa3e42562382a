//! Small texts for people: durations, times, clocks, cut and masked words.
//!
//! Keeps true: nothing here is longer than it was asked to be.

use std::time::{Duration, SystemTime};

/// At most `most` characters; what is cut is shown by dots.
pub fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(3)).collect();
    format!("{kept}...")
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

/// `in 58 min (2026-...)`, `12 min ago (...)`.
pub fn when(at: SystemTime) -> String {
    match at.duration_since(SystemTime::now()) {
        Ok(left) => format!("in {} ({})", duration(left), time(at)),
        Err(past) => format!("{} ago ({})", duration(past.duration()), time(at)),
    }
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

/// One line without what may hold a token: AWS quotes the request as signed after these words.
pub fn said(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let marks = ["the canonical string", "canonical string for", "the string-to-sign", "x-amz-security-token"];
    let end = marks.iter().filter_map(|mark| lower.find(mark)).min().unwrap_or(text.len());
    let kept = text.get(..text.floor_char_boundary(end)).unwrap_or_default();
    let line = kept.split_whitespace().collect::<Vec<_>>().join(" ");
    short(&line.chars().filter(|c| !c.is_control()).collect::<String>(), 400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_said_from_this_machines_view() {
        assert_eq!(offset(600_000), "10 min behind");
        assert_eq!(offset(-90_000), "90 s ahead");
        assert_eq!(offset(1500), "right");
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
    fn durations_are_short() {
        for (seconds, text) in [(5, "5 s"), (600, "10 min"), (7500, "2 h 5 min"), (864_000, "10 days")] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
