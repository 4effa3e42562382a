//! Keys, comments and indentation of one line of the file, whatever the lines around it make of it.
//!
//! Does not read YAML: it must also serve files that are none. Keeps true: columns are characters from 0.

/// Start, end and text of a line's first word.
pub(crate) fn first_word(line: &[char]) -> (usize, usize, String) {
    let start = text_start(line);
    let is_end = |c: &char| !(c.is_alphanumeric() || *c == '_');
    let end = start + line.get(start..).and_then(|rest| rest.iter().position(is_end)).unwrap_or(line.len() - start);
    (start, end, line.get(start..end).unwrap_or_default().iter().collect())
}

/// Where a comment may start. Taken for one in quotes too: its words are then shown more sparingly, never less.
pub(crate) fn comment_start(line: &[char]) -> Option<usize> {
    let after_blank = |at: usize| at.checked_sub(1).and_then(|last| line.get(last)).is_none_or(|c| c.is_whitespace());
    (0..line.len()).find(|at| line.get(*at) == Some(&'#') && after_blank(*at))
}

pub(crate) fn first_of(text: &[char]) -> Option<char> {
    text.iter().copied().find(|c| !c.is_whitespace())
}

/// The `,` or `{` that stands before a key, if one does.
pub(crate) fn separator_before(line: &[char], key: usize) -> Option<usize> {
    let at = line.get(..key)?.iter().rposition(|c| !c.is_whitespace())?;
    line.get(at).filter(|c| matches!(c, ',' | '{')).map(|_| at)
}

pub(crate) struct Key {
    pub name: String,
    /// Characters of the line.
    pub start: usize,
    /// The colon.
    pub end: usize,
}

/// Every `word:` that is followed by a blank or the line's end, and stands in no comment.
pub(crate) fn keys(line: &[char]) -> Vec<Key> {
    let before_comment = comment_start(line).and_then(|at| line.get(..at));
    // A `#` in quotes starts none.
    let odd = |text: &[char], quote| text.iter().filter(|c| **c == quote).count() % 2 == 1;
    keys_in(before_comment.filter(|text| !odd(text, '"') && !odd(text, '\'')).unwrap_or(line))
}

pub(crate) fn keys_in(line: &[char]) -> Vec<Key> {
    let mut keys = Vec::new();
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'' | '/' | '<');
    let mut start = None;
    for (at, c) in line.iter().enumerate() {
        if *c == ':' && line.get(at + 1).is_none_or(|n| n.is_whitespace()) {
            if let Some(start) = start {
                let name: String =
                    line.get(start..at).unwrap_or_default().iter().filter(|c| !matches!(c, '"' | '\'')).collect();
                keys.push(Key { name, start, end: at });
            }
            start = None;
        } else if word(*c) {
            start = start.or(Some(at));
        } else {
            start = None;
        }
    }
    keys
}

pub(crate) fn indentation(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).count()
}

/// Where a line's text starts, after indentation and dashes.
pub(crate) fn text_start(line: &[char]) -> usize {
    line.iter().take_while(|c| c.is_whitespace() || **c == '-').count()
}
