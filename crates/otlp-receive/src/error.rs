//! Why a receiver cannot run.

use std::io;

use net::NetError;

/// Every failure of a receiver as a whole; what a single request comes to is told to its client.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The address cannot be listened on.
    #[error("listening on {address} for {what}: {source}; is another process using the port?")]
    Listen {
        /// `otlp (grpc)` and the like.
        what: String,
        /// As configured.
        address: String,
        #[source]
        source: io::Error,
    },
    /// Certificates, mostly.
    #[error("{what}: {source}")]
    Net {
        /// `otlp (grpc)` and the like.
        what: String,
        #[source]
        source: NetError,
    },
}
