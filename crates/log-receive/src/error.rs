//! What can go wrong with a source, with the facts a person needs.

use std::io;

use net::NetError;
use pipeline::{IntakeError, QueueError};

/// Why a source cannot start, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The configuration cannot work.
    #[error("{key}: {why}")]
    Config {
        /// The key at fault, as in the YAML file.
        key: &'static str,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The address cannot be listened on.
    #[error("listening on {address} for {what}: {source}; is another process using the port?")]
    Listen {
        /// `syslog` and the like.
        what: &'static str,
        /// As configured.
        address: String,
        #[source]
        source: io::Error,
    },
    /// TLS files, URLs.
    #[error("{0}")]
    Net(#[from] NetError),
    /// The queue takes nothing more.
    #[error("{0}")]
    Intake(#[from] IntakeError),
}

impl ReceiveError {
    /// The queue was closed: the agent stops, nothing is wrong.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Intake(IntakeError::Queue { source: QueueError::Closed, .. }))
    }
}
