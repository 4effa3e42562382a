//! What every route is built from: the queue, the shared caches, the metrics.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Weak},
};

use anyhow::{Context, Result};
use config::{LineLimits, LogsRoute, MetricsRoute};
use discovery::DiscoveryMetrics;
use log_receive::ReceiveMetrics;
use log_tail::{Readership, TailMetrics};
use net::Sockets;
use otlp_receive::{BodyRoom, OtlpMetrics};
use parking_lot::Mutex;
use pipeline::BaseVectors;
use prometheus_client::registry::Registry;
use queue::Queue;
use remote_write::{RemoteStorageMetrics, logs::LogDeliveryMetrics, traces::OtlpDeliveryMetrics};
use scrape::{HostFilter, ScrapeContext, ScrapeMetrics, offset_seed};
use stages::{GateRate, LineGate, StageMetrics};
use traces::ProcessorMetrics;

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
    pub otlp_deliveries: OtlpDeliveryMetrics,
    pub otlp_receivers: OtlpMetrics,
    pub processors: ProcessorMetrics,
    /// Memory for what all of them are taking in.
    pub otlp_room: BodyRoom,
    pub tail: Arc<TailMetrics>,
    /// Who reads which log files.
    pub readership: Arc<Readership>,
    /// What pipeline stages count, of whatever source.
    pub stages: StageMetrics,
    /// What the sources of lines count that are no files.
    pub receive: ReceiveMetrics,
    /// Where sources and receivers listen.
    pub sockets: Sockets,
    gates: Mutex<BTreeMap<String, (LineLimits, Weak<LineGate>)>>,
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
        let stages = StageMetrics::registered(registry);
        Ok(Self {
            discovery: DiscoveryMetrics::registered(registry),
            scrape: ScrapeMetrics::registered(registry),
            remote: RemoteStorageMetrics::register(registry),
            log_deliveries: LogDeliveryMetrics::register(registry),
            otlp_deliveries: OtlpDeliveryMetrics::register(registry),
            otlp_receivers: OtlpMetrics::register(registry),
            processors: ProcessorMetrics::register(registry),
            otlp_room: BodyRoom::default(),
            tail: TailMetrics::with_stages(registry, stages.clone()),
            readership: Arc::default(),
            stages,
            receive: ReceiveMetrics::new(registry),
            sockets: Sockets::default(),
            gates: Mutex::default(),
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

    /// The limits that all sources of a logs instance have in common. Whoever asks while others use it, gets the same, as
    /// long as the limits are.
    pub fn gate(&self, plan: &LogsRoute) -> Arc<LineGate> {
        let mut gates = self.gates.lock();
        gates.retain(|_, (_, gate)| gate.strong_count() > 0);
        if let Some((limits, gate)) = gates.get(&plan.name)
            && *limits == plan.limits
            && let Some(gate) = gate.upgrade()
        {
            return gate;
        }
        let limits = plan.limits;
        let rate = limits.rate.map(|rate| GateRate { per_second: rate.per_second, burst: rate.burst, drop: rate.drop });
        let max_streams = usize::try_from(limits.max_streams).unwrap_or(usize::MAX);
        let gate = Arc::new(LineGate::new(rate, max_streams, self.stages.of_instance(&plan.name)));
        gates.insert(plan.name.clone(), (limits, Arc::downgrade(&gate)));
        gate
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
