//! One line of the file made fit to be shown: values stay only where the key is known to be harmless.
//!
//! Works on lines, not on the tree, since it must also serve files that are not YAML. Keeps true: when in doubt, a value
//! is hidden; only values of keys of the dialect that hold no secret are shown.

use crate::dialect;

/// What is shown instead of a hidden value.
const HIDDEN: &str = "<hidden>";

/// Longer lines are not shown at all: no person wrote them.
const MAX_LINE: usize = 600;

/// A line without secrets, and for each character of the line as written the column it moved to (from 0).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Masked {
    pub text: String,
    pub columns: Vec<usize>,
}

/// Masks line `index` of `lines`.
pub(crate) fn mask(lines: &[&str], index: usize) -> Masked {
    let line: Vec<char> =
        lines.get(index).filter(|l| l.len() <= MAX_LINE).map(|l| l.chars().collect()).unwrap_or_default();
    let mut shown = vec![true; line.len()];
    let keys = keys(&line);
    match enclosing(lines, index, keys.iter().all(|k| dialect::is_known(&k.name))) {
        Enclosing::Harmless if !keys.is_empty() => hide_values(&line, &keys, &mut shown),
        Enclosing::Harmless => {}
        Enclosing::HidesValues if keys.is_empty() => hide(&mut shown, text_start(&line), line.len()),
        Enclosing::HidesValues => {
            let first = keys.first().map_or(0, |key| key.end + 1);
            hide(&mut shown, first, line.len());
        }
        Enclosing::HidesAll => {
            // A key that lost its colon is no secret.
            let start = text_start(&line);
            let end = start
                + line
                    .get(start..)
                    .unwrap_or_default()
                    .iter()
                    .position(|c| !(c.is_alphanumeric() || *c == '_'))
                    .unwrap_or(0);
            let word: String = line.get(start..end).unwrap_or_default().iter().collect();
            hide(&mut shown, if dialect::is_known(&word) { end } else { start }, line.len());
        }
    }
    hide_url_secrets(&line, &mut shown);
    assemble(&line, &shown)
}

/// From each key that is not harmless to the next known key of the same flow mapping, or to the line's end.
fn hide_values(line: &[char], keys: &[Key], shown: &mut [bool]) {
    let mut hidden_to = 0;
    for (number, key) in keys.iter().enumerate() {
        // `basic_auth: text`, where a mapping belongs.
        let bare = dialect::is_identity_block(&key.name)
            && line.get(key.end + 1..).and_then(first_of).is_some_and(|c| !"{[&*#".contains(c));
        if (is_plain(&key.name) && !bare) || key.start < hidden_to {
            continue;
        }
        let next = keys
            .iter()
            .skip(number + 1)
            .filter(|k| dialect::is_known(&k.name))
            .find_map(|k| separator_before(line, k.start));
        hidden_to = next.unwrap_or(line.len());
        if !is_variable(line.get(key.end + 1..hidden_to).unwrap_or_default()) {
            hide(shown, key.end + 1, hidden_to);
        }
    }
}

