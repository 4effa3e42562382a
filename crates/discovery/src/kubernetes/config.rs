//! What a `kubernetes_sd_configs` entry says.

use std::path::PathBuf;

use net::HttpClientConfig;
use url::Url;

/// `kubernetes_sd_configs[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesDiscovery {
    pub role: KubernetesRole,
    /// `None`, without a kubeconfig file: that of the cluster this is a pod of.
    pub api_server: Option<Url>,
    pub kubeconfig_file: Option<PathBuf>,
    /// `namespaces.names`; empty: all.
    pub namespaces: Vec<String>,
    /// `namespaces.own_namespace`.
    pub own_namespace: bool,
    pub selectors: Vec<KubernetesSelector>,
    /// `attach_metadata.node`.
    pub attach_node: bool,
    /// For `api_server`.
    pub client: HttpClientConfig,
}

/// What becomes a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KubernetesRole {
    Node,
    Pod,
    Service,
    Endpoints,
    EndpointSlice,
}

impl KubernetesRole {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Pod => "pod",
            Self::Service => "service",
            Self::Endpoints => "endpoints",
            Self::EndpointSlice => "endpointslice",
        }
    }
}

/// `selectors[]`: which objects of a role are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesSelector {
    pub role: KubernetesRole,
    pub label: String,
    pub field: String,
}
