//! The text of a series: a name, labels in braces, either or both quoted (UTF-8 names of Prometheus 3).

use std::ops::Range;

use super::{Fault, Format};

/// More than a table takes, and far more than anybody means.
const MAX_LABELS: usize = 1 << 16;

/// A series taken apart: unescaped, checked to be UTF-8, no label name twice. Reused from line to line.
#[derive(Debug, Default)]
pub(crate) struct SeriesText {
    text: String,
    name: Range<usize>,
    labels: Vec<(Range<usize>, Range<usize>)>,
}

impl SeriesText {
    pub(crate) fn name(&self) -> &str {
        self.text.get(self.name.clone()).unwrap_or_default()
    }

    /// As exposed, in the order of the text, empty values included, without `__name__`.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let part = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default();
        self.labels.iter().map(move |(name, value)| (part(name), part(value)))
    }

    /// Reads the series that starts at `at`; returns the offset behind it.
    pub(crate) fn read(&mut self, body: &[u8], at: usize, format: Format) -> Result<usize, Fault> {
        self.text.clear();
        self.labels.clear();
        self.name = 0..0;
        let start = format.skip_blanks(body, at);
        let name_end = bare_name(body, start, true);
        let mut end = name_end;
        let mut name = None;
        if name_end > start {
            name = Some(self.keep(body, start..name_end)?);
        }
        let brace = format.skip_blanks(body, name_end);
        if body.get(brace) == Some(&b'{') {
            end = self.read_labels(body, brace + 1, format, &mut name)?;
        }
        self.name = name.ok_or_else(|| Fault::new(start, "expected a metric name"))?;
        if self.name().is_empty() {
            return Err(Fault::new(start, "the metric name is empty"));
        }
        self.refuse_repeats(start)?;
        Ok(end)
    }

    /// From behind the opening brace to behind the closing one.
    fn read_labels(
        &mut self,
        body: &[u8],
        at: usize,
        format: Format,
        metric: &mut Option<Range<usize>>,
    ) -> Result<usize, Fault> {
        let mut at = format.skip_blanks(body, at);
        loop {
            if body.get(at) == Some(&b'}') {
                return Ok(at + 1);
            }
            let (name, end, quoted) = self.read_name(body, at, format)?;
            let next = format.skip_blanks(body, end);
            match body.get(next) {
                Some(b'=') => {
                    let start = format.skip_blanks(body, next + 1);
                    if body.get(start) != Some(&b'"') {
                        return Err(Fault::new(start, "expected a label value in double quotes"));
                    }
                    let (value, end) = self.read_quoted(body, start, format)?;
                    if name.is_empty() {
                        return Err(Fault::new(at, "a label name is empty"));
                    }
                    if self.labels.len() == MAX_LABELS {
                        return Err(Fault::new(at, "a series has more than 65536 labels"));
                    }
                    self.labels.push((name, value));
                    at = format.skip_blanks(body, end);
                }
                Some(b',' | b'}') if quoted => {
                    if metric.replace(name).is_some() {
                        return Err(Fault::new(at, "the metric name is given twice"));
                    }
                    at = next;
                }
                _ => return Err(Fault::new(next, "expected '=' after a label name")),
            }
            match body.get(at) {
                Some(b',') => at = format.skip_blanks(body, at + 1),
                Some(b'}') => {}
                _ => return Err(Fault::new(at, "expected ',' or '}' after a label")),
            }
        }
    }

    fn read_name(&mut self, body: &[u8], at: usize, format: Format) -> Result<(Range<usize>, usize, bool), Fault> {
        if body.get(at) == Some(&b'"') {
            let (name, end) = self.read_quoted(body, at, format)?;
            return Ok((name, end, true));
        }
        let end = bare_name(body, at, false);
        if end == at {
            return Err(Fault::new(at, "expected a label name or '}'"));
        }
        Ok((self.keep(body, at..end)?, end, false))
    }

    fn read_quoted(&mut self, body: &[u8], at: usize, format: Format) -> Result<(Range<usize>, usize), Fault> {
        let end = quoted_end(body, at, format)?;
        let raw = body.get(at + 1..end - 1).unwrap_or_default();
        let raw = std::str::from_utf8(raw).map_err(|_| Fault::new(at, "a quoted string is not UTF-8"))?;
        let start = self.text.len();
        unescape(raw, true, &mut self.text);
        Ok((start..self.text.len(), end))
    }

    /// Copies a bare name, which is ASCII by its grammar.
    fn keep(&mut self, body: &[u8], range: Range<usize>) -> Result<Range<usize>, Fault> {
        let at = range.start;
        let text = body.get(range).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let start = self.text.len();
        self.text.push_str(text.ok_or_else(|| Fault::new(at, "a name is not UTF-8"))?);
        Ok(start..self.text.len())
    }

    /// Prometheus refuses such a sample when it is appended, and with it the scrape.
    fn refuse_repeats(&self, at: usize) -> Result<(), Fault> {
        let part = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default();
        let repeated = if self.labels.len() <= 16 {
            let names = || self.labels.iter().map(|(name, _)| part(name));
            names().any(|name| name == "__name__")
                || names().enumerate().any(|(i, name)| names().skip(i + 1).any(|other| other == name))
        } else {
            let mut names: Vec<&str> = self.labels.iter().map(|(name, _)| part(name)).collect();
            names.push("__name__");
            names.sort_unstable();
            names.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
        };
        if repeated { Err(Fault::new(at, "a label name is given twice")) } else { Ok(()) }
    }
}

