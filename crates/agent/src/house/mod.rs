//! The running agent: from a plan to queue, scrape pools and destinations, through reloads, and down again.
//!
//! Knows what is wired to what; does no work itself. Keeps true: the queue opens before anything writes to it and closes
//! after everything that did; a destination that cannot work as configured is held, it never ends the process; a reload
//! that fails leaves everything as it was.

mod backends;
mod change;
mod delivery;
mod drain;
mod files;
mod job;
mod log_marks;
mod log_source_run;
mod log_sources;
mod processing;
mod report;
mod route;
mod route_plan;
pub mod specs;
mod traces;
mod wiring;

#[cfg(test)]
mod reload_test;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use config::Plan;
use parking_lot::{Mutex, RwLock};
use pipeline::LaneId;
use prometheus_client::registry::Registry;
use queue::Queue;
use remote_write::{DestinationSnapshot, DestinationState};
use scrape::TargetStatus;

use crate::{complaint::complaint, ledger_metrics};
use change::{Files, Prepared, Ready};
use delivery::{Delivery, Ended};
use drain::Blueprint;
pub use files::LogTarget;
pub use log_sources::SourceTarget;
use processing::{PreparedProcessing, Processing};
use route::Route;
use route_plan::RoutePlan;
use specs::Specs;
pub use traces::InstanceReceiver;
use wiring::{Parts, Wiring};

