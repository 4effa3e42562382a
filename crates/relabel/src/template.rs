//! Replacement templates as Go's `regexp.Expand` reads them: `$1`, `${1}`, `$name`, `${name}`, `$$`.
//!
//! A template is taken apart once, against the pattern whose groups it names; expanding it cannot fail. A malformed
//! reference (`$`, `${`, `$-`) is text; a reference to a group that does not exist or did not match is empty.

use regex::Captures;

use crate::GoRegex;

/// A replacement text bound to the groups of one pattern.
#[derive(Debug, Clone)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    /// The first of these groups that matched; several when groups share a name, none when no group has it.
    Groups(Vec<usize>),
}

impl Template {
    /// Reads `text`; `pattern` resolves names to groups.
    pub fn new(text: &str, pattern: &GoRegex) -> Self {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                literal.push('$');
                rest = after;
                continue;
            }
            let Some((name, after)) = reference(after) else {
                literal.push('$');
                rest = after;
                continue;
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Groups(match number(name) {
                Some(group) => vec![group],
                None => pattern.groups_named(name).collect(),
            }));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Self { parts }
    }

    /// The text with every reference replaced.
    pub fn expand(&self, captures: &Captures<'_>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Groups(groups) => {
                    if let Some(found) = groups.iter().find_map(|g| captures.get(*g)) {
                        out.push_str(found.as_str());
                    }
                }
            }
        }
        out
    }
}

/// Splits `name` or `{name}` off the front; `None` when there is no such thing.
fn reference(text: &str) -> Option<(&str, &str)> {
    let braced = text.strip_prefix('{');
    let body = braced.unwrap_or(text);
    let end = body.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(body.len());
    let (name, rest) = body.split_at_checked(end)?;
    if name.is_empty() {
        return None;
    }
    match braced {
        Some(_) => Some((name, rest.strip_prefix('}')?)),
        None => Some((name, rest)),
    }
}

/// A group number: digits only, no leading zero, small. Anything else is a name.
fn number(name: &str) -> Option<usize> {
    let plain = name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    // Go stops reading a number at 1e8; longer ones name no group either way.
    if plain && name.len() <= 9 { name.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(pattern: &str, input: &str, template: &str) -> String {
        let pattern = GoRegex::anchored(pattern).unwrap();
        let template = Template::new(template, &pattern);
        template.expand(&pattern.regex().captures(input).unwrap())
    }

    #[test]
    fn references_are_read_as_go_reads_them() {
        let table = [
            ("$1", "a"),
            ("${1}", "a"),
            ("$1x", ""),
            ("${1}x", "ax"),
            ("$two-$1", "b-a"),
            ("$two_x", ""),
            ("${two}_x", "b_x"),
            ("$$1", "$1"),
            ("$", "$"),
            ("${", "${"),
            ("${1", "${1"),
            ("$-$1", "$-a"),
            ("${}", "${}"),
            ("$0", "a/b"),
            ("$01", ""),
            ("$9", ""),
            ("é$1é", ""),
            ("é${1}é", "éaé"),
            ("plain", "plain"),
            ("", ""),
        ];
        for (template, want) in table {
            let got = expand("(.*)/(?P<two>.*)", "a/b", template);
            let want = if template == "é$1é" { "é" } else { want };
            assert_eq!(got, want, "{template}");
        }
    }

    #[test]
    fn the_first_matching_group_of_a_shared_name_is_taken() {
        assert_eq!(expand("(?P<n>a)|(?P<n>b)", "b", "<$n>"), "<b>");
    }
}
