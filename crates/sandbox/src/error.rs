//! Why the sandbox could not start or go on. The texts leave the cause to `source`, so that a printed chain says it once.

use std::{io, net::SocketAddr, path::PathBuf};

/// Everything that can stop the sandbox itself. What callers do wrong is a [`crate::Refusal`], not one of these.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A listening address is taken or not ours.
    #[error("cannot listen on {address}; choose another address with a free port")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate or key for the TLS listener cannot be used.
    #[error(
        "reading the certificate and key of the TLS listener: {what}; give a PEM certificate chain (leaf first) and its PEM key"
    )]
    Certificate {
        /// What is wrong with them.
        what: String,
    },
    /// The throwaway authority could not be made.
    #[error("cannot make the throwaway certificate authority")]
    Authority {
        /// What the certificate library said.
        source: rcgen::Error,
    },
    /// A throwaway key could not be made.
    #[error("cannot make a throwaway signing key; the crypto library refused")]
    Key,
    /// The world around the data planes cannot be used.
    #[error("the sandbox's world: {what}")]
    World {
        /// What is wrong with it.
        what: String,
    },
    /// The directory for objects cannot be used.
    #[error("cannot use {path} for objects; give a directory that this user may write", path = path.display())]
    Directory {
        /// The directory or file in it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
