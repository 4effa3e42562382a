//! What the end-to-end tests and the peer comparison share: child processes, synthetic targets, a counting receiver.
//!
//! Refuses to know the agent's insides: only its binary, its files and its sockets.

pub mod agent;
pub mod collector;
pub mod desk;
pub mod exporter;
pub mod ledger;
pub mod lines;
pub mod metadata;
pub mod peers;
pub mod process;
pub mod receiver;
pub mod spans;
pub mod usage;

/// A TCP port that was free a moment ago on loopback.
pub fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
