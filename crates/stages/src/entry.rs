//! One log line on its way.

use model::Labels;

use crate::{Extracted, Parts};

/// The label that carries the tenant; senders take it off.
pub const TENANT_LABEL: &str = "__tenant_id__";

/// A line with what is known of it.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    pub labels: Labels,
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    pub line: String,
    /// Filled from the labels when the pipeline takes the entry.
    pub extracted: Extracted,
    pub structured_metadata: Labels,
    /// Where it lies in its source; of lines that were put together, all of them.
    pub parts: Parts,
}

impl Entry {
    /// A line as its source hands it over.
    pub fn new(labels: Labels, timestamp_ns: i64, line: impl Into<String>) -> Self {
        Self { labels, timestamp_ns, line: line.into(), ..Self::default() }
    }
}
