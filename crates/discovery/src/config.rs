//! What each kind of discovery is made from, and what all of them produce.

use std::time::Duration;

use model::Labels;
use net::HttpClientConfig;
use url::Url;

use crate::{DockerDiscovery, KubernetesDiscovery};

/// Targets that came from one place, with the labels they share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetGroup {
    /// Where it came from (`static/0`, a file path, a URL), for the targets page.
    pub source: String,
    /// Each has at least `__address__`.
    pub targets: Vec<Labels>,
    /// Shared by all; a target's own label wins.
    pub labels: Labels,
}

/// One `*_sd_configs` entry or all `static_configs` of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiscoveryConfig {
    Static(Vec<TargetGroup>),
    File(FileDiscovery),
    Http(Box<HttpDiscovery>),
    Kubernetes(Box<KubernetesDiscovery>),
    Docker(Box<DockerDiscovery>),
}

/// `file_sd_configs[]`: globs only in the last path element; JSON or YAML by file name ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDiscovery {
    pub files: Vec<String>,
    /// Default 5 min; changes are also seen by notification.
    pub refresh_interval: Duration,
}

/// `http_sd_configs[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpDiscovery {
    pub url: Url,
    /// Default 60 s.
    pub refresh_interval: Duration,
    pub client: HttpClientConfig,
}
