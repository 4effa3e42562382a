//! One entry of `metrics.configs`: what fills its lane and what empties it, at the start and over reloads.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use config::{DestinationPlan, MetricsRoute};
use discovery::DiscoveryConfig;
use pipeline::{LaneId, MetricIntake};
use scrape::{GroupsReceiver, JobConfig, ScrapePool, TargetStatus};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    delivery::Delivery,
    wiring::{Parts, Wiring},
};
use crate::{complaint::complaint, lanes::metrics_lane};

pub struct Route {
    plan: MetricsRoute,
    lane: LaneId,
    jobs: BTreeMap<String, Job>,
    deliveries: BTreeMap<String, Delivery>,
}

/// A scrape pool and the discovery that feeds it.
struct Job {
    pool: ScrapePool,
    discoveries: Vec<DiscoveryConfig>,
    /// Dropped, it ends the discovery.
    stop_discovery: DropGuard,
    discovering: TaskTracker,
    scraping: TaskTracker,
    stop_pool: CancellationToken,
}

impl Route {
    pub fn targets(&self) -> impl Iterator<Item = TargetStatus> + '_ {
        self.jobs.values().flat_map(|job| job.pool.targets())
    }

    /// Series of the last scrapes.
    pub fn series(&self) -> u64 {
        self.jobs.values().map(|job| job.pool.series()).sum()
    }

    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        self.deliveries.values()
    }

    pub fn write_stale_on_shutdown(&self) -> bool {
        self.plan.write_stale_on_shutdown
    }

    pub fn flush_deadline(&self) -> Duration {
        self.plan.remote_flush_deadline
    }

    /// The workers whose destination is changed or gone in `prepared`.
    pub fn take_changed(&mut self, prepared: &Prepared) -> Vec<Delivery> {
        let stays = |d: &Delivery| prepared.destinations.iter().any(|(plan, _)| plan == d.plan());
        let names: Vec<String> = self.deliveries.values().filter(|d| !stays(d)).map(|d| d.name().to_owned()).collect();
        names.iter().filter_map(|name| self.deliveries.remove(name)).collect()
    }

    pub fn take_all(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries).into_values().collect()
    }

    /// Starts a worker again that a failed reload had stopped.
    pub fn restore(&mut self, wiring: &Wiring, plan: &DestinationPlan) {
        if !self.plan.destinations.contains(plan) {
            return;
        }
        let again = Delivery::identity(&wiring.parts, plan)
            .and_then(|identity| Delivery::start(wiring, &self.plan.name, &self.lane, plan, identity));
        match again {
            Ok(delivery) => drop(self.deliveries.insert(plan.config.name.clone(), delivery)),
            Err(error) => tracing::error!(
                destination = plan.config.name,
                error = complaint(error.as_ref()),
                "cannot start the destination again; its data waits on disk"
            ),
        }
    }

    /// Ends the scraping: after the scrape each loop is at, with staleness markers if `markers`.
    pub async fn end_sources(&mut self, markers: bool) {
        let jobs = std::mem::take(&mut self.jobs);
        futures_util::future::join_all(jobs.into_values().map(|job| job.end(markers))).await;
    }

    /// Ends everything.
    pub async fn end(mut self, markers: bool) {
        self.end_sources(markers).await;
        futures_util::future::join_all(self.take_all().into_iter().map(Delivery::end)).await;
    }
}

impl Job {
    fn start(wiring: &Wiring, plan: &MetricsRoute, lane: &LaneId, job: &JobConfig, found: Found) -> Result<Self> {
        let Found { groups, discoveries, stop, tracker } = found;
        let (stop_pool, scraping) = (CancellationToken::new(), TaskTracker::new());
        let intake = MetricIntake::new(wiring.queue.appender(lane)?);
        let context = wiring.parts.scrape_context(plan);
        let pool = ScrapePool::spawn(
            job.clone(),
            groups,
            intake,
            Arc::clone(&wiring.parts.scrape),
            context,
            &scraping,
            stop_pool.clone(),
        )?;
        Ok(Self { pool, discoveries, stop_discovery: stop, discovering: tracker, scraping, stop_pool })
    }

    async fn end(self, markers: bool) {
        drop(self.stop_discovery);
        self.pool.shutdown(markers).await;
        self.stop_pool.cancel();
        for tasks in [self.discovering, self.scraping] {
            tasks.close();
            tasks.wait().await;
        }
    }

    /// The job is gone while the route stays: its series end with markers when their time has come.
    fn retire(self) {
        drop(self.stop_discovery);
        tokio::spawn(async move {
            self.pool.retire().await;
            self.stop_pool.cancel();
        });
    }
}

/// Discovery that runs, not yet attached to a pool.
struct Found {
    groups: GroupsReceiver,
    discoveries: Vec<DiscoveryConfig>,
    stop: DropGuard,
    tracker: TaskTracker,
}

