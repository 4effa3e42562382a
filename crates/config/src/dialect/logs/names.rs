//! The names that AWS gives log groups and streams: what can be none is told when the file is read.
//!
//! Asks nobody. Keeps true: only what is written is judged, never what a label will bring, which is cleaned when it comes.

/// What a name may hold, by its key.
struct Rule {
    key: &'static str,
    longest: usize,
    allows: fn(char) -> bool,
    /// Completes `may hold `.
    holds: &'static str,
    example: &'static str,
}

/// From the API references of CloudWatch Logs (`CreateLogGroup`, `CreateLogStream`), Firehose and Kinesis (`CreateDeliveryStream`,
/// `CreateStream`).
const RULES: &[Rule] = &[
    Rule {
        key: "log_group",
        longest: 512,
        allows: |c| c.is_ascii_alphanumeric() || "._-/#".contains(c),
        holds: "letters, digits and . _ - / #",
        example: "such as `log_group: /sigpost/{job}`",
    },
    Rule {
        key: "log_stream",
        longest: 512,
        allows: |c| c != ':' && c != '*' && !c.is_control(),
        holds: "everything but : and *",
        example: "such as `log_stream: \"{hostname}{filename}\"`",
    },
    Rule {
        key: "delivery_stream",
        longest: 64,
        allows: of_streams,
        holds: "letters, digits and . _ - (the name, not the ARN)",
        example: "such as `delivery_stream: agent-logs`",
    },
    Rule {
        key: "stream_name",
        longest: 128,
        allows: of_streams,
        holds: "letters, digits and . _ - (the name, not the ARN)",
        example: "such as `stream_name: agent-logs`",
    },
];

fn of_streams(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

fn rule(key: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.key == key)
}

/// Why `text` can be no name of this kind; parts in braces are not looked at.
pub(super) fn fault(key: &str, text: &str) -> Option<String> {
    let rule = rule(key)?;
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        literal.push_str(before);
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    literal.push_str(rest);
    if literal.len() > rule.longest {
        return Some(format!("a name has at most {} characters", rule.longest));
    }
    let mut wrong: Vec<char> = literal.chars().filter(|c| !(rule.allows)(*c)).collect();
    wrong.sort_unstable();
    wrong.dedup();
    if !wrong.is_empty() {
        let shown: Vec<String> = wrong.iter().take(8).map(|c| format!("{c:?}")).collect();
        return Some(format!("AWS allows no {} in it; it may hold {}", shown.join(" "), rule.holds));
    }
    (key == "log_group" && literal.starts_with("aws/"))
        .then(|| "names that begin with aws/ are AWS's own; write /aws/ or another beginning".to_owned())
}

/// A name of this kind.
pub(super) fn example(key: &str) -> &'static str {
    rule(key).map_or("", |rule| rule.example)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_aws_would_refuse_is_told_and_labels_are_left_alone() {
        for (key, text, words) in [
            ("log_group", "/a b?*", "no ' ' '*' '?' in it"),
            ("log_group", "aws/mine", "begin with aws/"),
            ("log_group", "straße", "'ß'"),
            ("log_stream", "a:b", "':'"),
            ("log_stream", "{host}/*", "'*'"),
            ("delivery_stream", "arn:aws:firehose:us-east-1:1:deliverystream/x", "not the ARN"),
            ("stream_name", "a/b", "'/'"),
        ] {
            let told = fault(key, text).unwrap_or_default();
            assert!(told.contains(words), "{key} {text}: {told}");
        }
        assert!(fault("delivery_stream", &"x".repeat(65)).is_some_and(|told| told.contains("64")));
        for (key, text) in [
            ("log_group", "/sigpost/{job}-{year}#1"),
            ("log_group", "/aws/lambda/x"),
            ("log_stream", "{hostname}{filename} [$LATEST]"),
            ("stream_name", "a.b_c-1"),
            ("prefix", "a b*"),
        ] {
            assert_eq!(fault(key, text), None, "{key} {text}");
        }
    }
}