/// Everything that runs.
pub struct House {
    wiring: Wiring,
    /// By their lanes.
    routes: RwLock<BTreeMap<LaneId, Route>>,
    /// As it was given last, before backends were found.
    plan: Mutex<Plan>,
    /// Backends that resolvers found.
    found: Mutex<drain::Found>,
    /// Items that the queue gave up, by lane and destination, as far as they are counted.
    evicted: Mutex<BTreeMap<(LaneId, String), u64>>,
    /// What the queue was told last.
    specs: RwLock<Specs>,
    /// Bytes that the queue may take by the plan that runs.
    room: AtomicU64,
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
        let blueprint = Blueprint::at_start(plan)?;
        let specs = specs::specs_of(&blueprint)?;
        // Everything that a bad plan can make fail comes before the queue is opened: opening gives up what is pending for
        // destinations that are no longer configured, and a start that fails must not have done that.
        let parts = Parts::new(registry)?;
        let mut prepared = Vec::new();
        for route in RoutePlan::all(&blueprint) {
            prepared.push(Prepared::new(&parts, None, route, Files::MayBeMissing)?);
        }
        let (queue, opened) = Queue::open(specs::queue_config(plan), specs.lanes.clone(), specs.destinations.clone())
            .context("opening the queue")?;
        report::opened(plan, &opened, &queue.ledger());
        ledger_metrics::register(registry, queue.clone());
        // Earlier runs counted theirs.
        let evicted = queue.ledger().rows.into_iter().map(|row| ((row.lane, row.destination), row.evicted)).collect();
        let wiring = Wiring { queue, positions_directory: plan.data_directory.join("positions"), parts };
        let mut routes = BTreeMap::new();
        for prepared in prepared {
            routes.insert(prepared.lane().clone(), prepared.ready(&wiring, None)?.start(&wiring));
        }
        Ok(Self {
            wiring,
            routes: RwLock::new(routes),
            plan: Mutex::new(plan.clone()),
            found: Mutex::default(),
            evicted: Mutex::new(evicted),
            specs: RwLock::new(specs),
            room: AtomicU64::new(specs::queue_config(plan).max_bytes),
            changing: tokio::sync::Mutex::default(),
            ready: AtomicBool::new(true),
        })
    }

    /// Goes over to another plan, all or nothing: what did not change keeps running, and on an error everything does.
    ///
    /// What can fail comes first. Only workers that change have to stop before it is certain that their successors can start
    /// (a destination has one reader); they start again as they were if those cannot.
    pub async fn reload(self: &Arc<Self>, plan: &Plan) -> Result<()> {
        let _one = self.changing.lock().await;
        self.go_over(plan).await?;
        *self.plan.lock() = plan.clone();
        Ok(())
    }

    async fn go_over(self: &Arc<Self>, plan: &Plan) -> Result<()> {
        let blueprint = self.blueprint(plan)?;
        let wanted = specs::specs_of(&blueprint)?;
        let prepared = self.prepare(&blueprint)?;
        let held = self.specs.read().clone();
        if let Err(error) = self.tell_queue(held.with(&wanted)).await {
            self.back_to(held).await;
            return Err(error.context("changing the queue"));
        }
        let mut ready = match self.ready(prepared) {
            Ok(ready) => ready,
            Err(error) => {
                self.back_to(held).await;
                return Err(error);
            }
        };
        let stopped = self.stop_changed(&ready).await;
        self.stop_drains(&ready).await;
        if let Err(error) = self.last_checks(&mut ready) {
            // Its readers go back.
            drop(ready);
            self.start_again(stopped);
            self.drain_again();
            self.back_to(held).await;
            return Err(error);
        }
        // From here on nothing fails.
        self.take_over(ready).await;
        // Lanes that stay have the room of both plans in between: nothing of theirs is evicted for what goes or comes.
        let room = specs::queue_config(plan);
        let grows = room.max_bytes >= self.room.swap(room.max_bytes, Ordering::AcqRel);
        if grows {
            self.wiring.queue.resize(room.max_bytes, room.min_free);
        }
        self.shrink_to(wanted).await;
        if !grows {
            self.wiring.queue.resize(room.max_bytes, room.min_free);
        }
        Ok(())
    }

    /// The plan with the backends that are known, and with lanes that are to be emptied before they go.
    fn blueprint(&self, plan: &Plan) -> Result<Blueprint> {
        let routes = self.routes.read();
        // A lane that is being emptied gets nothing more; another one may, until those who write to it have ended.
        let emptied =
            |lane: &LaneId, waits: bool| !waits && routes.get(lane).is_some_and(|route| route.plan.is_drain());
        Blueprint::new(plan, &self.found.lock(), &drain::in_queue(&self.ledger(), emptied))
    }

    fn prepare(&self, blueprint: &Blueprint) -> Result<Vec<Prepared>> {
        let routes = self.routes.read();
        let prepare = |route: RoutePlan| {
            let before = route.lane().ok().and_then(|lane| routes.get(&lane));
            Prepared::new(&self.wiring.parts, before, route, Files::MustBeThere)
        };
        RoutePlan::all(blueprint).map(prepare).collect()
    }

    fn ready(&self, prepared: Vec<Prepared>) -> Result<Vec<Ready>> {
        let routes = self.routes.read();
        prepared
            .into_iter()
            .map(|p| {
                let before = routes.get(p.lane());
                p.ready(&self.wiring, before)
            })
            .collect()
    }

    /// The queue's own changes are file operations.
    async fn tell_queue(&self, specs: Specs) -> Result<queue::ApplyReport> {
        let queue = self.wiring.queue.clone();
        let told = tokio::task::spawn_blocking(move || queue.apply(specs.lanes, specs.destinations));
        Ok(told.await.context("waiting for the queue")??)
    }

    /// Forgets what was added for a plan that does not come.
    async fn back_to(&self, held: Specs) {
        if let Err(error) = self.tell_queue(held).await {
            tracing::warn!(
                error = complaint(error.as_ref()),
                "the queue holds lanes or destinations of the refused configuration; the next reload or start removes them"
            );
        }
    }

    /// The new plan runs; what only the old one had goes.
    async fn shrink_to(&self, wanted: Specs) {
        match self.tell_queue(wanted.clone()).await {
            Ok(applied) => report::changed(&applied),
            Err(error) => tracing::warn!(
                error = complaint(error.as_ref()),
                "the queue cannot remove everything that is no longer configured; the next reload or start tries again"
            ),
        }
        *self.specs.write() = wanted;
    }

    /// Stops the workers whose successors need their readers.
    async fn stop_changed(&self, ready: &[Ready]) -> Vec<(LaneId, Ended)> {
        let mut changed: Vec<(LaneId, Delivery)> = Vec::new();
        {
            let mut routes = self.routes.write();
            for ready in ready {
                let taken = routes.get_mut(ready.lane()).map(|route| ready.take_changed(route));
                let named = |delivery| (ready.lane().clone(), delivery);
                changed.extend(taken.into_iter().flatten().map(named));
            }
        }
        let ends = changed.into_iter().map(|(lane, delivery)| async move { (lane, delivery.end().await) });
        futures_util::future::join_all(ends).await
    }

    /// Stops what empties the lane of a backend that is back: its worker needs the reader.
    async fn stop_drains(&self, ready: &[Ready]) {
        let stopped: Vec<Processing> = {
            let mut routes = self.routes.write();
            let taken = |ready: &Ready| ready.take_drain(routes.get_mut(ready.lane())?);
            ready.iter().filter_map(taken).collect()
        };
        futures_util::future::join_all(stopped.into_iter().map(Processing::end)).await;
    }

    /// Goes on with lanes that were being emptied when a reload began which did not come.
    fn drain_again(&self) {
        for route in
            self.routes.write().values_mut().filter(|route| route.plan.is_drain() && route.processing.is_none())
        {
            let stage = route.plan.stage();
            match stage
                .and_then(|stage| stage.map(|stage| PreparedProcessing::new(&self.wiring.parts, stage)).transpose())
            {
                Ok(Some(processing)) => route.process(&self.wiring, processing),
                Ok(None) => {}
                Err(error) => tracing::error!(
                    route = route.name(),
                    error = complaint(error.as_ref()),
                    "what waits for a backend that is gone stays on disk; the next reload or start tries again"
                ),
            }
        }
    }

    /// The last things that can fail. On an error jobs are as before.
    fn last_checks(&self, ready: &mut [Ready]) -> Result<()> {
        ready.iter_mut().try_for_each(|ready| ready.take_readers(&self.wiring))?;
        let routes = self.routes.read();
        let mut applied = Vec::new();
        for ready in ready.iter() {
            let Some(route) = routes.get(ready.lane()) else { continue };
            match ready.apply_jobs(route) {
                Ok(were) => applied.push((route, were)),
                Err(error) => {
                    applied.iter().for_each(|(route, were)| change::undo_jobs(route, were));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn take_over(&self, ready: Vec<Ready>) {
        let mut left = Vec::new();
        let mut removed = Vec::new();
        {
            let mut routes = self.routes.write();
            let lanes: Vec<LaneId> = routes.keys().cloned().collect();
            for lane in lanes.into_iter().filter(|lane| ready.iter().all(|ready| ready.lane() != lane)) {
                removed.extend(routes.remove(&lane));
            }
            for ready in ready {
                let lane = ready.lane().clone();
                match routes.get_mut(&lane) {
                    Some(route) => left.push((lane, ready.take_over(&self.wiring, route))),
                    None => drop(routes.insert(lane, ready.start(&self.wiring))),
                }
            }
        }
        for route in &mut removed {
            route.processing.iter().for_each(|processing| processing.retire(None));
            route.end_sources(&self.wiring.parts, false).await;
        }
        let mut gone: Vec<Delivery> = removed.iter_mut().flat_map(Route::take_all).collect();
        gone.extend(left.iter_mut().flat_map(|(_, left)| std::mem::take(&mut left.deliveries)));
        let ended = futures_util::future::join_all(gone.into_iter().map(Delivery::end)).await;
        for (lane, left) in left {
            let successors = left.end(&self.wiring.parts).await;
            if let Some(route) = self.routes.write().get_mut(&lane) {
                route.go(&self.wiring, successors);
            }
        }
        let running: BTreeSet<String> = self.destinations().into_iter().map(|d| d.name).collect();
        for ended in ended.iter().filter(|ended| !running.contains(&ended.plan.config.name)) {
            self.wiring.parts.identity_metrics.put(&ended.plan.config.name, None);
        }
    }

    /// Starts workers as they were, now or as soon as their readers are free.
    fn start_again(self: &Arc<Self>, stopped: Vec<(LaneId, Ended)>) {
        for (lane, ended) in stopped {
            if let Err(error) = self.restart(&lane, &ended) {
                tracing::error!(
                    destination = ended.plan.config.name,
                    error = complaint(error.as_ref()),
                    "cannot start the destination again yet; its data waits on disk"
                );
                tokio::spawn(restart_when_free(Arc::downgrade(self), lane, ended));
            }
        }
    }

    /// Does nothing where the plan has that worker no more, or it runs.
    fn restart(&self, lane: &LaneId, ended: &Ended) -> Result<()> {
        let mut routes = self.routes.write();
        let Some(route) = routes.get_mut(lane).filter(|route| route.lacks(&ended.plan)) else { return Ok(()) };
        let reader = Delivery::reader(&self.wiring, &route.lane, &ended.plan)?;
        let delivery =
            Delivery::start(&self.wiring, route.plan.instance(), &ended.plan, ended.identity.clone(), reader);
        route.deliveries.insert(ended.plan.config.name.clone(), delivery);
        Ok(())
    }

    /// True once every instance is initialised; never depends on a far end.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Names of the metrics instances, sorted.
    pub fn instances(&self) -> Vec<String> {
        let mut names: Vec<String> = self.metrics(|route| route.name().to_owned());
        names.sort_unstable();
        names
    }

    /// Names of the logs instances, sorted.
    pub fn log_instances(&self) -> Vec<String> {
        let routes = self.routes.read();
        let mut names: Vec<String> = routes.values().filter(|r| r.is_logs()).map(|r| r.name().to_owned()).collect();
        names.sort_unstable();
        names
    }

    /// Names of the traces instances, sorted.
    pub fn trace_instances(&self) -> Vec<String> {
        let routes = self.routes.read();
        // `load_balancing` makes several routes of one instance.
        let mut names: Vec<String> = routes.values().filter_map(Route::traces_instance).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Every endpoint that OTLP is received on.
    pub fn receivers(&self) -> Vec<InstanceReceiver> {
        self.routes.read().values().flat_map(Route::receivers).collect()
    }

    fn metrics<T>(&self, of: impl Fn(&Route) -> T) -> Vec<T> {
        self.routes.read().values().filter(|route| route.is_metrics()).map(of).collect()
    }

    /// Active series by instance.
    pub fn series(&self) -> Vec<(String, u64)> {
        self.metrics(|route| (route.name().to_owned(), route.series()))
    }

    /// Every active target with the instance it belongs to.
    pub fn targets(&self) -> Vec<InstanceTarget> {
        let of_route = |route: &Route| -> Vec<InstanceTarget> {
            route.targets().map(|target| InstanceTarget { instance: route.name().to_owned(), target }).collect()
        };
        self.metrics(of_route).into_iter().flatten().collect()
    }

    /// Every discovered target of log files.
    pub fn log_targets(&self) -> Vec<LogTarget> {
        let hostname = self.wiring.parts.hostname();
        self.routes.read().values().flat_map(|route| route.log_targets(hostname)).collect()
    }

    /// Every source of lines that is no files.
    pub fn source_targets(&self) -> Vec<SourceTarget> {
        self.routes.read().values().flat_map(Route::source_targets).collect()
    }

    /// The destinations' states.
    pub fn destinations(&self) -> Vec<DestinationSnapshot> {
        self.routes.read().values().flat_map(|r| r.deliveries().map(|d| d.status().snapshot())).collect()
    }

    /// Names of the destinations that keep their place and are not sent to (`enabled: false`).
    pub fn paused(&self) -> Vec<String> {
        let plan = self.plan.lock();
        let of_metrics = plan.metrics.iter().flat_map(|route| &route.destinations);
        let of_logs = plan.logs.iter().flat_map(|route| &route.destinations);
        let of_traces = plan.traces.iter().flat_map(|route| &route.destinations);
        let all = of_metrics.chain(of_logs).chain(of_traces);
        all.filter(|destination| !destination.enabled).map(|destination| destination.config.name.clone()).collect()
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
        let sources = futures_util::future::join_all(
            routes.iter_mut().zip(stale).map(|(r, stale)| r.end_sources(&self.wiring.parts, stale)),
        );
        if tokio::time::timeout(left() / 3, sources).await.is_err() {
            tracing::warn!("a scrape or a reader of files did not end in time and is abandoned");
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
        // Looks in a row that found nothing: one may fall between a lane's part of the books and a destination's.
        let mut quiet = 0;
        while start.elapsed() < limit {
            let ledger = self.wiring.queue.ledger();
            // What is not durable yet is in no destination's row, and comes to each of them.
            let unsynced = ledger.lanes.iter().any(|lane| lane.oldest_unsynced_ms.is_some());
            let waiting = unsynced
                || routes.iter().flat_map(Route::deliveries).any(|d| {
                    let takes = matches!(d.status().state(), DestinationState::Healthy | DestinationState::Starting);
                    takes && ledger.rows.iter().any(|r| r.destination == d.name() && r.pending_items > 0)
                });
            quiet = if waiting { 0 } else { quiet + 1 };
            if quiet == 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

/// Waits for what holds the reader of a stopped worker, then starts the worker; ends with the house.
async fn restart_when_free(house: Weak<House>, lane: LaneId, ended: Ended) {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let Some(house) = house.upgrade() else { return };
        let _one = house.changing.lock().await;
        if house.restart(&lane, &ended).is_ok() {
            return;
        }
    }
}
