//! Finds targets: kinds so far are static, file, http, kubernetes and docker.
//!
//! [`watch`] turns the discovery blocks of one job into a channel that always holds the current list of
//! [`TargetGroup`]s. What a target is, which labels survive and when it is scraped is decided elsewhere.
//!
//! Refuses: to relabel, to scrape, to forget. A source that breaks (a file that does not parse, a server that answers
//! nonsense) keeps its last good groups; only a source that says "no targets" has none.
//!
//! Invariants: a body or file is never read past [`LIMIT`]; every task belongs to the caller's tracker and ends with the
//! caller's token; the first list is published when every source has reported once, or after [`PATIENCE`], so that a
//! reader who waits for the first change does not see half the world.

mod board;
mod config;
mod docker;
mod error;
mod file;
mod groups;
mod http;
mod kubernetes;
mod metrics;
mod watch;

pub use config::{DiscoveryConfig, FileDiscovery, HttpDiscovery, TargetGroup};
pub use docker::{DockerContainer, DockerDiscovery, DockerEngine, DockerHost, DockerInspection};
pub use error::DiscoveryError;
pub use groups::LIMIT;
pub use kubernetes::{KubernetesDiscovery, KubernetesRole, KubernetesSelector};
pub use metrics::DiscoveryMetrics;
pub use watch::{PATIENCE, watch, watch_counted};
