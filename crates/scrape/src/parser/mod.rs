//! One scanner for Prometheus text 0.0.4 and OpenMetrics 1.0 (and 0.0.1), zero-copy over the body.
//!
//! It reads an exposition in three pieces, each a pure function of the bytes: a run of comment lines ([`comment`]),
//! the text of a series ([`series`]), and what follows a series on its line ([`sample`]). The scrape cache calls the
//! last one on every line and the first two only for text it has not seen at that place before.
//!
//! The grammar is that of Prometheus' own lexers (`model/textparse/promlex.l`, `openmetricslex.l`), which is wider than
//! the documents in places: blanks around tokens of the text format, trailing commas, line feeds inside label values
//! of the text format, values that touch the closing brace. Wider than Prometheus on purpose: hexadecimal floats
//! (the text format promises Go's ParseFloat) and negative timestamps. Malformed input is an error with a line number,
//! and fails the whole scrape. Exemplars are checked and passed over.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation
    )
)]

pub(crate) mod comment;
mod fault;
pub(crate) mod sample;
pub(crate) mod series;

pub(crate) use fault::Fault;
pub use fault::ParseError;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `text/plain; version=0.0.4`, the fallback for everything that is not OpenMetrics.
    Text004,
    /// `application/openmetrics-text`, versions 1.0.0 and 0.0.1. Timestamps are seconds; `# EOF` ends the body.
    OpenMetrics1,
}

impl Format {
    pub(crate) fn is_open_metrics(self) -> bool {
        self == Self::OpenMetrics1
    }

    /// Blanks may stand between the tokens of a line of the text format only.
    #[inline]
    pub(crate) fn skip_blanks(self, body: &[u8], mut at: usize) -> usize {
        if self == Self::Text004 {
            while let Some(b' ' | b'\t') = body.get(at) {
                at += 1;
            }
        }
        at
    }
}
