//! Why an identity cannot be built, or gives no credentials.
//!
//! Keeps true: no text repeats its source, so that a chain printed with colons says everything once.

use net::NetError;

use crate::fault::Fault;

/// A fault of the configuration, found before anything is sent.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// No place names a region.
    #[error("no AWS region for {host}: the host name has none, {profile}, and AWS_REGION is not set; {remedy}")]
    NoRegion {
        /// The destination's host.
        host: String,
        /// What the profile says, with its name and files.
        profile: String,
        /// What to write where.
        remedy: String,
    },
    /// The URL cannot be signed for.
    #[error("cannot sign requests for {url}: {why}")]
    Url {
        /// The URL without user name, password and query.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A value of the identity block is unusable.
    #[error("{key}: {why}")]
    Invalid {
        /// The key in the identity block.
        key: &'static str,
        /// What is wrong, and what to write instead.
        why: String,
    },
    /// The HTTP clients for STS and metadata cannot be built.
    #[error("the HTTP client for AWS credentials cannot be built")]
    Client(#[from] NetError),
}

/// Why a source gave no credentials this time. The text names the source, says what is wrong and what to do; never a secret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct FetchError {
    pub(crate) message: String,
    /// The source does not exist here (as opposed to: it exists and failed), so that a chain may go on.
    pub(crate) absent: bool,
    /// What kind of thing it is, where that is known.
    pub(crate) fault: Option<Box<Fault>>,
}

impl FetchError {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), absent: false, fault: None }
    }

    pub(crate) fn absent(message: impl Into<String>) -> Self {
        Self { message: message.into(), absent: true, fault: None }
    }

    /// The same with its kind; the kind that it has already stays.
    pub(crate) fn of(mut self, fault: Fault) -> Self {
        self.fault.get_or_insert_with(|| Box::new(fault));
        self
    }

    /// The same with other words around its own.
    pub(crate) fn told(mut self, words: impl FnOnce(&str) -> String) -> Self {
        self.message = words(&self.message);
        self
    }

    /// The same for a source that is there for certain: a chain does not go on.
    pub(crate) fn present(self) -> Self {
        Self { absent: false, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_repeats_its_source() {
        let inner = NetError::Config { what: "the proxy's URL has no host".to_owned() };
        let error = anyhow_like(&AwsError::from(inner));
        assert_eq!(error.matches("the proxy's URL has no host").count(), 1, "{error}");
    }

    /// As `anyhow` prints with `{:#}`.
    fn anyhow_like(error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            text = format!("{text}: {cause}");
            next = cause.source();
        }
        text
    }
}
