//! What every route is built from: the queue, the shared caches, the metrics.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use config::MetricsRoute;
use discovery::DiscoveryMetrics;
use pipeline::BaseVectors;
use prometheus_client::registry::Registry;
use queue::Queue;
use remote_write::RemoteStorageMetrics;
use scrape::{Bodies, HostFilter, ScrapeContext, ScrapeMetrics, offset_seed};

use crate::identity_metrics::IdentityMetrics;

/// Decoded base vectors kept for all destinations together.
const BASE_VECTOR_BYTES: usize = 32 << 20;

/// The open queue and the rest.
pub struct Wiring {
    pub queue: Queue,
    /// The longest time between an append and its being readable.
    pub commit_interval: Duration,
    pub parts: Parts,
}

/// Everything but the queue, so that a plan can be tried before the queue is touched.
pub struct Parts {
    pub discovery: DiscoveryMetrics,
    pub scrape: Arc<ScrapeMetrics>,
    pub remote: RemoteStorageMetrics,
    pub bases: BaseVectors,
    pub identities: aws::IdentityContext,
    pub identity_metrics: IdentityMetrics,
    bodies: Bodies,
    hostname: String,
}

impl Parts {
    pub fn new(registry: &mut Registry) -> Result<Self> {
        let hostname = crate::hostname::of_this_machine();
        Ok(Self {
            discovery: DiscoveryMetrics::registered(registry),
            scrape: ScrapeMetrics::registered(registry),
            remote: RemoteStorageMetrics::register(registry),
            bases: BaseVectors::new(BASE_VECTOR_BYTES),
            identities: aws::IdentityContext::new(&hostname).context("preparing the AWS clients")?,
            identity_metrics: IdentityMetrics::register(registry),
            bodies: Bodies::default(),
            hostname,
        })
    }

    /// What the pools of a route share.
    pub fn scrape_context(&self, plan: &MetricsRoute) -> ScrapeContext {
        let mut context = ScrapeContext::new(offset_seed(&self.hostname, &plan.external_labels));
        context.bodies = self.bodies.clone();
        context.host_filter = plan
            .host_filter
            .then(|| Arc::new(HostFilter { hostname: self.hostname.clone(), rules: plan.host_filter_relabel.clone() }));
        context
    }
}
