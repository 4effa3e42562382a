//! One line of the file made fit to be shown: values stay only where the key is known to be harmless.
//!
//! Works on lines, not on the tree, since it must also serve files that are not YAML. Keeps true: when in doubt, a value
//! is hidden; only values of keys of the dialect that hold no secret are shown.

use crate::{
    dialect, harmless,
    line::{Key, comment_start, first_of, first_word, indentation, keys, keys_in, separator_before, text_start},
};

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
    let comment = comment_start(&line);
    if comment == Some(text_start(&line)) {
        mask_comment(lines, index, &line, &mut shown);
        hide_url_secrets(&line, &mut shown);
        return assemble(&line, &shown);
    }
    let (verdict, nearest) = enclosing(lines, index, keys.iter().all(|k| dialect::is_known(&k.name)));
    match verdict {
        Enclosing::Harmless if !keys.is_empty() => hide_values(&line, &keys, nearest.as_deref(), &mut shown),
        Enclosing::Harmless => {}
        Enclosing::Nothing if may_continue_a_secret(lines, index) => hide_but_known_word(&line, &mut shown),
        Enclosing::Nothing => {
            let (start, end, word) = first_word(&line);
            if dialect::is_secret(&word) || dialect::is_identity_block(&word) {
                hide(&mut shown, end, line.len());
            } else if !dialect::is_known(&word) {
                hide_words(&line, start, &mut shown);
            }
        }
        Enclosing::HidesValues if keys.is_empty() => hide(&mut shown, text_start(&line), line.len()),
        Enclosing::HidesValues => {
            let first = keys.first().map_or(0, |key| key.end + 1);
            hide(&mut shown, first, line.len());
        }
        Enclosing::HidesAll => hide_but_known_word(&line, &mut shown),
    }
    if let Some(comment) = comment {
        hide_comment(&line, comment, &mut shown);
    }
    hide_url_secrets(&line, &mut shown);
    assemble(&line, &shown)
}

/// A line that is a comment and nothing else: its words are shown one by one, what stands after a key by the key.
fn mask_comment(lines: &[&str], index: usize, line: &[char], shown: &mut [bool]) {
    let start = text_start(line);
    if may_continue_a_secret(lines, index) || has_secret_above(lines, index) {
        hide(shown, start + 1, line.len());
        return;
    }
    hide_comment(line, start, shown);
}

/// Hides what of a comment may be a secret: values by their keys, if it is a line of the file put out of use, and words.
fn hide_comment(line: &[char], start: usize, shown: &mut [bool]) {
    let keys: Vec<Key> = keys_in(line).into_iter().filter(|key| key.start >= start).collect();
    hide_values(line, &keys, None, shown);
    hide_words(line, start, shown);
}

/// All but the name of a key that lost its colon, which is no secret.
fn hide_but_known_word(line: &[char], shown: &mut [bool]) {
    let (start, end, word) = first_word(line);
    hide(shown, if dialect::is_known(&word) { end } else { start }, line.len());
}

/// Hides each word from `start` that is not known to be harmless, and every word after one that announces a secret.
fn hide_words(line: &[char], start: usize, shown: &mut [bool]) {
    let mut at = start;
    let mut announced = false;
    while at < line.len() {
        let rest = line.get(at..).unwrap_or_default();
        let length = rest.iter().position(|c| c.is_whitespace()).unwrap_or(rest.len());
        let word: String = rest.iter().take(length).collect();
        let bare = word.trim_end_matches(':');
        let harmless = harmless::is_substitution(&word)
            || dialect::is_known(bare)
            || !announced && (harmless::is_word(bare) || harmless::is_url(&word));
        if !harmless {
            hide(shown, at, at + length);
        }
        announced |= !harmless::is_substitution(&word) && harmless::is_secretive(&word);
        at += length + 1;
    }
}

