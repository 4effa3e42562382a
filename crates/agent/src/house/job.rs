//! One job of a route: a scrape pool and the discovery that feeds it.
//!
//! Keeps true: a job that was made and not set going has no targets, so that it can stand ready beside the one it follows.

use std::sync::Arc;

use anyhow::{Context, Result};
use config::MetricsRoute;
use discovery::DiscoveryConfig;
use pipeline::{LaneId, MetricIntake};
use scrape::{GroupsReceiver, JobConfig, ScrapePool, TargetStatus};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::wiring::{Parts, Wiring};

pub struct Job {
    pool: ScrapePool,
    found: Found,
    scraping: TaskTracker,
    stop_pool: CancellationToken,
}

/// Running discovery.
pub struct Found {
    groups: GroupsReceiver,
    discoveries: Vec<DiscoveryConfig>,
    /// Dropped, it ends the discovery.
    stop: DropGuard,
    tracker: TaskTracker,
}

impl Found {
    pub fn look(parts: &Parts, job: &str, discoveries: &[DiscoveryConfig]) -> Result<Self> {
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let groups = discovery::watch_counted(discoveries.to_vec(), &parts.discovery, &tracker, stop.clone())
            .with_context(|| format!("job {job}"))?;
        Ok(Self { groups, discoveries: discoveries.to_vec(), stop: stop.drop_guard(), tracker })
    }

    /// What is known now, and what comes.
    pub fn groups(&self) -> GroupsReceiver {
        self.groups.clone()
    }

    pub async fn end(self) {
        drop(self.stop);
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Job {
    /// Ready to run; its targets come after [`Job::go`].
    pub fn ready(wiring: &Wiring, plan: &MetricsRoute, lane: &LaneId, job: &JobConfig, found: Found) -> Result<Self> {
        let (stop_pool, scraping) = (CancellationToken::new(), TaskTracker::new());
        let intake = MetricIntake::new(wiring.queue.appender(lane)?);
        // A list that never changes: the pool waits for the one it is told to follow.
        let (_, nothing) = tokio::sync::watch::channel(Arc::default());
        let pool = ScrapePool::spawn(
            job.clone(),
            nothing,
            intake,
            Arc::clone(&wiring.parts.scrape),
            wiring.parts.scrape_context(plan),
            &scraping,
            stop_pool.clone(),
        )?;
        Ok(Self { pool, found, scraping, stop_pool })
    }

    /// Scrapes what discovery finds.
    pub fn go(&self) {
        self.pool.follow(self.found.groups.clone());
    }

    /// Goes on with another discovery; until that has spoken the targets stay.
    pub fn look_elsewhere(&mut self, found: Found) {
        self.found = found;
        self.go();
    }

    /// Changes the job while it runs. On error nothing changes.
    pub fn apply(&self, job: &JobConfig) -> Result<()> {
        self.pool.apply(job.clone()).with_context(|| format!("job {}", job.job_name))
    }

    pub fn config(&self) -> JobConfig {
        self.pool.job()
    }

    pub fn discoveries(&self) -> &[DiscoveryConfig] {
        &self.found.discoveries
    }

    pub fn targets(&self) -> Vec<TargetStatus> {
        self.pool.targets()
    }

    pub fn series(&self) -> u64 {
        self.pool.series()
    }

    #[cfg(test)]
    pub fn name(&self) -> String {
        self.pool.job().job_name
    }

    /// After the scrape each loop is at, with staleness markers if `markers`.
    pub async fn end(self, markers: bool) {
        let Self { pool, found, scraping, stop_pool } = self;
        let discovery = found.end();
        pool.shutdown(markers).await;
        stop_pool.cancel();
        scraping.close();
        scraping.wait().await;
        discovery.await;
    }

    /// The job is gone while the route stays: its series end with markers when their time has come.
    pub fn retire(self) {
        let Self { pool, found, stop_pool, .. } = self;
        drop(found.stop);
        tokio::spawn(async move {
            pool.retire().await;
            stop_pool.cancel();
        });
    }
}
