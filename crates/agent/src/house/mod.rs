//! The running agent: from a plan to queue, scrape pools and destinations, through reloads, and down again.
//!
//! Knows what is wired to what; does no work itself. Keeps true: the queue opens before anything writes to it and closes
//! after everything that did; a destination that cannot work as configured is held, it never ends the process; a reload
//! that fails leaves everything as it was.

mod delivery;
mod report;
mod route;
mod specs;
mod wiring;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use config::Plan;
use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use queue::Queue;
use remote_write::{DestinationSnapshot, DestinationState};
use scrape::TargetStatus;

use crate::ledger_metrics;
use delivery::Delivery;
use route::{Prepared, Route};
use wiring::{Parts, Wiring};

/// Everything that runs.
pub struct House {
    wiring: Wiring,
    routes: RwLock<BTreeMap<String, Route>>,
    /// One reload at a time.
    changing: tokio::sync::Mutex<()>,
    ready: AtomicBool,
}

/// A target and the instance (entry of `metrics.configs`) it belongs to.
pub struct InstanceTarget {
    pub instance: String,
    pub target: TargetStatus,
}

impl House {
    /// Starts everything the plan names. Fails only on what must stop the process: the queue's directory, a client that
    /// cannot be built.
    pub fn start(plan: &Plan, registry: &mut Registry) -> Result<Self> {
        let (lanes, destinations) = specs::queue_specs(plan)?;
        // Everything that a bad plan can make fail comes before the queue is opened: opening gives up what is pending for
        // destinations that are no longer configured, and a start that fails must not have done that.
        let parts = Parts::new(registry)?;
        let mut prepared = Vec::new();
        for plan in &plan.metrics {
            prepared.push((plan, Prepared::new(&parts, None, plan)?));
        }
        let (queue, opened) =
            Queue::open(specs::queue_config(plan), lanes, destinations).context("opening the queue")?;
        report::opened(plan, &opened, &queue.ledger());
        ledger_metrics::register(registry, queue.clone());
        let wiring = Wiring { queue, commit_interval: plan.queue.commit_interval, parts };
        let mut routes = BTreeMap::new();
        for (plan, prepared) in prepared {
            routes.insert(plan.name.clone(), prepared.start(&wiring, plan)?);
        }
        Ok(Self {
            wiring,
            routes: RwLock::new(routes),
            changing: tokio::sync::Mutex::default(),
            ready: AtomicBool::new(true),
        })
    }

    /// Goes over to another plan, all or nothing: what did not change keeps running.
    pub async fn reload(&self, plan: &Plan) -> Result<()> {
        let _one = self.changing.lock().await;
        let (lanes, destinations) = specs::queue_specs(plan)?;
        let mut prepared = {
            let routes = self.routes.read();
            let mut prepared = BTreeMap::new();
            for plan in &plan.metrics {
                prepared.insert(plan.name.clone(), Prepared::new(&self.wiring.parts, routes.get(&plan.name), plan)?);
            }
            prepared
        };
        // From here on only the disk can fail. Workers whose destination changes let go of the queue first.
        let leaving: Vec<Delivery> = {
            let mut routes = self.routes.write();
            let of_route = |(name, route): (&String, &mut Route)| match prepared.get(name) {
                Some(prepared) => route.take_changed(prepared),
                None => route.take_all(),
            };
            routes.iter_mut().flat_map(of_route).collect()
        };
        let old: Vec<_> = futures_util::future::join_all(leaving.into_iter().map(Delivery::end)).await;
        let applied = self.wiring.queue.apply(lanes, destinations).context("changing the queue");
        let applied = match applied {
            Ok(applied) => applied,
            Err(error) => {
                let mut routes = self.routes.write();
                for plan in old {
                    for route in routes.values_mut() {
                        route.restore(&self.wiring, &plan);
                    }
                }
                return Err(error);
            }
        };
        report::changed(&applied);
        let removed: Vec<Route> = {
            let mut routes = self.routes.write();
            let names: Vec<String> = routes.keys().filter(|name| !prepared.contains_key(*name)).cloned().collect();
            names.iter().filter_map(|name| routes.remove(name)).collect()
        };
        for route in removed {
            route.end(false).await;
        }
        for plan in &plan.metrics {
            let Some(prepared) = prepared.remove(&plan.name) else { continue };
            let before = self.routes.write().remove(&plan.name);
            let route = prepared.apply(&self.wiring, before, plan).await?;
            self.routes.write().insert(plan.name.clone(), route);
        }
        Ok(())
    }

