//! What a YAML error means for whoever wrote the file: the place where the fault was made, and what to write instead.
//!
//! The engine tells where it could not go on, which is often the line after. Reads the text around that place only. Keeps true: no
//! part of the text is in a message, for it may be a secret.

/// A better place and message for the engine's, where its cause is a common one.
pub(crate) fn advise(text: &str, at: usize, message: String) -> (usize, String) {
    let has = |words: &str| message.contains(words);
    if (has("found a tab") || has("tabs disallowed"))
        && let Some(tab) = indenting_tab(text, at)
    {
        return (tab, "this is not valid YAML: a tab indents this line; write blanks".into());
    }
    if (has("flow ") || has("illegal placement of ':'"))
        && let Some((open, bracket)) = unclosed(text, at)
    {
        let close = if bracket == '[' { ']' } else { '}' };
        let what = format!(
            "this is not valid YAML: this `{bracket}` is not closed: write `{close}` at its end, or put the value in quotes if it is part of it"
        );
        return (open, what);
    }
    let more = if has("mapping values are not allowed") {
        "a value with `: ` in it has to stand in quotes, and a key's own keys belong on lines of their own"
    } else if has("unexpected character") {
        "a value that begins with this character has to stand in quotes"
    } else if has("quoted scalar") {
        "is a quote above this line not closed?"
    } else if has("did not find expected '-' indicator") || has("block mapping") || has("block collection") {
        "this line begins in another column than the lines it belongs to: indent it as they are"
    } else {
        return (at, message);
    };
    (at, format!("{message}; {more}"))
}

/// A tab among the blanks that a line begins with, on the line of `at` or one of the next three.
fn indenting_tab(text: &str, at: usize) -> Option<usize> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let mut begin = start;
    for line in text.get(start..)?.split_inclusive('\n').take(4) {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line.get(..indent)?.find('\t') {
            return Some(begin + tab);
        }
        begin += line.len();
    }
    None
}

/// The innermost bracket that is open at `at`, quotes and comments aside.
fn unclosed(text: &str, at: usize) -> Option<(usize, char)> {
    let mut open = Vec::new();
    let mut quote = None;
    let mut comment = false;
    // Before a bracket or a quote that is none of a plain text's own.
    let mut before = '\n';
    for (place, c) in text.get(..at)?.char_indices() {
        let begins = matches!(before, ' ' | '\t' | '\n' | '[' | '{' | ',' | ':');
        match (quote, c) {
            _ if comment => comment = c != '\n',
            (Some(mark), c) if c == mark && !(mark == '"' && before == '\\') => quote = None,
            (Some(_), _) => {}
            (None, '#') if matches!(before, ' ' | '\t' | '\n') => comment = true,
            (None, '"' | '\'') if begins => quote = Some(c),
            (None, '[' | '{') if begins => open.push((place, c)),
            (None, ']' | '}') => drop(open.pop()),
            (None, _) => {}
        }
        before = c;
    }
    open.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advised(text: &str, at: &str, message: &str) -> (usize, String) {
        let (at, message) = advise(text, text.find(at).unwrap(), message.to_owned());
        (text.get(..at).unwrap().matches('\n').count() + 1, message)
    }

    #[test]
    fn the_place_is_where_the_fault_was_made() {
        let text = "a:\n  - name: [default # ]\n    b: '}'\n    jobs: []\n";
        let (line, told) = advised(text, "jobs", "illegal placement of ':' indicator");
        assert!(line == 2 && told.contains("`[` is not closed: write `]`"), "{line} {told}");
        let text = "a:\n  auth: {user: \"x]}\", secret: y\n  jobs: []\n";
        let (line, told) = advised(text, "jobs", "while parsing a flow mapping, did not find expected ',' or '}'");
        assert!(line == 2 && told.contains("write `}`") && !told.contains('y'), "{line} {told}");
        let text = "a:\n  name: x\n \tb: 1\n";
        let (line, told) = advised(text, "x\n", "while scanning a plain scalar, found a tab");
        assert!(line == 3 && told.contains("a tab indents"), "{line} {told}");
        let (_, told) = advised("a: b: c\n", "c", "mapping values are not allowed in this context");
        assert!(told.contains("in quotes"), "{told}");
        assert_eq!(advised("a: b\n", "b", "something else"), (1, "something else".to_owned()));
    }

    #[test]
    fn any_text_and_place_is_taken() {
        for text in ["", "\t", "[{\"\\", "ä: [ö", "'", "#"] {
            for at in 0..=text.len() + 1 {
                for message in ["found a tab", "flow mapping", "illegal placement of ':'"] {
                    let (place, _) = advise(text, at, message.to_owned());
                    assert!(place <= text.len().max(at));
                }
            }
        }
    }
}
