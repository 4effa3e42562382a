//! Finds targets. Kinds so far: static, file, http.

mod config;
pub use config::{DiscoveryConfig, FileDiscovery, HttpDiscovery, TargetGroup};
