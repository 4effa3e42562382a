//! `${NAME}` in the text of the file, in the dialect Grafana Agent takes from drone/envsubst (2021-07-30).
//!
//! Works on raw text, comments included, and inserts values unquoted. Knows no YAML. Keeps true: each piece of the result
//! remembers the bytes it came from, so that problems are shown where the person wrote them; all-digit names (`${1}`)
//! come out as they went in, for relabel rules.

use std::ops::Range;

use crate::glob::{trim_prefix, trim_suffix};

/// The process's environment.
pub(crate) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Text after expansion.
#[derive(Debug, Default)]
pub(crate) struct Expanded {
    pub text: String,
    /// In order; together they cover the input and the text.
    pub pieces: Vec<Piece>,
}

/// A run of plain text, or one `${...}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Bytes of the input.
    pub from: Range<usize>,
    /// Bytes of the text.
    pub to: Range<usize>,
    /// The variable, for `${...}`.
    pub variable: Option<String>,
}

/// Where and why a substitution cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExpandError {
    /// Byte of the input where the `${` starts.
    pub at: usize,
    pub message: String,
}

/// A default may hold substitutions that have defaults: bounded, since the parser recurses.
const MAX_DEPTH: usize = 32;

/// Expands all of `input`.
pub(crate) fn expand(input: &str, environment: Environment<'_>) -> Result<Expanded, ExpandError> {
    let mut scanner = Scanner { input, at: 0, environment };
    let mut out = Expanded::default();
    let mut plain = 0;
    loop {
        let rest = scanner.rest();
        // `$$` becomes `$`, and what follows is plain: `$${A}` is the text `${A}`.
        if rest.starts_with("$$") {
            out.keep(input, plain..scanner.at + 1);
            scanner.at += 2;
            plain = scanner.at;
        } else if rest.starts_with("${") {
            out.keep(input, plain..scanner.at);
            let start = scanner.at;
            scanner.at += 2;
            let (variable, value) = scanner.substitution(0).map_err(|message| ExpandError { at: start, message })?;
            let to = out.text.len()..out.text.len() + value.len();
            out.text.push_str(&value);
            out.pieces.push(Piece { from: start..scanner.at, to, variable: Some(variable) });
            plain = scanner.at;
        } else if scanner.next().is_none() {
            out.keep(input, plain..input.len());
            return Ok(out);
        }
    }
}

impl Expanded {
    /// A text in which nothing was expanded.
    pub fn verbatim(input: &str) -> Self {
        let mut all = Self::default();
        all.keep(input, 0..input.len());
        all
    }

    fn keep(&mut self, input: &str, from: Range<usize>) {
        let text = input.get(from.clone()).unwrap_or_default();
        if !text.is_empty() {
            let to = self.text.len()..self.text.len() + text.len();
            self.text.push_str(text);
            self.pieces.push(Piece { from, to, variable: None });
        }
    }

    /// The byte of the input that byte `offset` of the text came from (for an expanded value: where its `${` starts).
    pub fn origin(&self, offset: usize) -> usize {
        let next = self.pieces.partition_point(|p| p.to.end <= offset);
        match self.pieces.get(next) {
            Some(piece) if piece.variable.is_none() => piece.from.start + offset.saturating_sub(piece.to.start),
            Some(piece) => piece.from.start,
            None => self.pieces.last().map_or(0, |p| p.from.end),
        }
    }

    /// The variable that byte `offset` of the text came from.
    pub fn inside(&self, offset: usize) -> Option<&str> {
        let next = self.pieces.partition_point(|p| p.to.end <= offset);
        self.pieces.get(next).and_then(|p| p.variable.as_deref())
    }

    /// The variables whose substitutions touch bytes `range` of the text (an empty substitution at its edge counts).
    pub fn variables(&self, range: Range<usize>) -> impl Iterator<Item = &str> {
        let first = self.pieces.partition_point(|p| p.to.end < range.start);
        self.pieces
            .get(first..)
            .unwrap_or_default()
            .iter()
            .take_while(move |p| p.to.start <= range.end)
            .filter_map(|p| p.variable.as_deref())
    }
}