/// Can a line without a key be the rest of a secret that an earlier line began, however it is indented?
fn may_continue_a_secret(lines: &[&str], index: usize) -> bool {
    let before = lines.get(..index).unwrap_or_default();
    let is_comment = |line: &str| line.trim_start().starts_with('#');
    let comment = lines.get(index).is_some_and(|line| is_comment(line));
    let last_key = |line: &str| keys(&line.chars().collect::<Vec<_>>()).into_iter().next_back();
    let is_open = |line: &&str| {
        let odd = |quote| line.matches(quote).count() % 2 == 1;
        line.len() > MAX_LINE || (odd('"') || odd('\'')) && last_key(line).is_none_or(|key| !shows_value(&key.name))
    };
    if before.iter().filter(|line| !is_comment(line)).any(is_open) {
        return true;
    }
    let Some((line, key)) =
        before.iter().rev().filter(|line| !is_comment(line)).find_map(|line| Some((line, last_key(line)?)))
    else {
        return false;
    };
    let value: String = line.chars().skip(key.end + 1).collect();
    let value = value.trim();
    // A comment ends what was begun, unless that is a block or nothing yet.
    let is_whole = !value.is_empty() && !value.starts_with(['|', '>', '&', '!']);
    let ended = comment && is_whole;
    !ended && !shows_value(&key.name)
}

/// Is this a key in whose value, if it is one of several lines, no line is a secret?
fn shows_value(key: &str) -> bool {
    is_plain(key) && !dialect::is_identity_block(key)
}

/// Does a line stand under a key, by its indentation, of which anything may be a secret?
fn has_secret_above(lines: &[&str], index: usize) -> bool {
    let mut indent = lines.get(index).map_or(0, |line| indentation(line));
    for earlier in lines.get(..index).unwrap_or_default().iter().rev() {
        let at = indentation(earlier);
        if at >= indent || earlier.trim().is_empty() || earlier.trim_start().starts_with('#') {
            continue;
        }
        if let Some(key) = keys(&earlier.chars().collect::<Vec<_>>()).into_iter().next_back() {
            if !is_plain(&key.name) {
                return true;
            }
            indent = at;
        }
    }
    false
}

/// From each key that is not harmless to the next known key of the same flow mapping, or to the line's end. `parent` is the
/// key whose mapping the line belongs to.
fn hide_values(line: &[char], keys: &[Key], parent: Option<&str>, shown: &mut [bool]) {
    let mut hidden_to = 0;
    let mut labels = parent.is_some_and(dialect::is_label_mapping);
    for (number, key) in keys.iter().enumerate() {
        // `basic_auth: text`, where a mapping belongs.
        let bare = dialect::is_identity_block(&key.name)
            && line.get(key.end + 1..).and_then(first_of).is_some_and(|c| !"{[&*#".contains(c));
        labels = dialect::is_label_mapping(&key.name) || labels && !dialect::is_known(&key.name);
        if (is_plain(&key.name) && !bare) || key.start < hidden_to {
            continue;
        }
        let next = keys
            .iter()
            .skip(number + 1)
            .filter(|k| dialect::is_known(&k.name) || labels)
            .find_map(|k| separator_before(line, k.start));
        hidden_to = next.unwrap_or(line.len());
        let value = line.get(key.end + 1..hidden_to).unwrap_or_default();
        if is_variable(value) || is_harmless(&key.name, value, labels) {
            continue;
        }
        let name = variable_name(value);
        let (from, to) = if name == 0 { (0, value.len()) } else { default_of(value, name) };
        hide(shown, key.end + 1 + from, key.end + 1 + to);
    }
}

/// Of `${NAME:-text}`, whose name ends at `name`, the part between the operator and the closing brace.
fn default_of(value: &[char], name: usize) -> (usize, usize) {
    let operator = match value.get(name..).unwrap_or_default() {
        [':', '-' | '=' | '?' | '+', ..] => 2,
        ['-' | '=' | '?' | '+', ..] => 1,
        _ => 0,
    };
    let from = name + operator;
    let end = value.iter().rposition(|c| !(c.is_whitespace() || matches!(c, '"' | '\'')));
    let to = end.filter(|end| *end >= from && value.get(*end) == Some(&'}')).unwrap_or(value.len());
    (from, to.max(from))
}

