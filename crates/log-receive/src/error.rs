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
    #[error("listening on {address} for {what}: {source}; {}", advice(source))]
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

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process uses the port: stop it, or choose another port",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE: give it, or choose a higher port"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
        _ => "write an address and a port, such as 0.0.0.0:1514",
    }
}
