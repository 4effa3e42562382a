//! One entry of `metrics.configs` or `logs.configs` as it runs: what fills its lane and what empties it.
//!
//! How it comes to run, and to run differently, is `change`'s. Keeps true: ending a route leaves no task of it behind.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use config::DestinationPlan;
use log_tail::Book;
use pipeline::LaneId;
use scrape::TargetStatus;

use super::{
    change::Successors,
    delivery::Delivery,
    files::{LogFiles, LogTarget, PreparedFiles},
    job::Job,
    route_plan::RoutePlan,
    wiring::Wiring,
};
use crate::complaint::complaint;

pub struct Route {
    pub(super) plan: RoutePlan,
    pub(super) lane: LaneId,
    /// Of metrics.
    pub(super) jobs: BTreeMap<String, Job>,
    /// Of logs; `None`: none are read, or they are changed over at this moment.
    pub(super) files: Option<LogFiles>,
    /// Those that are enabled and run.
    pub(super) deliveries: BTreeMap<String, Delivery>,
}

/// As long as metrics wait by default.
const LOGS_FLUSH: Duration = Duration::from_secs(60);

impl Route {
    pub fn name(&self) -> &str {
        self.plan.name()
    }

    pub fn is_metrics(&self) -> bool {
        self.plan.metrics().is_some()
    }

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
        self.plan.metrics().is_some_and(|plan| plan.write_stale_on_shutdown)
    }

    pub fn flush_deadline(&self) -> Duration {
        self.plan.metrics().map_or(LOGS_FLUSH, |plan| plan.remote_flush_deadline)
    }

    /// Whether this destination belongs here and does not run.
    pub fn lacks(&self, destination: &DestinationPlan) -> bool {
        self.plan.destinations().contains(destination) && !self.deliveries.contains_key(&destination.config.name)
    }

    pub fn log_targets(&self, hostname: &str) -> Vec<LogTarget> {
        self.files.as_ref().map(|files| files.targets(self.name(), hostname)).unwrap_or_default()
    }

    /// Sets going what stood ready.
    pub fn go(&mut self, wiring: &Wiring, successors: Successors) {
        successors.jobs.iter().filter_map(|name| self.jobs.get(name)).for_each(Job::go);
        if let Some((files, book)) = successors.files {
            self.read(wiring, files, book);
        }
    }

    /// Starts reading log files. Only threads that do not start can make it fail; the rest of the route goes on then.
    pub fn read(&mut self, wiring: &Wiring, files: PreparedFiles, book: Arc<Book>) {
        let Some(plan) = self.plan.logs() else { return };
        match files.start(wiring, plan, &self.lane, book) {
            Ok(files) => self.files = Some(files),
            Err(error) => tracing::error!(
                instance = plan.name,
                error = complaint(error.as_ref()),
                "log files are not read; the next reload or start tries again"
            ),
        }
    }

    pub fn take_all(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries).into_values().collect()
    }

    /// Ends the intake: after the scrape each loop is at, with staleness markers if `markers`; after the batch each file is at.
    pub async fn end_sources(&mut self, markers: bool) {
        let jobs = std::mem::take(&mut self.jobs);
        futures_util::future::join_all(jobs.into_values().map(|job| job.end(markers))).await;
        if let Some(files) = self.files.take() {
            files.end().await;
        }
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
