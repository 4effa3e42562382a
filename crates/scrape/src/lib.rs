//! Pulls metrics.

mod config;
pub use config::{JobConfig, Limits, Scheme, ScrapeProtocol};
