//! The translator against Go itself: patterns with what Go's `regexp` answered for them.
//!
//! `go_regexp.jsonl` was written by a small Go program that joins random fragments of the grammar; each line holds a
//! pattern, whether Go accepts it, Go's message if not, and the submatch positions on some inputs.

use relabel::{GoRegex, GoRegexError, go_regex, go_regex_unanchored};

#[derive(serde::Deserialize)]
struct Row {
    p: String,
    ok: bool,
    #[serde(default)]
    err: String,
    #[serde(default, rename = "in")]
    inputs: Vec<String>,
    #[serde(default)]
    want: Vec<Vec<i64>>,
}

fn positions(pattern: &GoRegex, input: &str) -> Vec<i64> {
    let Some(captures) = pattern.regex().captures(input) else {
        return Vec::new();
    };
    captures
        .iter()
        .flat_map(|group| match group {
            Some(m) => [m.start() as i64, m.end() as i64],
            None => [-1, -1],
        })
        .collect()
}

fn reason(message: &str) -> &str {
    message.rsplit_once(": `").map_or(message, |(reason, _)| reason)
}

#[test]
fn go_and_the_translation_agree_on_every_recorded_pattern() {
    let mut wrong = Vec::new();
    let mut accepted = 0;
    for line in include_str!("go_regexp.jsonl").lines() {
        let row: Row = serde_json::from_str(line).unwrap();
        match (GoRegex::unanchored(&row.p), row.ok) {
            (Err(_), true) => wrong.push(format!("{:?}: refused, Go accepts", row.p)),
            (Ok(_), false) => wrong.push(format!("{:?}: accepted, Go says {}", row.p, row.err)),
            (Err(e), false) => {
                // The reason must be Go's; how much of the pattern is quoted after it may differ.
                if reason(&e.to_string()) != reason(&row.err) {
                    wrong.push(format!("{:?}: {e}, Go says {}", row.p, row.err));
                }
            }
            (Ok(pattern), true) => {
                accepted += 1;
                for (input, want) in row.inputs.iter().zip(&row.want) {
                    let got = positions(&pattern, input);
                    if &got != want {
                        wrong.push(format!("{:?} on {input:?}: {got:?}, Go says {want:?}", row.p));
                    }
                }
            }
        }
    }
    assert!(accepted > 100, "the table was not read");
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_known_difference_between_the_dialects_is_bridged() {
    let matches = [
        (r"\d", "٣", false),
        (r"\w", "é", false),
        (r"\s", "\u{a0}", false),
        (r"\s", "\u{b}", false),
        (r"\W", "é", true),
        (r"a{", "a{", true),
        (r"{.*}", "{x}", true),
        (r"a{,2}", "a{,2}", true),
        (r"\Q[x]\E", "[x]", true),
        (r"\101", "A", true),
        (r"\<a", "<a", true),
        (r"[[a]]", "[]", true),
        (r"[[a]]", "a]", true),
        (r"[a-z&&[^b]]", "&]", true),
        (r"[a-z&&[^b]]", "b", false),
        (r"[a~~b]", "~", true),
        (r"(?P<n>a)(?P<n>b)", "ab", true),
        (r"\pN+", "1٣", true),
        (r".", "\n", true),
        (r"a|b", "ab", false),
        (r"foo\z", "foo", true),
        (r"# x", "# x", true),
    ];
    for (pattern, text, want) in matches {
        assert_eq!(go_regex(pattern).unwrap().is_match(text), want, "{pattern} on {text:?}");
    }
    for refused in [
        "a**",
        "a{1001}",
        "(?x)",
        "(?R)",
        "(?-u)",
        r"\u0041",
        "[a--z]",
        r"\Z",
        r"(?=a)",
        "(",
        ")",
        "[",
        "*",
        r"\",
        r"\8",
        r"\p{Alphabetic}",
        r"\p{sc=Greek}",
        "(a{100}){100}",
        "[[:foo:]]",
        "(?P<a-b>x)",
        "(?P=n)",
        r"\C",
        "[b-a]",
    ] {
        assert!(matches!(go_regex(refused), Err(GoRegexError::Syntax { .. })), "{refused} was not refused as syntax");
    }
}

#[test]
fn anchoring_is_textual_as_in_prometheus() {
    assert!(go_regex("a)(?:b").unwrap().is_match("ab"));
    assert_eq!(go_regex(r"\Qa").unwrap_err().to_string(), r"error parsing regexp: missing closing ): `^(?s:\Qa)$`");
}

#[test]
fn an_unanchored_pattern_finds_a_part_and_stops_at_newlines() {
    let pattern = go_regex_unanchored("b.").unwrap();
    assert!(pattern.is_match("abc"));
    assert!(!pattern.is_match("ab\nc"));
}

#[test]
fn an_enormous_program_is_refused_instead_of_built() {
    assert_eq!(go_regex(&"(.{999}x)".repeat(400)).unwrap_err(), GoRegexError::TooLarge);
}

#[test]
fn deep_nesting_is_refused_before_it_can_exhaust_a_stack() {
    let nested = |open: &str, close: &str, depth: usize| format!("{}a{}", open.repeat(depth), close.repeat(depth));
    assert!(go_regex(&nested("(", ")", 90)).unwrap().is_match("a"));
    assert!(go_regex(&nested("(?:b|c(", ")d?)*", 20)).is_ok());
    for (open, close) in [("(", ")"), ("(?:b|c(", ")d?)*"), ("(?:", ")+?"), ("(?i:x|", ")")] {
        for depth in [95, 100, 1100, 100_000] {
            let _ = go_regex(&nested(open, close, depth));
        }
    }
    assert!(matches!(
        go_regex(&nested("(", ")", 1100)),
        Err(GoRegexError::Syntax { what: "expression nests too deeply", .. })
    ));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_translator_panic(pattern in r"[-()\[\]{}^$.*+?|\\a-dswbQEpPxzAiU<>:=,0-9&~\u{e9} ]{0,40}") {
        let _ = GoRegex::anchored(&pattern);
        let _ = GoRegex::unanchored(&pattern);
    }
}