/// Is the value of a key that is not of the dialect known to be no secret, by its shape and the key's name?
fn is_harmless(key: &str, value: &[char], labels: bool) -> bool {
    let value: String = value.iter().collect();
    let value = value.split(" #").next().unwrap_or_default().trim();
    let value = if value.starts_with(['{', '[']) { value } else { value.trim_end_matches(['}', ']', ' ', ',']) };
    if dialect::is_secret(key) || dialect::meant(key).is_some_and(dialect::is_secret) || dialect::is_identity_block(key)
    {
        return false;
    }
    !harmless::is_secretive(key) && (harmless::is_plain_value(value) || labels && harmless::is_word(value))
}

/// How many characters of a value are no more than the start of a substitution and its variable's name, or all of one with
/// what closes the mappings it stands in: 0 if it is none.
fn variable_name(value: &[char]) -> usize {
    let count = |from: usize, accept: fn(char) -> bool| value.iter().skip(from).take_while(|c| accept(**c)).count();
    let start = count(0, |c| c.is_whitespace() || matches!(c, '"' | '\''));
    let name = count(start + 2, harmless::is_name);
    let end = start + 2 + name;
    // What follows has to be an operator or the end: a secret may look like a variable at its start.
    let ends = value.get(end).is_none_or(|c| ":-=?+ \"'}".contains(*c));
    if value.get(start..start + 2) != Some(&['$', '{']) || !(1..=64).contains(&name) || !ends {
        return 0;
    }
    let closed = if value.get(end) == Some(&'}') { end + 1 } else { end };
    let rest = count(closed, |c| c.is_whitespace() || matches!(c, '"' | '\'' | '}' | ']' | ','));
    if closed + rest == value.len() { value.len() } else { end }
}

/// Nothing but `${NAME}`, in quotes or not (the name of a secret is none), or quotes with nothing in them.
fn is_variable(value: &[char]) -> bool {
    let value: String = value.iter().collect();
    let value = value.trim();
    if matches!(value.trim_end_matches(['}', ']', ',', ' ']), "\"\"" | "''") {
        return true;
    }
    let value = value.trim_matches(['"', '\'']);
    let name = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// What the keys on earlier, less indented lines say about a line.
enum Enclosing {
    Harmless,
    /// The line has no key, and stands under none whose value can be text.
    Nothing,
    /// The line stands in a mapping or list of values that may be secrets; its keys may be shown.
    HidesValues,
    /// The line may be the middle of a secret, even where it looks like a key.
    HidesAll,
}

fn enclosing(lines: &[&str], index: usize, own_keys_known: bool) -> (Enclosing, Option<String>) {
    let Some(line) = lines.get(index) else {
        return (Enclosing::HidesAll, None);
    };
    let mut indent = indentation(line);
    let own_keys = !keys(&line.chars().collect::<Vec<_>>()).is_empty();
    let item = line.trim_start().starts_with('-');
    let mut parent = None;
    let mut verdict = Enclosing::Harmless;
    for earlier in lines.get(..index).unwrap_or_default().iter().rev() {
        let nearest = parent.is_none();
        if indent == 0 && !(nearest && item) {
            break;
        }
        if earlier.len() > MAX_LINE {
            return (Enclosing::HidesAll, parent);
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
        let Some(key) = keys(&earlier.chars().collect::<Vec<_>>()).into_iter().next_back() else {
            continue;
        };
        let bare = nearest && !own_keys && !dialect::is_plain_list(&key.name);
        let text_above = matches!(verdict, Enclosing::Nothing) || bare;
        if dialect::is_secret_container(&key.name) && !text_above {
            verdict = Enclosing::HidesValues;
        } else if dialect::is_secret(&key.name) || !(is_plain(&key.name) || own_keys && own_keys_known) {
            return (Enclosing::HidesAll, parent);
        } else if bare {
            if dialect::is_identity_block(&key.name) {
                return (Enclosing::HidesAll, parent);
            }
            verdict = Enclosing::Nothing;
        }
        parent = parent.or(Some(key.name));
        indent = at;
    }
    // A bare value that belongs to no key we can see.
    if parent.is_none() && !own_keys { (Enclosing::Nothing, None) } else { (verdict, parent) }
}

fn is_plain(key: &str) -> bool {
    let known = if dialect::is_known(key) { Some(key) } else { dialect::meant(key) };
    key == "<<" || known.is_some_and(|known| !dialect::is_secret(known))
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
