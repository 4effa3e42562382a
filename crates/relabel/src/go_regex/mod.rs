//! Go's RE2 dialect on top of the `regex` crate.
//!
//! A pattern is parsed by Go's own rules (`regexp/syntax` with the `Perl` flags, what `regexp.Compile` uses) into a small
//! tree, and the tree is printed in the other crate's syntax with everything spelt out, so that no default of that crate
//! (Unicode `\d`, nested classes, `x` mode, set operations) can change its meaning. What Go refuses is refused here.
//!
//! Known differences: nesting deeper than 100 is refused (Go: 1,000); Unicode tables are of another version; `\B` and the
//! like are not tried inside a character (ours are always valid UTF-8).

mod escape;
mod parse;
mod print;
mod tree;

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

/// Largest compiled program of one pattern, in bytes. Patterns come from users; a repeat of a repeat must not take the
/// memory of the machine.
const PROGRAM_LIMIT: usize = 16 << 20;
/// The printed pattern nests a few levels deeper than what was written.
const NEST_LIMIT: u32 = 500;

/// Why a pattern is refused. `fragment` is the part Go would name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GoRegexError {
    /// Go's parser refuses it.
    #[error("error parsing regexp: {what}: `{fragment}`")]
    Syntax {
        /// Go's own words.
        what: &'static str,
        /// The offending part.
        fragment: String,
    },
    /// It is valid, but its program would be larger than is reasonable for one rule.
    #[error("the regexp is too large once compiled (limit {PROGRAM_LIMIT} bytes); make its repetitions smaller")]
    TooLarge,
    /// The translation was not accepted.
    #[error("the regexp cannot be compiled: {0}")]
    Untranslatable(String),
}

/// A compiled pattern that also knows its group names as Go does (Go lets two groups share a name).
#[derive(Debug, Clone)]
pub struct GoRegex {
    regex: Regex,
    /// By group number; 0 is the whole match.
    names: Arc<[Option<Box<str>>]>,
}

impl GoRegex {
    /// As Prometheus compiles a matcher: `^(?s:…)$`.
    pub fn anchored(pattern: &str) -> Result<Self, GoRegexError> {
        // Wrapped as text before parsing, as Prometheus does, so that an odd pattern is odd in the same way.
        Self::unanchored(&format!("^(?s:{pattern})$"))
    }

    /// As `regexp.Compile(pattern)`.
    pub fn unanchored(pattern: &str) -> Result<Self, GoRegexError> {
        let tree = parse::parse(pattern)?;
        let printed = print::print(&tree);
        let regex = RegexBuilder::new(&printed).size_limit(PROGRAM_LIMIT).nest_limit(NEST_LIMIT).build().map_err(
            |e| match e {
                regex::Error::CompiledTooBig(_) => GoRegexError::TooLarge,
                other => GoRegexError::Untranslatable(other.to_string()),
            },
        )?;
        Ok(Self { regex, names: tree.names.into() })
    }

    /// The compiled program; group numbers are those of the pattern as written.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    /// Numbers of the groups called `name`, in order.
    pub fn groups_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.names.iter().enumerate().filter(move |(_, n)| n.as_deref() == Some(name)).map(|(i, _)| i)
    }

    /// Group names by number; 0, the whole match, has none.
    pub fn names(&self) -> impl Iterator<Item = Option<&str>> {
        self.names.iter().map(|n| n.as_deref())
    }
}

/// Compiles a Go pattern anchored on both sides, `.` matching newlines: `^(?s:…)$`.
///
/// Group names that the `regex` crate cannot carry (repeated, or starting with a digit) are dropped; use [`GoRegex`]
/// where names matter.
pub fn go_regex(pattern: &str) -> Result<Regex, GoRegexError> {
    GoRegex::anchored(pattern).map(|p| p.regex)
}

/// Compiles a Go pattern as `regexp.Compile` would: not anchored, `.` does not match a newline.
pub fn go_regex_unanchored(pattern: &str) -> Result<Regex, GoRegexError> {
    GoRegex::unanchored(pattern).map(|p| p.regex)
}
