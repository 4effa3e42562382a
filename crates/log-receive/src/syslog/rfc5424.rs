//! RFC 5424: `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`.

use super::message::{SyslogMessage, priority};

/// Parameters of structured data kept of one message.
const MOST_PARAMETERS: usize = 256;

/// Reads a message; `None` if it is not in this form.
pub(super) fn parse(text: &str) -> Option<SyslogMessage<'_>> {
    let (priority, rest) = priority(text)?;
    let (version, rest) = rest.split_once(' ')?;
    let is_version =
        (1..=3).contains(&version.len()) && version.bytes().all(|b| b.is_ascii_digit()) && !version.starts_with('0');
    if !is_version {
        return None;
    }
    let (time, rest) = rest.split_once(' ')?;
    let timestamp_ns = match time {
        "-" => None,
        time => Some(nanoseconds(time)?),
    };
    let (hostname, rest) = field(rest, 255)?;
    let (app_name, rest) = field(rest, 48)?;
    let (proc_id, rest) = field(rest, 128)?;
    let (msg_id, rest) = field(rest, 32)?;
    let (structured, rest) = structured(rest)?;
    let text = match rest {
        "" => "",
        rest => rest.strip_prefix(' ')?,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Some(SyslogMessage { priority, timestamp_ns, hostname, app_name, proc_id, msg_id, structured, text })
}

/// Printable ASCII without spaces; `-` for nothing.
fn field(text: &str, longest: usize) -> Option<(&str, &str)> {
    let (value, rest) = text.split_once(' ')?;
    let is_field = !value.is_empty() && value.len() <= longest && value.bytes().all(|b| (33..=126).contains(&b));
    is_field.then_some((if value == "-" { "" } else { value }, rest))
}

/// RFC 3339 with an offset.
pub(super) fn nanoseconds(time: &str) -> Option<i64> {
    if time.len() > 40 {
        return None;
    }
    let instant: jiff::Timestamp = time.parse().ok()?;
    i64::try_from(instant.as_nanosecond()).ok()
}

type Parameters = Vec<(String, String)>;

/// `-`, or elements `[id name="value" ...]` one behind the other.
fn structured(text: &str) -> Option<(Parameters, &str)> {
    let mut found = Vec::new();
    if let Some(rest) = text.strip_prefix('-') {
        return Some((found, rest));
    }
    let mut rest = text;
    while let Some(element) = rest.strip_prefix('[') {
        let end = element.find([' ', ']'])?;
        let (id, mut inner) = element.split_at_checked(end)?;
        if !is_name(id) {
            return None;
        }
        loop {
            if let Some(after) = inner.strip_prefix(']') {
                rest = after;
                break;
            }
            inner = inner.strip_prefix(' ')?;
            if inner.starts_with(']') {
                continue;
            }
            let (name, after) = inner.split_once("=\"")?;
            if !is_name(name) {
                return None;
            }
            let (value, after) = value(after)?;
            if found.len() < MOST_PARAMETERS {
                found.push((format!("{id}_{name}"), value));
            }
            inner = after;
        }
    }
    (rest.len() < text.len()).then_some((found, rest))
}

fn is_name(name: &str) -> bool {
    // The RFC allows 32; enterprise ids in the wild are longer.
    (1..=64).contains(&name.len()) && name.bytes().all(|b| (33..=126).contains(&b) && !matches!(b, b'=' | b']' | b'"'))
}

/// Up to the closing quote; `\"`, `\\` and `\]` stand for themselves.
fn value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if escaped {
            if !matches!(c, '"' | '\\' | ']') {
                value.push('\\');
            }
            value.push(c);
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == '"' {
            return Some((value, text.get(at + 1..)?));
        } else {
            value.push(c);
        }
    }
    None
}
