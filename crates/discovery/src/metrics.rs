//! What discovery counts, under Prometheus' names.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

/// Counters of all discoveries of a process.
#[derive(Debug, Clone, Default)]
pub struct DiscoveryMetrics {
    /// `prometheus_sd_file_read_errors_total`
    pub file_read_errors: Counter,
    /// `prometheus_sd_file_watcher_errors_total`
    pub file_watcher_errors: Counter,
    /// `prometheus_sd_http_failures_total`
    pub http_failures: Counter,
    /// `prometheus_sd_kubernetes_failures_total`
    pub kubernetes_failures: Counter,
    /// `sigpost_sd_docker_failures_total`
    pub docker_failures: Counter,
}

impl DiscoveryMetrics {
    /// Fresh counters, registered under their public names (the registry adds `_total`).
    pub fn registered(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "prometheus_sd_file_read_errors",
            "Target files that could not be read or parsed",
            metrics.file_read_errors.clone(),
        );
        registry.register(
            "prometheus_sd_file_watcher_errors",
            "Directories of target files that could not be watched (polling still works)",
            metrics.file_watcher_errors.clone(),
        );
        registry.register(
            "prometheus_sd_http_failures",
            "Failed refreshes of HTTP discovery",
            metrics.http_failures.clone(),
        );
        registry.register(
            "prometheus_sd_kubernetes_failures",
            "Failed lists and watches of the Kubernetes API",
            metrics.kubernetes_failures.clone(),
        );
        registry.register(
            "sigpost_sd_docker_failures",
            "Failed refreshes of Docker discovery",
            metrics.docker_failures.clone(),
        );
        metrics
    }
}