impl Found {
    fn look(parts: &Parts, job: &JobConfig, discoveries: &[DiscoveryConfig]) -> Result<Self> {
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let groups = discovery::watch_counted(discoveries.to_vec(), &parts.discovery, &tracker, stop.clone())
            .with_context(|| format!("job {}", job.job_name))?;
        Ok(Self { groups, discoveries: discoveries.to_vec(), stop: stop.drop_guard(), tracker })
    }
}

/// All that can fail about going over to a new plan, done before anything is touched. Dropped, it leaves no trace.
pub struct Prepared {
    destinations: Vec<(DestinationPlan, Option<Arc<aws::Identity>>)>,
    /// Discovery of the jobs that are new or find their targets differently.
    found: BTreeMap<String, Found>,
}

impl Prepared {
    /// `before` is the route as it runs, if it does.
    pub fn new(parts: &Parts, before: Option<&Route>, plan: &MetricsRoute) -> Result<Self> {
        let mut destinations = Vec::new();
        for destination in plan.destinations.iter().filter(|d| d.enabled) {
            let runs = before
                .and_then(|r| r.deliveries.get(&destination.config.name))
                .is_some_and(|d| d.plan() == destination);
            let identity = if runs { None } else { Delivery::identity(parts, destination)? };
            check_client(&destination.config.client)
                .with_context(|| format!("destination {}", destination.config.name))?;
            destinations.push((destination.clone(), identity));
        }
        let mut found = BTreeMap::new();
        for (job, discoveries) in &plan.jobs {
            check_client(&job.client).with_context(|| format!("job {}", job.job_name))?;
            let same = before.and_then(|r| r.jobs.get(&job.job_name)).is_some_and(|j| &j.discoveries == discoveries);
            if !same || before.is_some_and(|r| !same_surroundings(&r.plan, plan)) {
                found.insert(job.job_name.clone(), Found::look(parts, job, discoveries)?);
            }
        }
        Ok(Self { destinations, found })
    }

    /// Starts a route that does not run yet.
    pub fn start(self, wiring: &Wiring, plan: &MetricsRoute) -> Result<Route> {
        let Self { destinations, mut found } = self;
        let lane = metrics_lane(&plan.name)?;
        let mut deliveries = BTreeMap::new();
        for (destination, identity) in destinations {
            let delivery = Delivery::start(wiring, &plan.name, &lane, &destination, identity)?;
            deliveries.insert(destination.config.name.clone(), delivery);
        }
        let mut jobs = BTreeMap::new();
        for (job, _) in &plan.jobs {
            let found =
                found.remove(&job.job_name).with_context(|| format!("job {} was not prepared", job.job_name))?;
            jobs.insert(job.job_name.clone(), Job::start(wiring, plan, &lane, job, found)?);
        }
        Ok(Route { plan: plan.clone(), lane, jobs, deliveries })
    }

    /// Goes over. The workers of changed destinations have ended before.
    pub async fn apply(mut self, wiring: &Wiring, before: Option<Route>, plan: &MetricsRoute) -> Result<Route> {
        let lane = metrics_lane(&plan.name)?;
        let Some(Route { plan: old, mut jobs, mut deliveries, .. }) = before else {
            return self.start(wiring, plan);
        };
        let same = same_surroundings(&old, plan);
        for (destination, identity) in std::mem::take(&mut self.destinations) {
            if !deliveries.contains_key(&destination.config.name) {
                deliveries.insert(
                    destination.config.name.clone(),
                    Delivery::start(wiring, &plan.name, &lane, &destination, identity)?,
                );
            }
        }
        let mut kept = BTreeMap::new();
        for (job, _) in &plan.jobs {
            let running = jobs.remove(&job.job_name);
            let found = self.found.remove(&job.job_name);
            let job_now = match (running, found) {
                (Some(mut running), found) if same => {
                    running.pool.apply(job.clone())?;
                    if let Some(found) = found {
                        running.pool.follow(found.groups);
                        (running.discoveries, running.stop_discovery, running.discovering) =
                            (found.discoveries, found.stop, found.tracker);
                    }
                    running
                }
                (running, Some(found)) => {
                    if let Some(running) = running {
                        running.end(false).await;
                    }
                    Job::start(wiring, plan, &lane, job, found)?
                }
                // Prepared looks wherever nothing runs or the surroundings changed.
                (_, None) => anyhow::bail!("job {} was not prepared", job.job_name),
            };
            kept.insert(job.job_name.clone(), job_now);
        }
        for job in jobs.into_values() {
            job.retire();
        }
        Ok(Route { plan: plan.clone(), lane, jobs: kept, deliveries })
    }
}

/// Whether pools of a route may go on under another plan: what they were given at their start is the same.
fn same_surroundings(old: &MetricsRoute, new: &MetricsRoute) -> bool {
    old.external_labels == new.external_labels
        && old.host_filter == new.host_filter
        && old.host_filter_relabel == new.host_filter_relabel
}

/// A client that cannot be built (a certificate that does not parse) must stop a reload before it begins.
fn check_client(config: &net::HttpClientConfig) -> Result<(), net::NetError> {
    net::Client::new(config, net::ClientOptions::default()).map(drop)
}
