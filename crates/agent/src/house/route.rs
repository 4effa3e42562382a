//! One entry of `metrics.configs`, `logs.configs` or `traces.configs` as it runs: what fills its lane and what empties it.
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
    log_sources::{PreparedSources, RunningSource, SourceTarget},
    processing::{PreparedProcessing, Processing},
    route_plan::RoutePlan,
    traces::{InstanceReceiver, PreparedReceivers, Receivers},
    wiring::{Parts, Wiring},
};
use crate::complaint::complaint;

pub struct Route {
    pub(super) plan: RoutePlan,
    pub(super) lane: LaneId,
    /// Of metrics.
    pub(super) jobs: BTreeMap<String, Job>,
    /// Of logs; `None`: none are read, or they are changed over at this moment.
    pub(super) files: Option<LogFiles>,
    /// Of logs: the positions of everything that is read here.
    pub(super) book: Option<Arc<Book>>,
    /// Of logs: what is read that is no files, by job.
    pub(super) sources: BTreeMap<String, RunningSource>,
    /// Of traces: what is listened on.
    pub(super) receivers: Option<Receivers>,
    /// Of traces: what is done to spans before destinations see them.
    pub(super) processing: Option<Processing>,
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

    pub fn is_logs(&self) -> bool {
        self.plan.logs().is_some()
    }

    /// The entry of `traces.configs` that it is, or is a part of.
    pub fn traces_instance(&self) -> Option<&str> {
        self.plan.traces().map(|plan| plan.instance())
    }

    pub fn receivers(&self) -> Vec<InstanceReceiver> {
        let name = self.traces_instance().unwrap_or_default();
        self.receivers.as_ref().map(|receivers| receivers.status(name)).unwrap_or_default()
    }

    /// Starts to listen. Only a lane that is gone can make it fail.
    pub fn listen(&mut self, wiring: &Wiring, receivers: PreparedReceivers) {
        let Some(plan) = self.plan.traces() else { return };
        match receivers.start(wiring, plan, &self.lane) {
            Ok(receivers) => self.receivers = Some(receivers),
            Err(error) => tracing::error!(
                instance = plan.name,
                error = complaint(error.as_ref()),
                "traces are not received; the next reload or start tries again"
            ),
        }
    }

    /// Receivers that go on fill the lane that is read now.
    pub fn keep_listening(&self, wiring: &Wiring) {
        let (Some(receivers), Some(plan)) = (&self.receivers, self.plan.traces()) else { return };
        if let Err(error) = receivers.turn_to(wiring, plan, &self.lane) {
            tracing::error!(
                instance = plan.name,
                error = complaint(error.as_ref()),
                "receivers go on without the processors that were added; the next reload tries again"
            );
        }
    }

    /// Starts to process. Only a lane that is gone can make it fail.
    pub fn process(&mut self, wiring: &Wiring, processing: PreparedProcessing) {
        match processing.start(wiring) {
            Ok(processing) => self.processing = processing,
            Err(error) => tracing::error!(
                instance = self.plan.name(),
                error = complaint(error.as_ref()),
                "spans are not processed and wait on disk; the next reload or start tries again"
            ),
        }
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

    pub fn source_targets(&self) -> impl Iterator<Item = SourceTarget> + '_ {
        self.sources.values().map(|source| source.target(self.name(), self.book.as_ref()))
    }

    /// Sets going what stood ready.
    pub fn go(&mut self, wiring: &Wiring, successors: Successors) {
        successors.jobs.iter().filter_map(|name| self.jobs.get(name)).for_each(Job::go);
        if let Some((files, book)) = successors.files {
            self.read(wiring, files, book);
        }
        self.receive(wiring, successors.sources);
    }

    /// Starts sources that are no files. They need the book, which is there once files are read.
    pub fn receive(&mut self, wiring: &Wiring, sources: PreparedSources) {
        let (Some(plan), Some(book)) = (self.plan.logs(), &self.book) else { return };
        for (name, source) in sources {
            let running = source.start(wiring, &plan.name, &self.lane, book, wiring.parts.gate(plan));
            self.sources.extend(running.map(|running| (name, running)));
        }
    }

    /// Starts reading log files. Only threads that do not start can make it fail; the rest of the route goes on then.
    pub fn read(&mut self, wiring: &Wiring, files: PreparedFiles, book: Arc<Book>) {
        let Some(plan) = self.plan.logs() else { return };
        self.book = Some(Arc::clone(&book));
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

    /// Ends the intake: after the scrape each loop is at, with staleness markers if `markers`; after the batch each file is at;
    /// after what other sources took in.
    pub async fn end_sources(&mut self, parts: &Parts, markers: bool) {
        let jobs = std::mem::take(&mut self.jobs);
        futures_util::future::join_all(jobs.into_values().map(|job| job.end(markers))).await;
        let sources = std::mem::take(&mut self.sources);
        futures_util::future::join_all(sources.into_values().map(|source| source.end(parts))).await;
        if let Some(receivers) = self.receivers.take() {
            receivers.end().await;
        }
        if let Some(processing) = self.processing.take() {
            processing.end().await;
        }
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
