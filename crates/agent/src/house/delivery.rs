//! One destination's worker with everything that is its own: identity, stop token, tasks.
//!
//! Keeps true: when `end` returns, nothing of it holds a claim or a reader any more.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use config::DestinationPlan;
use net::Authorize;
use pipeline::{LaneId, Outlet};
use remote_write::{Destination, DestinationStatus};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::wiring::{Parts, Wiring};

/// A running worker.
pub struct Delivery {
    plan: DestinationPlan,
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

    /// Starts the worker on its lane.
    pub fn start(
        wiring: &Wiring,
        instance: &str,
        lane: &LaneId,
        plan: &DestinationPlan,
        identity: Option<Arc<aws::Identity>>,
    ) -> Result<Self> {
        let reader = wiring.queue.reader(&plan.config.name, lane)?;
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        wiring.parts.identity_metrics.put(&plan.config.name, identity.as_ref());
        let status = Destination::spawn(
            plan.config.clone(),
            identity.map(|i| i as Arc<dyn Authorize>),
            vec![Outlet::new(reader, wiring.parts.bases.clone())],
            &wiring.parts.remote.for_instance(instance),
            &tracker,
            stop.clone(),
        );
        Ok(Self { plan: plan.clone(), status, stop, tracker })
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

    /// Stops the worker and waits for it (the worker itself bounds its grace). Gives back the plan.
    pub async fn end(self) -> DestinationPlan {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(Duration::from_secs(30), self.tracker.wait()).await.is_err() {
            tracing::error!(destination = self.plan.config.name, "the worker does not end");
        }
        self.plan
    }
}
