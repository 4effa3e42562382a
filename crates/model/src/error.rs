//! What can go wrong with telemetry bytes. Facts only: which part, what was found.

use crate::ContextKey;

#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The bytes end inside `part`.
    #[error("reading {part}: the bytes end too early")]
    Truncated { part: &'static str },
    /// The bytes of `part` contradict the format.
    #[error("reading {part}: {reason}")]
    Corrupt { part: &'static str, reason: &'static str },
    /// Written by a later program.
    #[error("reading {part}: format version {found} is not known here; it was written by a newer release")]
    Version { part: &'static str, found: u8 },
    /// A stated or implied size is beyond what a writer of this format makes.
    #[error("reading {part}: {found} is more than the limit of {limit}")]
    TooLarge { part: &'static str, found: u64, limit: u64 },
    /// The builder takes no more; build it and start another. The series was not added.
    #[error("the series table is full")]
    TableFull,
    /// One series alone is larger than a table may be.
    #[error("a series with {labels} labels and {bytes} bytes of text is too large to store")]
    SeriesTooLarge { labels: usize, bytes: usize },
    /// A family index that was not given out by this builder.
    #[error("family {0} does not exist in this table")]
    UnknownFamily(u32),
    /// A batch names a context that could not be had.
    #[error("context {key} is not available")]
    MissingContext { key: ContextKey },
    /// A batch names a context whose bytes could not be read.
    #[error("reading context {key}")]
    Context {
        key: ContextKey,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
