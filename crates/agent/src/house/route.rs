//! One entry of `metrics.configs` as it runs: what fills its lane and what empties it.
//!
//! How it comes to run, and to run differently, is `change`'s. Keeps true: ending a route leaves no task of it behind.

use std::{collections::BTreeMap, time::Duration};

use config::{DestinationPlan, MetricsRoute};
use pipeline::LaneId;
use scrape::TargetStatus;

use super::{delivery::Delivery, job::Job};

pub struct Route {
    pub(super) plan: MetricsRoute,
    pub(super) lane: LaneId,
    pub(super) jobs: BTreeMap<String, Job>,
    /// Those that are enabled and run.
    pub(super) deliveries: BTreeMap<String, Delivery>,
}

impl Route {
    pub fn targets(&self) -> impl Iterator<Item = TargetStatus> + '_ {
        self.jobs.values().flat_map(Job::targets)
    }

    /// Series of the last scrapes.
    pub fn series(&self) -> u64 {
        self.jobs.values().map(Job::series).sum()
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

    /// Whether this destination belongs here and does not run.
    pub fn lacks(&self, destination: &DestinationPlan) -> bool {
        self.plan.destinations.contains(destination) && !self.deliveries.contains_key(&destination.config.name)
    }

    /// Sets jobs going that stood ready.
    pub fn go(&self, jobs: &[String]) {
        jobs.iter().filter_map(|name| self.jobs.get(name)).for_each(Job::go);
    }

    pub fn take_all(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries).into_values().collect()
    }

    /// Ends the scraping: after the scrape each loop is at, with staleness markers if `markers`.
    pub async fn end_sources(&mut self, markers: bool) {
        let jobs = std::mem::take(&mut self.jobs);
        futures_util::future::join_all(jobs.into_values().map(|job| job.end(markers))).await;
    }
}

#[cfg(test)]
impl Route {
    pub fn delivery(&self, name: &str) -> Option<&Delivery> {
        self.deliveries.get(name)
    }

    pub fn take(&mut self, name: &str) -> Option<Delivery> {
        self.deliveries.remove(name)
    }

    pub fn job_names(&self) -> Vec<String> {
        self.jobs.values().map(|job| job.name()).collect()
    }
}