    /// True once every instance is initialised; never depends on a far end.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Names of the metrics instances, sorted.
    pub fn instances(&self) -> Vec<String> {
        self.routes.read().keys().cloned().collect()
    }

    /// Active series by instance.
    pub fn series(&self) -> Vec<(String, u64)> {
        self.routes.read().iter().map(|(name, route)| (name.clone(), route.series())).collect()
    }

    /// Every active target with the instance it belongs to.
    pub fn targets(&self) -> Vec<InstanceTarget> {
        let routes = self.routes.read();
        let of_route = |(name, route): (&String, &Route)| -> Vec<InstanceTarget> {
            route.targets().map(|target| InstanceTarget { instance: name.clone(), target }).collect()
        };
        routes.iter().flat_map(of_route).collect()
    }

    /// The destinations' states.
    pub fn destinations(&self) -> Vec<DestinationSnapshot> {
        self.routes.read().values().flat_map(|r| r.deliveries().map(|d| d.status().snapshot())).collect()
    }

    /// The queue's books.
    pub fn ledger(&self) -> queue::Ledger {
        self.wiring.queue.ledger()
    }

    /// Stops taking in, gives destinations that work a chance to take what is pending, closes the queue. What is left is on
    /// disk and goes on at the next start.
    pub async fn drain(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let left = || deadline.saturating_duration_since(Instant::now());
        self.ready.store(false, Ordering::Release);
        let _one = self.changing.lock().await;
        let mut routes: Vec<Route> = std::mem::take(&mut *self.routes.write()).into_values().collect();
        let stale = routes.iter().map(Route::write_stale_on_shutdown).collect::<Vec<_>>();
        let sources =
            futures_util::future::join_all(routes.iter_mut().zip(stale).map(|(r, stale)| r.end_sources(stale)));
        if tokio::time::timeout(left() / 3, sources).await.is_err() {
            tracing::warn!("a scrape did not end in time and is abandoned");
        }
        self.flush(&routes, left() / 2).await;
        let deliveries: Vec<Delivery> = routes.iter_mut().flat_map(Route::take_all).collect();
        let ends = futures_util::future::join_all(deliveries.into_iter().map(Delivery::end));
        if tokio::time::timeout(left() / 2, ends).await.is_err() {
            tracing::warn!("a destination's worker did not end in time; what it held is on disk and is sent again");
        }
        match self.wiring.queue.clone().close(left().max(Duration::from_secs(1))).await {
            Ok(closed) => {
                let pending = closed.ledger.rows.iter().map(|r| r.pending_items).max().unwrap_or(0);
                tracing::info!(
                    pending_items = pending,
                    "stopped; what is pending is on disk and is sent after the next start"
                );
            }
            Err(error) => tracing::error!(%error, "closing the queue failed; what was durable before is safe"),
        }
    }

    /// Waits while destinations that take data still have some.
    async fn flush(&self, routes: &[Route], limit: Duration) {
        let limit = limit.min(routes.iter().map(Route::flush_deadline).max().unwrap_or_default());
        let start = Instant::now();
        // A record is claimed only after its commit interval; an empty ledger before that would be a mistake.
        tokio::time::sleep(self.wiring.commit_interval.min(limit)).await;
        while start.elapsed() < limit {
            let ledger = self.wiring.queue.ledger();
            let waiting = routes.iter().flat_map(Route::deliveries).any(|d| {
                let takes = matches!(d.status().state(), DestinationState::Healthy | DestinationState::Starting);
                takes && ledger.rows.iter().any(|r| r.destination == d.name() && r.pending_items > 0)
            });
            if !waiting {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}
