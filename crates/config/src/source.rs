//! The file as written next to the text that is parsed, and the way from one to the other.
//!
//! Keeps true: places given out are of the file as written, counted from 1, columns in characters.

use std::ops::Range;

use crate::{
    expand::{self, Environment, ExpandError, Expanded},
    mask,
};

/// A place in the file as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub line: usize,
    pub column: usize,
}

/// One configuration file.
pub(crate) struct Source {
    pub file: String,
    written: String,
    expanded: Expanded,
    /// Byte where each line of `written` starts.
    lines: Vec<usize>,
}

impl Source {
    /// Expands `text` if asked to. The source comes back in either case, so that the error can be shown.
    pub fn new(file: &str, text: &str, expand_env: bool, environment: Environment<'_>) -> (Self, Option<ExpandError>) {
        let written = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let lines = std::iter::once(0).chain(written.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let (expanded, error) = match expand_env.then(|| expand::expand(&written, environment)) {
            Some(Ok(expanded)) => (expanded, None),
            Some(Err(error)) => (Expanded::verbatim(&written), Some(error)),
            None => (Expanded::verbatim(&written), None),
        };
        (Self { file: file.to_owned(), written, expanded, lines }, error)
    }

    /// The file as written, without a byte order mark.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// What the YAML reader reads.
    pub fn text(&self) -> &str {
        &self.expanded.text
    }

    /// The part of [`Source::text`] at `range`, empty if there is no such part.
    pub fn slice(&self, range: Range<usize>) -> &str {
        self.expanded.text.get(range).unwrap_or_default()
    }

    /// The written place of byte `offset` of [`Source::text`].
    pub fn place(&self, offset: usize) -> Place {
        self.written_place(self.expanded.origin(offset))
    }

    /// The place of byte `offset` of the file as written.
    pub fn written_place(&self, offset: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let offset = self.written.floor_char_boundary(offset);
        let column = self.written.get(start..offset).map_or(0, |t| t.chars().count()) + 1;
        Place { line, column }
    }

    /// The line as written, secrets masked, and where its characters stand.
    pub fn snippet(&self, line: usize) -> mask::Masked {
        let lines: Vec<&str> = self.written.lines().collect();
        mask::mask(&lines, line.saturating_sub(1))
    }

    /// The variables whose substitutions touch bytes `range` of the text; one that left nothing counts at its place.
    pub fn variables(&self, range: Range<usize>) -> impl Iterator<Item = &str> {
        self.expanded.variables(range)
    }

    /// The variable that byte `offset` of the text came from: what stands there is not the file's and may be a secret.
    pub fn variable_at(&self, offset: usize) -> Option<&str> {
        self.expanded.inside(offset)
    }
}
