//! Reads the orders of the control API, and says what is wrong with one that cannot be read.
//!
//! Keeps true: the field and what it may hold are named; no secret is quoted (the fields that hold one are read by
//! [`hushed`]).

use http::StatusCode;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use crate::answer::Reply;

/// The page that documents the orders.
const PAGE: &str = "docs/reference/sandbox.md";

/// Reads one order and carries it out.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8], then: impl FnOnce(T) -> Reply) -> Reply {
    match serde_json::from_slice(body) {
        Ok(order) => then(order),
        Err(error) => refuse(&explain(body, &error)),
    }
}

/// The same for an order that may also be a list of them.
pub(crate) fn read_list<T: DeserializeOwned>(body: &[u8], then: impl FnOnce(Vec<T>) -> Reply) -> Reply {
    // Told apart here and not by serde, whose untagged choice forgets what was wrong and where.
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => read(body, then),
        _ => read(body, |one| then(vec![one])),
    }
}

/// The answer to an order that is not understood.
pub(crate) fn refuse(why: &str) -> Reply {
    Reply::text(StatusCode::BAD_REQUEST, format!("the order is not understood: {why}; see {PAGE}\n"))
}

/// The same as a secret.
pub(crate) fn hushed_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<net::Secret>, D::Error> {
    Ok(hushed(deserializer)?.map(net::Secret::new))
}

/// A text that no message may quote.
pub(crate) fn hushed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(serde::de::Error::custom("invalid type: not a string (the value is not shown, it may be a secret)")),
    }
}

pub(crate) fn explain(body: &[u8], error: &serde_json::Error) -> String {
    if body.iter().all(u8::is_ascii_whitespace) {
        return "the body is empty; it must be JSON".to_owned();
    }
    let text = error.to_string();
    let is_about_a_value = text.starts_with("invalid type") || text.starts_with("invalid value");
    match field_before(body, error.line(), error.column()).filter(|_| is_about_a_value) {
        Some(field) => format!("field `{}`: {text}", crate::refusal::shown(&field)),
        None => crate::refusal::shown_long(&text),
    }
}

/// The key of the value that ends at a place (lines and columns count from 1, columns in bytes).
fn field_before(body: &[u8], line: usize, column: usize) -> Option<String> {
    let lines_before = body.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1));
    let end = lines_before.map(<[u8]>::len).sum::<usize>().saturating_add(column);
    let text = String::from_utf8_lossy(body.get(..end.min(body.len()))?).into_owned();
    // Serde may have looked at what follows the value.
    let text = text.strip_suffix(['}', ']', ',']).unwrap_or(&text);
    // The key being read in each object or list that is open.
    let mut open: Vec<Option<&str>> = Vec::new();
    let (mut start, mut is_escaped, mut last) = (None, false, None);
    for (at, c) in text.char_indices() {
        match (start, c) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(from), '"') => {
                last = text.get(from..at);
                start = None;
            }
            (Some(_), _) => {}
            (None, '"') => start = at.checked_add(1),
            (None, ':') => {
                if let Some(key) = open.last_mut() {
                    *key = last.take();
                }
            }
            (None, '{' | '[') => open.push(None),
            (None, '}' | ']') => drop(open.pop()),
            (None, _) => {}
        }
    }
    open.into_iter().rev().flatten().next().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;

    fn why(body: &str) -> String {
        match serde_json::from_slice::<Fault>(body.as_bytes()) {
            Ok(fault) => panic!("{fault:?}"),
            Err(error) => explain(body.as_bytes(), &error),
        }
    }

    #[test]
    fn the_field_and_what_it_may_hold_are_named() {
        for (body, wanted) in [
            (r#"{"sevice": "aps"}"#, "unknown field `sevice`, expected one of `service`"),
            (r#"{"stage": "during"}"#, "unknown variant `during`, expected `before` or `after`"),
            (r#"{"outcome": "drop"}"#, "expected one of `pass`, `answer`, `throttle`, `partial`, `hang`, `close`"),
            (r#"{"times": "two"}"#, "field `times`: invalid type: string"),
            ("{\"times\": 1,\n\"outcome\": {\"answer\": {\"status\": \"x\"}}}", "field `status`: invalid type: string"),
            (r#"{"outcome": {"answer": {}}}"#, "missing field `status`"),
            (r#"{"times": -1}"#, "field `times`: invalid value: integer `-1`, expected u32"),
            (r#"{"service": "a:b\": ", "times": true}"#, "field `times`"),
            (r#"{"access_key_id": {"a": [1]}, "times": 1}"#, "field `access_key_id`"),
            ("{", "EOF while parsing"),
            (" ", "the body is empty"),
        ] {
            let text = why(body);
            assert!(text.contains(wanted), "{body}: {text}");
        }
    }

    #[test]
    fn any_place_in_any_bytes_is_no_panic() {
        let body = "{\"é\\\"\": [\"\u{1f600}\", {\"b\":".as_bytes();
        for column in 0..body.len() + 3 {
            for line in 0..3 {
                let _ = field_before(body, line, column);
            }
        }
        assert_eq!(field_before(b"{\xff\"a\":", 1, 99).as_deref(), Some("a"));
    }
}
