//! OTLP requests as bytes: what is counted, checked and cut in them without building a single message.
//!
//! The three export requests have one repeated message field, number 1: `ResourceSpans`, `ResourceMetrics` or `ResourceLogs`.
//! So serialized requests concatenate, and cutting one at the borders of those groups gives requests again. Knows nothing of
//! transport, compression or JSON. Keeps true: takes any bytes, never panics, never allocates, and never goes deeper than
//! [`MAX_DEPTH`] messages.

mod check;
mod fields;
mod footprint;
mod schema;
#[cfg(test)]
mod tests;

pub use check::{MAX_DEPTH, check};
pub use fields::{Field, Fields, Groups, ResourceGroup, Value, count, fields, resource_groups};
pub use footprint::footprint;

/// What an OTLP request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Data points.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// The word in paths (`/v1/traces`), labels and pages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// What its items are called.
    pub fn items(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Metrics => "data points",
            Self::Logs => "log records",
        }
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}
