//! Upper and lower case as Go's `strings.ToUpper` and `ToLower` do it: one character becomes one character.
//!
//! Rust's own conversions follow the full Unicode mapping (`ß` becomes `SS`, a final sigma changes shape), which would
//! give another label value than Prometheus for the same rule.

/// Simple lower-case mapping of every character.
pub(crate) fn lower(text: &str) -> String {
    text.chars().map(|c| if c == 'İ' { 'i' } else { single(c, c.to_lowercase()) }).collect()
}

/// Simple upper-case mapping of every character.
pub(crate) fn upper(text: &str) -> String {
    text.chars().map(|c| greek_with_iota(c).unwrap_or_else(|| single(c, c.to_uppercase()))).collect()
}

/// The mapping where it is one character, otherwise the character itself: no simple mapping exists for the others,
/// apart from those in `greek_with_iota`.
fn single(original: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(c), None) => c,
        _ => original,
    }
}

/// Small letters with iota subscript: fully mapped they become two letters, simply mapped the title-case letter.
fn greek_with_iota(c: char) -> Option<char> {
    let shift = match c {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => return None,
    };
    char::from_u32(u32::from(c) + shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_character_stays_one_character() {
        assert_eq!(upper("straße ŉ ᾀ ᾳ ὐ é"), "STRAßE ŉ ᾈ ᾼ ὐ É");
        assert_eq!(lower("ΟΔΟΣ İ ÉA"), "οδοσ i éa");
    }
}
