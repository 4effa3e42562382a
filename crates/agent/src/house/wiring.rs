//! What every route is built from: the queue, the shared caches, the metrics.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use config::MetricsRoute;
use discovery::DiscoveryMetrics;
use log_tail::TailMetrics;
use pipeline::BaseVectors;
use prometheus_client::registry::Registry;
use queue::Queue;
use remote_write::{RemoteStorageMetrics, logs::LogDeliveryMetrics};
use scrape::{HostFilter, ScrapeContext, ScrapeMetrics, offset_seed};

use crate::identity_metrics::IdentityMetrics;

/// Decoded base vectors kept for all destinations together.
const BASE_VECTOR_BYTES: usize = 32 << 20;

/// The open queue and the rest.
pub struct Wiring {
    pub queue: Queue,
    /// Where the positions of log sources lie: `<data directory>/positions`.
    pub positions_directory: PathBuf,
    pub parts: Parts,
}

/// Everything but the queue, so that a plan can be tried before the queue is touched.
pub struct Parts {
    pub discovery: DiscoveryMetrics,
    pub scrape: Arc<ScrapeMetrics>,
    pub remote: RemoteStorageMetrics,
    pub log_deliveries: LogDeliveryMetrics,
    pub tail: Arc<TailMetrics>,
    pub bases: BaseVectors,
    pub identities: aws::IdentityContext,
    pub identity_metrics: IdentityMetrics,
    /// Of all pools: memory for bodies, and what has been said.
    scraping: ScrapeContext,
    hostname: String,
}

impl Parts {
    pub fn new(registry: &mut Registry) -> Result<Self> {
        let hostname = crate::hostname::of_this_machine();
        Ok(Self {
            discovery: DiscoveryMetrics::registered(registry),
            scrape: ScrapeMetrics::registered(registry),
            remote: RemoteStorageMetrics::register(registry),
            log_deliveries: LogDeliveryMetrics::register(registry),
            tail: TailMetrics::registered(registry),
            bases: BaseVectors::new(BASE_VECTOR_BYTES),
            identities: aws::IdentityContext::new(&hostname).context("preparing the AWS clients")?,
            identity_metrics: IdentityMetrics::register(registry),
            scraping: ScrapeContext::new(0),
            hostname,
        })
    }

    /// What this machine is called.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// What the pools of a route share.
    pub fn scrape_context(&self, plan: &MetricsRoute) -> ScrapeContext {
        let seed = offset_seed(&self.hostname, &plan.external_labels);
        let mut context = self.scraping.for_instance(&plan.name, seed);
        context.host_filter = plan
            .host_filter
            .then(|| Arc::new(HostFilter { hostname: self.hostname.clone(), rules: plan.host_filter_relabel.clone() }));
        context
    }
}
