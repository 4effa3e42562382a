//! JSON text as Go's encoders write it: `<`, `>` and `&` escaped, whole floats without a fraction.

use std::fmt::Write;

use jmespath::Variable;
use serde_json::Value as Json;

use crate::Value;

/// The text with each `\\uD800` to `\\uDFFF` that is no half of a pair made U+FFFD, as Go reads it: encoders write such a one where
/// they cut a text in the middle of a character. `None`: there is none.
pub(crate) fn without_lone_surrogates(text: &str) -> Option<String> {
    let unit = |at: usize| {
        let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let (mut out, mut from, mut at) = (String::new(), 0, 0);
    while let Some(next) = text.get(at..).and_then(|rest| rest.find('\\')) {
        at += next;
        let half = unit(at);
        let is_pair = matches!(half, Some(0xd800..=0xdbff)) && matches!(unit(at + 6), Some(0xdc00..=0xdfff));
        match half {
            Some(0xd800..=0xdfff) if !is_pair => {
                out.push_str(text.get(from..at)?);
                out.push_str("\\ufffd");
                at += 6;
                from = at;
            }
            Some(_) if is_pair => at += 12,
            Some(_) => at += 6,
            // An escape of one character, a backslash too.
            None => at += 2,
        }
    }
    if from == 0 {
        return None;
    }
    out.push_str(text.get(from..)?);
    Some(out)
}

/// A quoted JSON string.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                // A `String` takes everything.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push_number(out: &mut String, number: &serde_json::Number) {
    let wrote = match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(n), _, _) => write!(out, "{n}"),
        (_, Some(n), _) => write!(out, "{n}"),
        (_, _, Some(f)) if f != 0.0 && (f.abs() < 1e-6 || f.abs() >= 1e21) => {
            // Go's exponents have a sign and two digits at least.
            let text = format!("{f:e}");
            match text.split_once('e') {
                Some((digits, exponent)) => match exponent.strip_prefix('-') {
                    Some(exponent) => write!(out, "{digits}e-{exponent:0>2}"),
                    None => write!(out, "{digits}e+{exponent:0>2}"),
                },
                None => write!(out, "{text}"),
            }
        }
        (_, _, Some(f)) => write!(out, "{f}"),
        _ => write!(out, "{number}"),
    };
    // A `String` takes everything.
    let _ = wrote;
}

fn push_list<T>(
    out: &mut String,
    brackets: (char, char),
    items: impl Iterator<Item = T>,
    mut push: impl FnMut(&mut String, T),
) {
    out.push(brackets.0);
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(',');
        }
        push(out, item);
    }
    out.push(brackets.1);
}

/// A whole value.
pub(crate) fn push_json(out: &mut String, value: &Json) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Json::Number(n) => push_number(out, n),
        Json::String(s) => push_string(out, s),
        Json::Array(items) => push_list(out, ('[', ']'), items.iter(), push_json),
        Json::Object(fields) => push_list(out, ('{', '}'), fields.iter(), |out, (key, value)| {
            push_string(out, key);
            out.push(':');
            push_json(out, value);
        }),
    }
}

fn push_variable(out: &mut String, value: &Variable) {
    match value {
        Variable::Null | Variable::Expref(_) => out.push_str("null"),
        Variable::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Variable::Number(n) => push_number(out, n),
        Variable::String(s) => push_string(out, s),
        Variable::Array(items) => push_list(out, ('[', ']'), items.iter(), |out, item| push_variable(out, item)),
        Variable::Object(fields) => push_list(out, ('{', '}'), fields.iter(), |out, (key, value)| {
            push_string(out, key);
            out.push(':');
            push_variable(out, value);
        }),
    }
}

fn number(n: &serde_json::Number) -> Value {
    match (n.as_i64(), n.as_u64(), n.as_f64()) {
        (Some(n), _, _) => Value::Integer(n),
        (_, Some(n), _) => Value::Unsigned(n),
        (_, _, Some(f)) => Value::Float(f),
        _ => Value::Null,
    }
}

/// What a JSON value is in the extracted map: scalars as they are, the rest as JSON text.
pub(crate) fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => number(n),
        Json::String(s) => Value::text(s),
        composite => {
            let mut text = String::new();
            push_json(&mut text, composite);
            Value::text(&text)
        }
    }
}

/// The same for an answer of JMESPath.
pub(crate) fn variable_to_value(variable: &Variable) -> Value {
    match variable {
        Variable::Null | Variable::Expref(_) => Value::Null,
        Variable::Bool(b) => Value::Bool(*b),
        Variable::Number(n) => number(n),
        Variable::String(s) => Value::text(s),
        composite => {
            let mut text = String::new();
            push_variable(&mut text, composite);
            Value::text(&text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_pairs_are_replaced_and_pairs_stay() {
        let mended = |text: &str| without_lone_surrogates(text);
        assert_eq!(mended(r#"{"a":"x\ud83d"}"#).as_deref(), Some(r#"{"a":"x\ufffd"}"#));
        assert_eq!(
            mended(r#""\udc80\ud83d\ude00\uD83D\ud83d\ude00""#).as_deref(),
            Some(r#""\ufffd\ud83d\ude00\ufffd\ud83d\ude00""#)
        );
        for whole in [r#""\ud83d\ude00""#, r#""\\ud83d""#, r#""\u00e4\n""#, "ä\\", "\\", "\\u", "\\uä123", ""] {
            assert_eq!(mended(whole), None, "{whole}");
        }
    }

    fn print(json: &str) -> String {
        let mut out = String::new();
        push_json(&mut out, &serde_json::from_str(json).unwrap());
        out
    }

    #[test]
    fn text_is_what_go_writes() {
        assert_eq!(print(r#"{"b": [1, 2.50, 3.0], "a": "x<y"}"#), r#"{"a":"x\u003cy","b":[1,2.5,3]}"#);
        assert_eq!(print("[1e-7, 1e21, 1e20, -0.5]"), "[1e-07,1e+21,100000000000000000000,-0.5]");
        assert_eq!(print(r#""a\u0001\n\"\\é""#), r#""a\u0001\n\"\\é""#);
    }
}
