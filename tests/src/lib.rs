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
pub mod ports;
pub mod process;
pub mod receiver;
pub mod spans;
pub mod usage;

pub use ports::free_port;
