//! The words of a condition.

/// See the file's head.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    /// Begins with a small letter: a part of a path, or `and`, `or`, `not`, `true`, `false`, `nil`.
    Small(String),
    /// Begins with a capital: a function or one of the specification's numbers.
    Capital(String),
    Text(String),
    Int(i64),
    Float(f64),
    Bytes(Vec<u8>),
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: &[&str] = &["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ",", ".", "+", "-", "*", "/"];

/// All words, each with its place in characters; the last is [`Word::End`].
pub(super) fn words(text: &str) -> Result<Vec<(usize, Word)>, String> {
    let (mut found, mut rest, mut at) = (Vec::new(), text, 0);
    loop {
        let trimmed = rest.trim_start();
        at += rest.chars().count() - trimmed.chars().count();
        rest = trimmed;
        let Some(first) = rest.chars().next() else {
            found.push((at, Word::End));
            return Ok(found);
        };
        let (word, length) = if first == '"' {
            text_word(rest).ok_or_else(|| format!("the text that begins at character {at} does not end"))?
        } else if let Some(digits) = rest.strip_prefix("0x") {
            let digits = &digits[..digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len())];
            let bytes = hex::decode(digits).map_err(|_| format!("the bytes at character {at} are no whole ones"))?;
            (Word::Bytes(bytes), 2 + digits.len())
        } else if first.is_ascii_digit() {
            number(rest).ok_or_else(|| format!("the number at character {at} cannot be read"))?
        } else if first.is_ascii_alphabetic() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let word = rest[..end].to_owned();
            (if first.is_ascii_uppercase() { Word::Capital(word) } else { Word::Small(word) }, end)
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| format!("{first:?} at character {at} is no part of the language"))?;
            (Word::Sign(sign), sign.len())
        };
        found.push((at, word));
        at += rest[..length].chars().count();
        rest = &rest[length..];
    }
}

/// A text in double quotes, with `\"` and `\\`; its bytes.
fn text_word(rest: &str) -> Option<(Word, usize)> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((Word::Text(text), at + 1)),
            '\\' => match characters.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                same @ ('"' | '\\') => text.push(same),
                // Patterns are full of them: `\d` stays.
                other => text.extend(['\\', other]),
            },
            other => text.push(other),
        }
    }
    None
}

fn number(rest: &str) -> Option<(Word, usize)> {
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    // A point belongs to it if a digit follows.
    let digits = rest[..end].trim_end_matches('.');
    let mut length = digits.len();
    let exponent = rest[length..].strip_prefix(['e', 'E']);
    if let Some(exponent) = exponent {
        let signed = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let count = signed.find(|c: char| !c.is_ascii_digit()).unwrap_or(signed.len());
        if count > 0 {
            length += 1 + (exponent.len() - signed.len()) + count;
        }
    }
    let text = &rest[..length];
    let word = match text.parse() {
        Ok(whole) => Word::Int(whole),
        Err(_) if text.bytes().all(|byte| byte.is_ascii_digit()) => return None,
        Err(_) => Word::Float(text.parse().ok()?),
    };
    Some((word, length))
}
