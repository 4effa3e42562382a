//! One destination's worker with everything that is its own: identity, stop token, tasks.
//!
//! Keeps true: when `end` returns, nothing of it holds a claim or a reader any more.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use config::DestinationPlan;
use net::Authorize;
use pipeline::{LaneId, LogOutlet, OtlpOutlet, Outlet};
use queue::Reader;
use remote_write::{Destination, DestinationStatus, ProtocolConfig, logs::LogDestination, traces::TraceDestination};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    drain::backend_name,
    wiring::{Parts, Wiring},
};

/// What starts the worker again as it was.
pub struct Ended {
    pub plan: DestinationPlan,
    pub identity: Option<Arc<aws::Identity>>,
}

/// Longer than a worker's own grace.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running worker.
pub struct Delivery {
    plan: DestinationPlan,
    identity: Option<Arc<aws::Identity>>,
    status: DestinationStatus,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Delivery {
    /// Who signs for `plan`. Separate from `start` because it can fail on a bad plan and a reload must know that first.
    pub fn identity(parts: &Parts, plan: &DestinationPlan) -> Result<Option<Arc<aws::Identity>>> {
        let config = &plan.config;
        let build = |block| aws::build(block, &config.url, plan.default_service, &config.name, &parts.identities);
        plan.identity.as_ref().map(build).transpose().with_context(|| format!("destination {}", config.name))
    }

    /// The way out of the queue. Separate for the same reason: whoever has it can start.
    pub fn reader(wiring: &Wiring, lane: &LaneId, plan: &DestinationPlan) -> Result<Reader> {
        let name = &plan.config.name;
        wiring.queue.reader(name, lane).with_context(|| format!("destination {name}"))
    }

    /// Starts the worker. Cannot fail.
    pub fn start(
        wiring: &Wiring,
        instance: &str,
        plan: &DestinationPlan,
        identity: Option<Arc<aws::Identity>>,
        reader: Reader,
    ) -> Self {
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        wiring.parts.identity_metrics.put(&plan.config.name, identity.as_ref());
        let (config, authorize) = (plan.config.clone(), identity.clone().map(|i| i as Arc<dyn Authorize>));
        let status = match config.protocol {
            ProtocolConfig::Logs(_) => {
                let metrics = wiring.parts.log_deliveries.for_instance(instance);
                let outlets = vec![LogOutlet::new(reader)];
                LogDestination::spawn(config, authorize, outlets, &metrics, &tracker, stop.clone())
            }
            ProtocolConfig::Otlp(_) => {
                let metrics = wiring.parts.otlp_deliveries.for_instance(instance);
                let metrics = match backend_name(instance, &config.name) {
                    Some(backend) => metrics.for_backend(backend),
                    None => metrics,
                };
                let outlets = vec![OtlpOutlet::new(reader)];
                TraceDestination::spawn(config, authorize, outlets, &metrics, &tracker, stop.clone())
            }
            ProtocolConfig::Prometheus { .. } | ProtocolConfig::S3 { .. } => {
                let metrics = wiring.parts.remote.for_instance(instance);
                let outlets = vec![Outlet::new(reader, wiring.parts.bases.clone())];
                Destination::spawn(config, authorize, outlets, &metrics, &tracker, stop.clone())
            }
        };
        Self { plan: plan.clone(), identity, status, stop, tracker }
    }

    pub fn plan(&self) -> &DestinationPlan {
        &self.plan
    }

    pub fn name(&self) -> &str {
        &self.plan.config.name
    }

    pub fn status(&self) -> &DestinationStatus {
        &self.status
    }

    /// Stops the worker and waits for it, at most for [`PATIENCE`] (the worker itself bounds its grace).
    pub async fn end(self) -> Ended {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(PATIENCE, self.tracker.wait()).await.is_err() {
            tracing::error!(destination = self.plan.config.name, "the worker does not end");
        }
        Ended { plan: self.plan, identity: self.identity }
    }
}

#[cfg(test)]
impl Delivery {
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    pub fn tasks(&self) -> &TaskTracker {
        &self.tracker
    }
}