/// Nothing but `${NAME}`, in quotes or not: the name of a secret is none.
fn is_variable(value: &[char]) -> bool {
    let value: String = value.iter().collect();
    let value = value.trim().trim_matches(['"', '\'']);
    let name = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

fn first_of(text: &[char]) -> Option<char> {
    text.iter().copied().find(|c| !c.is_whitespace())
}

/// The `,` or `{` that stands before a key, if one does.
fn separator_before(line: &[char], key: usize) -> Option<usize> {
    let at = line.get(..key)?.iter().rposition(|c| !c.is_whitespace())?;
    line.get(at).filter(|c| matches!(c, ',' | '{')).map(|_| at)
}

struct Key {
    name: String,
    /// Characters of the line.
    start: usize,
    /// The colon.
    end: usize,
}

/// Every `word:` that is followed by a blank, a quote or bracket, or the line's end.
fn keys(line: &[char]) -> Vec<Key> {
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

/// What the keys on earlier, less indented lines say about a line.
enum Enclosing {
    Harmless,
    /// The line stands in a mapping or list of values that may be secrets; its keys may be shown.
    HidesValues,
    /// The line may be the middle of a secret, even where it looks like a key.
    HidesAll,
}

fn enclosing(lines: &[&str], index: usize, own_keys_known: bool) -> Enclosing {
    let Some(line) = lines.get(index) else {
        return Enclosing::HidesAll;
    };
    let mut indent = indentation(line);
    let own_keys = !keys(&line.chars().collect::<Vec<_>>()).is_empty();
    let item = line.trim_start().starts_with('-');
    let mut nearest = true;
    let mut verdict = Enclosing::Harmless;
    for earlier in lines.get(..index).unwrap_or_default().iter().rev() {
        if indent == 0 && !(nearest && item) {
            break;
        }
        if earlier.len() > MAX_LINE {
            return Enclosing::HidesAll;
        }
        if earlier.trim().is_empty() || earlier.trim_start().starts_with('#') {
            continue;
        }
        let at = indentation(earlier);
        // A list's items may stand at the indentation of its key.
        let encloses = at < indent || (nearest && item && at == indent && !earlier.trim_start().starts_with('-'));
        if !encloses {
            continue;
        }
        let Some(key) = keys(&earlier.chars().collect::<Vec<_>>()).into_iter().last() else {
            continue;
        };
        let bare = nearest && !own_keys && !dialect::is_plain_list(&key.name);
        let plain = is_plain(&key.name) && !bare;
        if dialect::is_secret_container(&key.name) {
            verdict = Enclosing::HidesValues;
        } else if dialect::is_secret(&key.name) || !(plain || own_keys && own_keys_known) {
            return Enclosing::HidesAll;
        }
        nearest = false;
        indent = at;
    }
    // A bare value that belongs to no key we can see.
    if nearest && !own_keys { Enclosing::HidesAll } else { verdict }
}

fn indentation(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).count()
}

fn is_plain(key: &str) -> bool {
    let known = if dialect::is_known(key) { Some(key) } else { dialect::meant(key) };
    key == "<<" || known.is_some_and(|known| !dialect::is_secret(known))
}

/// Where a line's text starts, after indentation and dashes.
fn text_start(line: &[char]) -> usize {
    line.iter().take_while(|c| c.is_whitespace() || **c == '-').count()
}

fn hide(shown: &mut [bool], from: usize, to: usize) {
    for slot in shown.get_mut(from..to).unwrap_or_default() {
        *slot = false;
    }
}

/// `user:password@` and everything after `?` of a URL. A `:` that no port follows, in a URL without `@`, may be the start of
/// a password that is not written as it should be: the rest of the line is hidden.
fn hide_url_secrets(line: &[char], shown: &mut [bool]) {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ']' | '}');
    for start in (0..line.len()).filter(|at| line.get(*at..at + 3) == Some(&[':', '/', '/'])) {
        let start = start + 3;
        let rest = line.get(start..).unwrap_or_default();
        let stop = start + rest.iter().position(|c| ends(*c)).unwrap_or(rest.len());
        let url = line.get(start..stop).unwrap_or_default();
        let authority = url.split(|c| *c == '/').next().unwrap_or_default();
        let port = |colon: usize| authority.get(colon + 1).is_none_or(char::is_ascii_digit);
        if let Some(at) = url.iter().rposition(|c| *c == '@') {
            hide(shown, start, start + at);
        } else if !authority.starts_with(&['[']) && authority.iter().enumerate().any(|(at, c)| *c == ':' && !port(at)) {
            hide(shown, start, line.len());
        }
        if let Some(query) = url.iter().position(|c| *c == '?') {
            hide(shown, start + query + 1, stop);
        }
    }
}

/// Replaces each hidden run (blanks, commas and brackets around it stay) by one mark.
fn assemble(line: &[char], shown: &[bool]) -> Masked {
    let mut text = String::new();
    let mut columns = Vec::with_capacity(line.len() + 1);
    let mut width: usize = 0;
    let mut hiding = false;
    let is_shown = |at: usize| shown.get(at).copied().unwrap_or(true);
    for (at, c) in line.iter().enumerate() {
        // Blanks at the start of a hidden run, and a substitution's name, are no secret.
        let leading = !is_shown(at) && !hiding && c.is_whitespace();
        if is_shown(at) || leading {
            hiding = false;
            columns.push(width);
            text.push(if *c == '\t' { ' ' } else { *c });
            width += 1;
        } else if hiding {
            columns.push(width.saturating_sub(HIDDEN.len()));
        } else {
            columns.push(width);
            text.push_str(HIDDEN);
            width += HIDDEN.len();
            hiding = true;
        }
    }
    columns.push(width);
    Masked { text, columns }
}
