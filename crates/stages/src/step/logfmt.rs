//! `logfmt`: takes values out of `key=value key="quoted value" flag`.
//!
//! What cannot be read ends the reading: pairs before it count, those after do not, and the line goes on.

use super::{Flow, LineStage, Source, mapping};
use crate::{Entry, Name, StageError, StageFault, Value, config::LogfmtConfig, error::Place};

#[derive(Debug, Clone)]
pub(crate) struct Logfmt {
    source: Source,
    /// Key in the text, name in the extracted map.
    wanted: Vec<(Name, Name)>,
    found: Vec<(Name, Value)>,
}

impl Logfmt {
    pub fn new(config: &LogfmtConfig, place: &Place) -> Result<Self, StageError> {
        if config.mapping.is_empty() {
            return Err(place.key("mapping").fault(StageFault::Required));
        }
        let wanted = mapping(&config.mapping).into_iter().map(|(name, key)| (key, name)).collect();
        Ok(Self { source: Source::new(config.source.as_deref(), place)?, wanted, found: Vec::new() })
    }
}

impl LineStage for Logfmt {
    fn apply(&mut self, entry: &mut Entry, _now_ns: i64) -> Flow {
        let Self { source, wanted, found } = self;
        // What a panic left here is none of this line's.
        found.clear();
        let mut whole = true;
        if let Some(text) = source.text(entry) {
            whole = pairs(&text, |key, value| {
                if let Some((_, name)) = wanted.iter().find(|(k, _)| **k == *key) {
                    found.push((Name::clone(name), Value::text(value)));
                }
            });
        }
        for (name, value) in found.drain(..) {
            entry.extracted.set(&name, value);
        }
        if whole { Flow::Pass } else { Flow::Unread("not_logfmt") }
    }
}

/// Calls `each` with every pair, until something is not logfmt. Whether everything was.
fn pairs(text: &str, mut each: impl FnMut(&str, &str)) -> bool {
    text.split('\n').all(|line| record(line.strip_suffix('\r').unwrap_or(line), &mut each))
}

fn record(line: &str, each: &mut impl FnMut(&str, &str)) -> bool {
    let mut rest = line;
    loop {
        // Everything up to the space, control characters too, is space.
        rest = rest.trim_start_matches(|c: char| c <= ' ');
        if rest.is_empty() {
            return true;
        }
        let end = rest.find(|c: char| c <= ' ' || c == '=' || c == '"').unwrap_or(rest.len());
        let Some((key, after)) = rest.split_at_checked(end) else { return false };
        if key.is_empty() || after.starts_with('"') {
            return false;
        }
        let Some(value) = after.strip_prefix('=') else {
            each(key, "");
            rest = after;
            continue;
        };
        if let Some(quoted) = value.strip_prefix('"') {
            let Some(end) = closing_quote(quoted) else { return false };
            let (Some(inner), Some(after)) = (quoted.get(..end), quoted.get(end + 1..)) else { return false };
            if inner.contains('\\') {
                match unquote(inner) {
                    Some(value) => each(key, &value),
                    None => return false,
                }
            } else {
                each(key, inner);
            }
            rest = after;
            continue;
        }
        let end = value.find(|c: char| c <= ' ' || c == '=' || c == '"').unwrap_or(value.len());
        let Some((value, after)) = value.split_at_checked(end) else { return false };
        if after.starts_with(['=', '"']) {
            return false;
        }
        each(key, value);
        rest = after;
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|b| match b {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        b => b == b'"',
    })
}

/// JSON's escapes, and `\'`; a lone half of a surrogate pair becomes the replacement character.
fn unquote(inner: &str) -> Option<String> {
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..)?;
        if c < ' ' {
            return None;
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        let escape = rest.chars().next()?;
        rest = rest.get(escape.len_utf8()..)?;
        match escape {
            '"' | '\\' | '/' | '\'' => out.push(escape),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'u' => {
                let code = unit(rest)?;
                rest = rest.get(4..)?;
                let low = rest.strip_prefix("\\u").and_then(unit).filter(|low| (0xdc00..0xe000).contains(low));
                match (char::from_u32(code), low) {
                    (Some(c), _) => out.push(c),
                    (None, Some(low)) if code < 0xdc00 => {
                        let pair = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                        out.push(char::from_u32(pair).unwrap_or('\u{fffd}'));
                        rest = rest.get(6..)?;
                    }
                    (None, _) => out.push('\u{fffd}'),
                }
            }
            _ => return None,
        }
    }
    Some(out)
}

fn unit(text: &str) -> Option<u32> {
    let digits = text.get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases follow go-logfmt's own tests of its decoder.
    #[test]
    fn pairs_come_apart_as_in_go_logfmt() {
        let read = |text: &str| {
            let mut all = Vec::new();
            let good = pairs(text, |k, v| all.push(format!("{k}:{v}")));
            (all.join("|"), good)
        };
        for (text, expected, good) in [
            ("", "", true),
            ("\n", "", true),
            ("key", "key:", true),
            ("key=", "key:", true),
            ("key=\"\"", "key:", true),
            ("\"", "", false),
            ("=", "", false),
            ("==", "", false),
            ("=key", "", false),
            ("k=v", "k:v", true),
            ("k=v k2=v2", "k:v|k2:v2", true),
            ("a=1 b=\"bar\" ƒ=2h3s r=\"esc\\t\" d x=sf", "a:1|b:bar|ƒ:2h3s|r:esc\t|d:|x:sf", true),
            ("y=f(x)", "y:f(x)", true),
            ("y=\"f(x)=x^2\"", "y:f(x)=x^2", true),
            ("y=f=x", "", false),
            ("y=\"abc", "", false),
            ("a=1 y=\"\\q\" b=2", "a:1", false),
            ("k=\"\\u00e9\\ud83d\\ude00\"", "k:é😀", true),
            ("k=\"\\ud83d\"", "k:\u{fffd}", true),
        ] {
            assert_eq!(read(text), (expected.to_owned(), good), "{text}");
        }
    }
}
