//! What can be wrong with a discovery block, and with what a source answers.

use net::NetError;

/// Why discovery cannot start, or why one refresh brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// A `files` entry that can never match.
    #[error("file_sd_configs: {pattern:?} is not usable: {why}")]
    Pattern {
        /// As written.
        pattern: String,
        /// What to change.
        why: String,
    },
    /// The HTTP client of an entry cannot be built.
    #[error("the client for {url} cannot be built: {source}")]
    Client {
        /// Without credentials.
        url: String,
        #[source]
        source: NetError,
    },
    /// A file could not be read.
    #[error("reading target file {path}: {source}")]
    Read {
        /// As matched by the pattern.
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// A request failed.
    #[error("asking {url} for targets: {source}")]
    Request {
        /// Without credentials.
        url: String,
        #[source]
        source: NetError,
    },
    /// What was asked for is not there any more.
    #[error("asking {place}: {why}")]
    Gone {
        /// The address without credentials.
        place: String,
        /// What was answered.
        why: String,
    },
    /// A source answered, but not with target groups.
    #[error("{place} does not hold target groups: {why}")]
    Content {
        /// The path or the URL without credentials.
        place: String,
        /// What is wrong and where.
        why: String,
    },
    /// The API server of a `kubernetes_sd_configs` entry cannot be asked.
    #[error("kubernetes_sd_configs: {why}")]
    Kubernetes {
        /// What is wrong and what to do; no secret.
        why: String,
    },
}