/// Where the series that starts at `at` ends, by structure alone: enough to look its bytes up. `None` means that
/// only a full reading can tell what is wrong.
#[inline]
pub(crate) fn end(body: &[u8], at: usize, format: Format) -> Option<usize> {
    let start = format.skip_blanks(body, at);
    let name_end = bare_name(body, start, true);
    let brace = format.skip_blanks(body, name_end);
    if body.get(brace) != Some(&b'{') {
        return (name_end > start).then_some(name_end);
    }
    let mut at = brace + 1;
    loop {
        let rest = body.get(at..)?;
        let found = at + memchr::memchr2(b'"', b'}', rest)?;
        if body.get(found) == Some(&b'}') {
            return Some(found + 1);
        }
        at = quoted_end(body, found, format).ok()?;
    }
}

/// Checks labels from the opening brace on; returns the offset behind the closing one. `scratch` is overwritten.
pub(crate) fn skip_labels(body: &[u8], brace: usize, format: Format, scratch: &mut SeriesText) -> Result<usize, Fault> {
    scratch.text.clear();
    scratch.labels.clear();
    let mut metric = None;
    let end = scratch.read_labels(body, brace + 1, format, &mut metric)?;
    match metric {
        Some(_) => Err(Fault::new(brace, "a label of the exemplar has no value")),
        None => Ok(end),
    }
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`; without colons for labels. Returns `at` if there is no name.
#[inline]
pub(crate) fn bare_name(body: &[u8], at: usize, metric: bool) -> usize {
    let rest = body.get(at..).unwrap_or_default();
    if rest.first().is_some_and(u8::is_ascii_digit) {
        return at;
    }
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || metric && *byte == b':';
    at + rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len())
}

/// Offset behind the closing quote of the string that opens at `at`.
pub(crate) fn quoted_end(body: &[u8], at: usize, format: Format) -> Result<usize, Fault> {
    const OPEN: &str = "a quoted string does not end";
    let mut from = at + 1;
    loop {
        let rest = body.get(from..).unwrap_or_default();
        // OpenMetrics ends strings at the line; the text lexer of Prometheus lets them run on.
        let stop = if format.is_open_metrics() {
            memchr::memchr3(b'"', b'\\', b'\n', rest)
        } else {
            memchr::memchr2(b'"', b'\\', rest)
        };
        let found = from + stop.ok_or_else(|| Fault::new(at, OPEN))?;
        match body.get(found) {
            Some(b'"') => return Ok(found + 1),
            Some(b'\\') if body.get(found + 1).is_some_and(|byte| *byte != b'\n') => from = found + 2,
            _ => return Err(Fault::new(at, OPEN)),
        }
    }
}

/// `\\`, `\n` and, where quotes are special, `\"`; any other backslash stands for itself.
pub(crate) fn unescape(raw: &str, quotes: bool, out: &mut String) {
    let mut rest = raw;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut characters = escaped.chars();
        match characters.next() {
            Some('\\') => out.push('\\'),
            Some('n') => out.push('\n'),
            Some('"') if quotes => out.push('"'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
}
