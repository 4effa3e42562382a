//! The leaves of Go's grammar: escapes, named classes, and the words of Go's errors that they share with the parser.
//!
//! Every function takes the text that begins with what it reads and answers what is left after it.

use super::{
    GoRegexError,
    tree::{ClassItem, Property},
};

pub(super) const BAD_ESCAPE: &str = "invalid escape sequence";
pub(super) const BAD_RANGE: &str = "invalid character class range";
pub(super) const NO_BRACKET: &str = "missing closing ]";
pub(super) const TRAILING: &str = "trailing backslash at end of expression";

pub(super) fn refuse<T>(what: &'static str, fragment: &str) -> Result<T, GoRegexError> {
    Err(GoRegexError::Syntax { what, fragment: fragment.to_owned() })
}

/// Splits off the first character.
pub(super) fn next(text: &str) -> Option<(char, &str)> {
    let mut chars = text.chars();
    chars.next().map(|c| (c, chars.as_str()))
}

/// What of `from` was consumed when `rest` is left.
pub(super) fn consumed<'a>(from: &'a str, rest: &str) -> &'a str {
    from.get(..from.len().saturating_sub(rest.len())).unwrap_or(from)
}

/// `\d \D \s \S \w \W` and `\p…`, valid inside and outside brackets.
pub(super) fn shared_class(text: &str) -> Result<Option<(ClassItem, &str)>, GoRegexError> {
    let Some((letter, after)) = text.strip_prefix('\\').and_then(next) else {
        return Ok(None);
    };
    let item = match letter {
        'd' | 's' | 'w' => ClassItem::Perl { letter, negated: false },
        'D' | 'S' | 'W' => ClassItem::Perl { letter: letter.to_ascii_lowercase(), negated: true },
        'p' | 'P' => {
            let Some((first, tail)) = next(after) else {
                return refuse(BAD_RANGE, text);
            };
            let (name, tail) = if first == '{' {
                match tail.split_once('}') {
                    Some(split) => split,
                    None => return refuse(BAD_RANGE, text),
                }
            } else {
                (consumed(after, tail), tail)
            };
            let mut negated = letter == 'P';
            let name = match name.strip_prefix('^') {
                Some(name) => {
                    negated = !negated;
                    name
                }
                None => name,
            };
            return match property(name) {
                Some(property) => Ok(Some((ClassItem::Unicode { property, negated }, tail))),
                None => refuse(BAD_RANGE, consumed(text, tail)),
            };
        }
        _ => return Ok(None),
    };
    Ok(Some((item, after)))
}

/// A general category or a script, as Go's tables have them; nothing else (`Alphabetic`, `sc=…`) is known to Go.
pub(super) fn property(name: &str) -> Option<Property> {
    match name {
        "Any" => return Some(Property::Any),
        "Cs" => return Some(Property::Nothing),
        _ => {}
    }
    let plain = !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !plain {
        return None;
    }
    ["gc", "sc"].into_iter().find_map(|kind| {
        let exact = format!("{kind}={name}");
        regex::Regex::new(&format!("\\p{{{exact}}}")).is_ok().then_some(Property::Exact(exact))
    })
}

/// `[:alpha:]` and its negation, inside brackets.
pub(super) fn posix_class(text: &str) -> Result<Option<(ClassItem, &str)>, GoRegexError> {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
        "word", "xdigit",
    ];
    let Some((name, after)) = text.strip_prefix("[:").and_then(|t| t.split_once(":]")) else {
        return Ok(None);
    };
    let (negated, plain) = match name.strip_prefix('^') {
        Some(plain) => (true, plain),
        None => (false, name),
    };
    match NAMES.into_iter().find(|n| *n == plain) {
        Some(name) => Ok(Some((ClassItem::Posix { name, negated }, after))),
        None => refuse(BAD_RANGE, consumed(text, after)),
    }
}

/// One end of a range.
pub(super) fn class_character<'a>(text: &'a str, class: &str) -> Result<(u32, &'a str), GoRegexError> {
    match next(text) {
        None => refuse(NO_BRACKET, class),
        Some(('\\', _)) => character_escape(text),
        Some((c, after)) => Ok((u32::from(c), after)),
    }
}

/// `\n`, `\x41`, `\x{1F600}`, `\101`, `\.`: an escape that stands for one code point.
pub(super) fn character_escape(text: &str) -> Result<(u32, &str), GoRegexError> {
    let Some((c, after)) = text.strip_prefix('\\').and_then(next) else {
        return refuse(TRAILING, "");
    };
    let octal = |t: &str| t.bytes().next().filter(|b| (b'0'..=b'7').contains(b)).map(|b| u32::from(b - b'0'));
    let mut rest = after;
    match c {
        // A single non-zero digit would be a back-reference.
        '1'..='7' if octal(after).is_none() => {}
        '0'..='7' => {
            let mut code = u32::from(c) - u32::from('0');
            for _ in 0..2 {
                let Some(digit) = octal(rest) else { break };
                code = code * 8 + digit;
                rest = rest.get(1..).unwrap_or("");
            }
            return Ok((code, rest));
        }
        'x' => {
            if let Some(body) = after.strip_prefix('{') {
                if let Some((digits, tail)) = body.split_once('}')
                    && !digits.is_empty()
                    && digits.bytes().all(|b| b.is_ascii_hexdigit())
                    && let Ok(code) = u32::from_str_radix(digits.trim_start_matches('0'), 16)
                        .or_else(|e| if digits.bytes().all(|b| b == b'0') { Ok(0) } else { Err(e) })
                    && code <= u32::from(char::MAX)
                {
                    return Ok((code, tail));
                }
            } else if let Some((digits, tail)) = after.split_at_checked(2)
                && digits.bytes().all(|b| b.is_ascii_hexdigit())
                && let Ok(code) = u32::from_str_radix(digits, 16)
            {
                return Ok((code, tail));
            }
        }
        'a' => return Ok((7, after)),
        'f' => return Ok((12, after)),
        'n' => return Ok((10, after)),
        'r' => return Ok((13, after)),
        't' => return Ok((9, after)),
        'v' => return Ok((11, after)),
        _ if c.is_ascii() && !c.is_ascii_alphanumeric() => return Ok((u32::from(c), after)),
        _ => {}
    }
    refuse(BAD_ESCAPE, consumed(text, after))
}
