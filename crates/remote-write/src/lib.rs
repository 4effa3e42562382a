//! Delivers: one independent worker per destination.

mod config;
pub use config::{Backoff, Batching, DestinationConfig, MetadataConfig, ProtocolConfig};
