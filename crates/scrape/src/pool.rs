//! The targets of one job: follows discovery, starts and ends loops, answers for the targets page.
//!
//! Keeps true: a target whose labels and URL stay the same keeps its loop and what it remembers, whatever else changes;
//! a target that leaves and comes back before its markers are due goes on as if nothing had happened; targets with the
//! same labels and URL are one. Does not scrape.

use std::{collections::BTreeMap, sync::Arc};

use discovery::TargetGroup;
use model::Labels;
use parking_lot::Mutex;
use pipeline::MetricIntake;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    JobConfig, ScrapeContext, ScrapeError, ScrapeMetrics, TargetStatus,
    circle::{Circle, State},
    settings::Settings,
    target_loop::{Order, Phase},
};

/// The list that discovery publishes.
pub type GroupsReceiver = watch::Receiver<Arc<Vec<TargetGroup>>>;

/// The running targets of one job. Dropping it ends them without a word; see [`ScrapePool::shutdown`] and
/// [`ScrapePool::retire`].
#[derive(Debug)]
pub struct ScrapePool {
    circle: Arc<Circle>,
    sources: watch::Sender<GroupsReceiver>,
}

impl ScrapePool {
    /// Starts a job. Targets come with the first change of `groups`. Tasks belong to `tracker` and end with `stop`, at
    /// once and without markers, as a crash would.
    pub fn spawn(
        job: JobConfig,
        groups: GroupsReceiver,
        intake: MetricIntake,
        metrics: Arc<ScrapeMetrics>,
        context: ScrapeContext,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, ScrapeError> {
        metrics.pools.inc();
        let settings = Settings::new(job, None).inspect_err(|_| {
            metrics.pools_failed.inc();
        })?;
        let state = State {
            settings: Arc::new(settings),
            groups: None,
            active: BTreeMap::new(),
            leaving: BTreeMap::new(),
            dropped: Vec::new(),
            dropped_count: 0,
            forced: None,
            complaint: None,
            closed: false,
        };
        let circle = Arc::new(Circle {
            intake,
            id: metrics.new_pool(),
            metrics,
            context,
            tracker: tracker.clone(),
            own: TaskTracker::new(),
            stop,
            state: Mutex::new(state),
        });
        let (sources, receiver) = watch::channel(groups);
        circle.spawn(follow(circle.clone(), receiver));
        Ok(Self { circle, sources })
    }

    /// Changes the job. Targets that stay keep their loops; on error nothing changes. Series that new rules make of the
    /// same text replace the old ones, which are marked stale.
    pub fn apply(&self, job: JobConfig) -> Result<(), ScrapeError> {
        let circle = &self.circle;
        let mut state = circle.state.lock();
        if state.settings.job == job {
            return Ok(());
        }
        circle.metrics.reloads.inc();
        let settings = Settings::new(job, Some(&state.settings)).inspect_err(|_| {
            circle.metrics.reloads_failed.inc();
        })?;
        if settings.job.job_name != state.settings.job.job_name {
            circle.metrics.forget(&state.settings.job.job_name, circle.id);
        }
        state.settings = Arc::new(settings);
        circle.sync(&mut state);
        Ok(())
    }

    /// Follows another discovery from its first change on; until then the targets stay.
    pub fn follow(&self, groups: GroupsReceiver) {
        self.sources.send_replace(groups);
    }

    /// The job as it runs now.
    pub fn job(&self) -> JobConfig {
        self.circle.state.lock().settings.job.clone()
    }

    /// Active targets, ordered by `instance` label.
    pub fn targets(&self) -> Vec<TargetStatus> {
        let state = self.circle.state.lock();
        let job = &state.settings.job.job_name;
        let mut all: Vec<TargetStatus> = state
            .active
            .values()
            .map(|running| {
                let progress = running.progress.lock().clone();
                TargetStatus {
                    job: job.clone(),
                    discovered_labels: running.target.discovered.clone(),
                    labels: running.target.labels.clone(),
                    scrape_url: running.target.url.to_string(),
                    interval: running.target.interval,
                    timeout: running.target.timeout,
                    state: progress.state,
                    last_scrape: progress.last_scrape,
                    last_duration: progress.last_duration,
                    last_error: progress.last_error,
                    series: progress.series,
                }
            })
            .collect();
        all.sort_by(|a, b| a.labels.get("instance").cmp(&b.labels.get("instance")));
        all
    }

    /// Series that the targets had in their last successful scrapes; of targets that are gone, until they are marked
    /// stale. Report series are not counted.
    pub fn series(&self) -> u64 {
        let state = self.circle.state.lock();
        state.active.values().chain(state.leaving.values()).map(|running| running.progress.lock().series).sum()
    }

    /// Targets that rules dropped, as discovered: at most `keep_dropped_targets` of them, and how many there are.
    pub fn dropped(&self) -> (Vec<Labels>, usize) {
        let state = self.circle.state.lock();
        (state.dropped.clone(), state.dropped_count)
    }

    /// The process stops: ends every loop, breaking off what it waits for, with markers if `markers`
    /// (`write_stale_on_shutdown`).
    pub async fn shutdown(self, markers: bool) {
        self.close(Phase::Stop { markers }).await;
    }

    /// The job is removed: every target leaves, and its series are marked stale once the next two points have passed.
    pub async fn retire(self) {
        self.close(Phase::Leave).await;
    }

    async fn close(self, phase: Phase) {
        let Self { circle, sources } = self;
        // The follower ends with it: no target can come any more.
        drop(sources);
        {
            let mut state = circle.state.lock();
            state.closed = true;
            let active = std::mem::take(&mut state.active);
            state.leaving.extend(active);
            let State { settings, leaving, .. } = &*state;
            for running in leaving.values() {
                let same = running.orders.borrow().phase == phase;
                if !same {
                    running.order(Order {
                        settings: settings.clone(),
                        target: running.target.clone(),
                        phase,
                        forced: None,
                    });
                }
            }
        }
        // Now and not at the end: a job of the same name may start meanwhile.
        let job = circle.state.lock().settings.job.job_name.clone();
        circle.metrics.forget(&job, circle.id);
        circle.own.close();
        circle.own.wait().await;
    }
}

/// Brings every published list to the pool.
async fn follow(circle: Arc<Circle>, mut sources: watch::Receiver<GroupsReceiver>) {
    loop {
        let mut groups = sources.borrow_and_update().clone();
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                () = circle.stop.cancelled() => return,
                other = sources.changed() => match other {
                    Ok(()) => break,
                    Err(_) => return,
                },
                changed = groups.changed(), if open => match changed {
                    Ok(()) => {
                        let list = groups.borrow_and_update().clone();
                        circle.take(list);
                    }
                    // Discovery has ended; its last list stands.
                    Err(_) => open = false,
                },
            }
        }
    }
}
