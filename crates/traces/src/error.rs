//! What can be wrong with a configuration of processors. Found when it is compiled, before anything runs.

/// Why processors cannot work as configured.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// A pattern that Go would refuse, or that is too large.
    #[error("`{key}`: the pattern is not valid: {source}")]
    Pattern {
        /// Where it stands.
        key: String,
        #[source]
        source: relabel::GoRegexError,
    },
    /// A setting that means nothing.
    #[error("`{key}`: {why}")]
    Setting {
        /// Where it stands.
        key: String,
        /// What is wrong and what to write.
        why: String,
    },
}

impl TracesError {
    pub(crate) fn setting(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), why: why.into() }
    }

    /// The key it is about, relative to the processor's block.
    pub fn key(&self) -> &str {
        match self {
            Self::Pattern { key, .. } | Self::Setting { key, .. } => key,
        }
    }
}