struct Scanner<'i, 'e> {
    input: &'i str,
    at: usize,
    environment: Environment<'e>,
}

impl Scanner<'_, '_> {
    fn rest(&self) -> &str {
        self.input.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take_while(&mut self, mut accept: impl FnMut(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(c) = self.peek().filter(|c| accept(*c)) {
            taken.push(c);
            self.at += c.len_utf8();
        }
        taken
    }

    fn closes_on_this_line(&self) -> bool {
        self.rest().lines().next().is_some_and(|rest| rest.contains('}'))
    }

    /// One or two characters of an operator such as `##`.
    fn operator(&mut self, second: &[char]) -> String {
        let mut operator = String::new();
        operator.extend(self.next());
        if let Some(c) = self.peek().filter(|c| second.contains(c)) {
            operator.push(c);
            self.at += c.len_utf8();
        }
        operator
    }

    fn close(&mut self) -> Result<(), String> {
        match self.next() {
            Some('}') => Ok(()),
            Some(_) => Err("a `}` is missing".into()),
            None => Err("`${` is never closed by `}`".into()),
        }
    }

    /// After `${`, up to and with `}`: the variable's name and the resulting text.
    fn substitution(&mut self, depth: usize) -> Result<(String, String), String> {
        if depth > MAX_DEPTH {
            return Err(format!("substitutions are nested more than {MAX_DEPTH} deep"));
        }
        if self.peek() == Some('#') {
            self.next();
            let name = self.name()?;
            self.close()?;
            let length = self.value(&name).len().to_string();
            return Ok((name, length));
        }
        let name = self.name()?;
        let value = match self.peek() {
            Some('}') => {
                self.next();
                return Ok((name.clone(), self.value(&name)));
            }
            Some(':') if self.rest().chars().nth(1).is_some_and(|c| "=-?+".contains(c)) => {
                self.at += 2;
                self.default(&name, depth)?
            }
            Some('=') => {
                self.at += 1;
                self.default(&name, depth)?
            }
            Some(':') => self.substring(&name, depth)?,
            Some(',' | '^') => self.casing(&name)?,
            Some('/') => self.replacement(&name, depth)?,
            Some('#') => self.trim(&name, '#', depth)?,
            Some('%') => self.trim(&name, '%', depth)?,
            Some('-' | '+' | '?') => {
                return Err(format!(
                    "`${{{name}` is followed by an operator without a colon; for a default write `${{{name}:-default}}`"
                ));
            }
            None => return Err(format!("`${{{name}` is never closed: the `}}` is missing")),
            Some(c) if "\"'\r\n".contains(c) || !self.closes_on_this_line() => {
                return Err(format!("`${{{name}` is not closed: the `}}` after the name is missing"));
            }
            Some(_) => {
                return Err(format!(
                    "`${{{name}` is followed by a character that cannot be in a name (letters, digits, `_`)"
                ));
            }
        };
        Ok((name, value))
    }

    fn name(&mut self) -> Result<String, String> {
        let name = self.take_while(|c| c.is_alphanumeric() || c == '_');
        match (name.is_empty(), self.peek()) {
            (false, _) => Ok(name),
            (true, Some('}')) => Err("`${}` names no variable; for a literal `${}` write `$${}`".into()),
            (true, None) => Err("`${` is never closed by `}`".into()),
            (true, Some(_)) => Err("`${` is not followed by a variable's name; for a literal `${` write `$${`".into()),
        }
    }

    fn value(&self, name: &str) -> String {
        if name.chars().all(|c| c.is_numeric()) {
            return format!("${{{name}}}");
        }
        (self.environment)(name).unwrap_or_default()
    }

    /// One parameter of an operator: a nested substitution, or text as far as `accept` goes.
    fn parameter(&mut self, depth: usize, escapes: bool, accept: impl Fn(char) -> bool) -> Result<String, String> {
        if self.rest().starts_with("${") {
            self.at += 2;
            return self.substitution(depth + 1).map(|(_, value)| value);
        }
        let mut text = String::new();
        while let Some(c) = self.peek() {
            let escaped = self.rest().chars().nth(1).filter(|next| escapes && c == '\\' && matches!(next, '/' | '\\'));
            if let Some(next) = escaped {
                text.push(next);
                self.at += 2;
            } else if self.rest().starts_with("${") || !accept(c) {
                break;
            } else {
                text.push(c);
                self.at += c.len_utf8();
            }
        }
        if text.is_empty() { Err("an operator's text is missing".into()) } else { Ok(text) }
    }

    /// `:-d` `:=d` `=d`, and `:?d` `:+d`, which act the same: `d` when the variable is unset or empty.
    fn default(&mut self, name: &str, depth: usize) -> Result<String, String> {
        let mut default = String::new();
        loop {
            match self.peek() {
                Some('}') => {
                    self.at += 1;
                    let value = self.value(name);
                    return Ok(if value.is_empty() { default } else { value });
                }
                None => return Err("`${` is never closed by `}`".into()),
                Some(_) => default.push_str(&self.parameter(depth, false, |c| c != '}')?),
            }
        }
    }

    fn substring(&mut self, name: &str, depth: usize) -> Result<String, String> {
        self.at += 1;
        let position = self.parameter(depth, false, |c| c != ':' && c != '}')?;
        let mut length = None;
        if self.peek() == Some(':') {
            self.take_while(|c| c == ':');
            length = Some(self.parameter(depth, false, |c| c != '}')?);
        }
        self.close()?;
        let value = self.value(name);
        let Ok(position) = position.parse::<i64>() else {
            return Ok(value);
        };
        let size = i64::try_from(value.len()).unwrap_or(i64::MAX);
        let start = if position < 0 { size.saturating_add(position).max(0) } else { position };
        let end = match length.map(|l| l.parse::<i64>()) {
            None => size,
            Some(Err(_)) => return Ok(value),
            Some(Ok(length)) => start.saturating_add(length).clamp(0, size),
        };
        let boundary = |at: i64| value.floor_char_boundary(usize::try_from(at).unwrap_or(value.len()).min(value.len()));
        Ok(value.get(boundary(start)..boundary(end)).unwrap_or_default().to_owned())
    }

    fn casing(&mut self, name: &str) -> Result<String, String> {
        let operator = self.operator(&[',', '^']);
        self.close()?;
        let value = self.value(name);
        let (first, rest) = value.split_at(value.chars().next().map_or(0, char::len_utf8));
        Ok(match operator.as_str() {
            "," => first.to_lowercase() + rest,
            "^" => first.to_uppercase() + rest,
            ",," => value.to_lowercase(),
            "^^" => value.to_uppercase(),
            // `,^` and `^,` are read and do nothing.
            _ => value,
        })
    }

    fn replacement(&mut self, name: &str, depth: usize) -> Result<String, String> {
        let operator = self.operator(&['/', '#', '%']);
        let pattern = self.parameter(depth, true, |c| c != '/')?;
        if self.take_while(|c| c == '/').is_empty() {
            return Err("the `/` between pattern and replacement is missing".into());
        }
        let replacement = match self.peek() {
            Some('}') => None,
            _ => Some(self.parameter(depth, true, |c| c != '}')?),
        };
        self.close()?;
        let value = self.value(name);
        let by = replacement.as_deref().unwrap_or_default();
        Ok(match operator.as_str() {
            "/" => value.replacen(&pattern, by, 1),
            "//" => value.replace(&pattern, by),
            "/#" if replacement.is_some() => {
                value.strip_prefix(&pattern).map(|rest| format!("{by}{rest}")).unwrap_or(value)
            }
            "/%" if replacement.is_some() => {
                value.strip_suffix(&pattern).map(|rest| format!("{rest}{by}")).unwrap_or(value)
            }
            _ => value,
        })
    }

    fn trim(&mut self, name: &str, which: char, depth: usize) -> Result<String, String> {
        let longest = self.operator(&[which]).len() == 2;
        let pattern = self.parameter(depth, false, |c| c != '}')?;
        self.close()?;
        let value = self.value(name);
        Ok(match which {
            '#' => trim_prefix(&value, &pattern, longest),
            _ => trim_suffix(&value, &pattern, longest),
        })
    }
}

#[cfg(test)]
#[path = "expand_test.rs"]
mod test;
