//! The targets of one job: follows discovery, starts and ends loops, answers for the targets page.
//!
//! Keeps true: a target whose labels and URL stay the same keeps its loop and what it remembers, whatever else changes;
//! a target that leaves and comes back before its markers are due goes on as if nothing had happened; targets with the
//! same labels and URL are one. Does not scrape.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use discovery::TargetGroup;
use model::Labels;
use net::{Client, ClientOptions};
use parking_lot::Mutex;
use pipeline::{MetricIntake, off_reactor};
use relabel::Rule;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    JobConfig, ScrapeContext, ScrapeError, ScrapeMetrics, TargetError, TargetStatus,
    metrics::discovered_label,
    request::Ask,
    status::Progress,
    target::{self, Identity, Resolved, Target},
    target_loop::{Order, Phase, TargetLoop, cache_for},
    tick::Grid,
};

/// Limit of a body when the job sets none: nothing that answers more than this is an exporter.
pub const BODY_CAP: u64 = 256 << 20;
/// More targets than this take more than about a millisecond to relabel.
const LONG_SYNC: usize = 100;

/// The list that discovery publishes.
pub type GroupsReceiver = watch::Receiver<Arc<Vec<TargetGroup>>>;

/// What a job's loops share; replaced as a whole when the job changes.
#[derive(Debug)]
pub(crate) struct Settings {
    pub job: JobConfig,
    pub client: Client,
    pub ask: Ask,
    pub metric_relabel: Arc<[Rule]>,
    pub body_limit: u64,
    /// Counts up when what loops remember is no longer right.
    pub cache_version: u64,
}

impl Settings {
    fn new(job: JobConfig, before: Option<&Self>) -> Result<Self, ScrapeError> {
        let client = match before {
            Some(before) if before.job.client == job.client => before.client.clone(),
            _ => Client::new(&job.client, ClientOptions::default()).map_err(|source| {
                ScrapeError::Client {
                    job: job.job_name.clone(),
                    source,
                }
            })?,
        };
        let same_samples = |a: &JobConfig, b: &JobConfig| {
            (
                a.honor_labels,
                a.honor_timestamps,
                a.track_timestamps_staleness,
            ) == (
                b.honor_labels,
                b.honor_timestamps,
                b.track_timestamps_staleness,
            ) && a.metric_relabel == b.metric_relabel
                && (
                    a.limits.samples,
                    a.limits.labels,
                    a.limits.label_name_length,
                    a.limits.label_value_length,
                ) == (
                    b.limits.samples,
                    b.limits.labels,
                    b.limits.label_name_length,
                    b.limits.label_value_length,
                )
        };
        let cache_version = match before {
            Some(before) if same_samples(&before.job, &job) => before.cache_version,
            Some(before) => before.cache_version + 1,
            None => 0,
        };
        let body_limit = if job.limits.body_size == 0 {
            BODY_CAP
        } else {
            job.limits.body_size
        };
        Ok(Self {
            ask: Ask::new(&job.protocols, job.enable_compression),
            metric_relabel: job.metric_relabel.clone().into(),
            client,
            body_limit,
            cache_version,
            job,
        })
    }
}

/// The running targets of one job. Dropping it ends them without a word; see [`ScrapePool::shutdown`] and
/// [`ScrapePool::retire`].
#[derive(Debug)]
pub struct ScrapePool {
    circle: Arc<Circle>,
    sources: watch::Sender<GroupsReceiver>,
}

/// What the pool and its loops both see.
#[derive(Debug)]
pub(crate) struct Circle {
    intake: MetricIntake,
    metrics: Arc<ScrapeMetrics>,
    context: ScrapeContext,
    tracker: TaskTracker,
    /// This pool's tasks only.
    own: TaskTracker,
    stop: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    settings: Arc<Settings>,
    groups: Option<Arc<Vec<TargetGroup>>>,
    active: BTreeMap<Identity, Running>,
    /// Gone, but their markers are not due yet.
    leaving: BTreeMap<Identity, Running>,
    dropped: Vec<Labels>,
    dropped_count: usize,
    forced: Option<Arc<str>>,
    complaint: Option<String>,
    closed: bool,
}

#[derive(Debug)]
struct Running {
    target: Arc<Target>,
    orders: watch::Sender<Order>,
    progress: Arc<Mutex<Progress>>,
}

impl Running {
    fn order(&self, order: Order) {
        self.orders.send_replace(order);
    }
}

/// What a loop that waited long enough may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// Write the markers and end.
    Gone,
    /// Another target with the same labels is scraped: its series go on. End without markers.
    Succeeded,
    /// The target is wanted again.
    Resumed,
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
            circle.metrics.forget(&state.settings.job.job_name);
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
                }
            })
            .collect();
        all.sort_by(|a, b| a.labels.get("instance").cmp(&b.labels.get("instance")));
        all
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
            let State {
                settings, leaving, ..
            } = &*state;
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
        circle.metrics.forget(&job);
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

impl Circle {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(self.own.track_future(task));
    }

    fn take(self: &Arc<Self>, groups: Arc<Vec<TargetGroup>>) {
        let mut state = self.state.lock();
        state.groups = Some(groups);
        self.sync(&mut state);
    }

    /// A loop has waited for its target long enough.
    pub(crate) fn release(&self, target: &Target) -> Release {
        let mut state = self.state.lock();
        if state.leaving.remove(&target.identity).is_none() {
            return Release::Resumed;
        }
        let succeeded = state
            .active
            .values()
            .any(|other| other.target.labels == target.labels);
        if succeeded {
            Release::Succeeded
        } else {
            Release::Gone
        }
    }

    /// Makes the running loops those that job and groups ask for.
    fn sync(self: &Arc<Self>, state: &mut State) {
        let Some(groups) = state.groups.clone() else {
            return;
        };
        if state.closed {
            return;
        }
        let begun = Instant::now();
        let settings = state.settings.clone();
        let label = [("scrape_job", settings.job.job_name.clone())];
        let found: usize = groups.iter().map(|g| g.targets.len()).sum();
        let wanted = off_reactor(found > LONG_SYNC, || self.resolve(state, &groups));
        self.limit(state, wanted.len());

        let gone: Vec<Identity> = state
            .active
            .keys()
            .filter(|id| !wanted.contains_key(id))
            .copied()
            .collect();
        for id in gone {
            if let Some(running) = state.active.remove(&id) {
                let target = running.target.clone();
                running.order(Order {
                    settings: settings.clone(),
                    target,
                    phase: Phase::Leave,
                    forced: None,
                });
                state.leaving.insert(id, running);
            }
        }
        for (id, target) in wanted {
            let order = Order {
                settings: settings.clone(),
                target,
                phase: Phase::Scrape,
                forced: state.forced.clone(),
            };
            if let Some(running) = state.active.get_mut(&id) {
                running.update(order);
            } else if let Some(mut running) = state.leaving.remove(&id) {
                running.update(order);
                state.active.insert(id, running);
            } else {
                state.active.insert(id, self.start(order));
            }
        }

        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics
            .pool_targets
            .get_or_create(&label)
            .set(count(state.active.len()));
        let limit = i64::try_from(settings.job.limits.targets).unwrap_or(i64::MAX);
        self.metrics
            .pool_target_limit
            .get_or_create(&label)
            .set(limit);
        self.metrics
            .discovered
            .get_or_create(&discovered_label(&settings.job.job_name))
            .set(count(found));
        self.metrics.syncs.get_or_create(&label).inc();
        self.metrics
            .sync_length
            .get_or_create(&label)
            .observe(begun.elapsed().as_secs_f64());
    }

    /// Every wanted target, once. Dropped ones are noted for the page, broken ones counted and one of them logged.
    fn resolve(
        &self,
        state: &mut State,
        groups: &[TargetGroup],
    ) -> BTreeMap<Identity, Arc<Target>> {
        let job = &state.settings.job;
        let keep = usize::try_from(job.limits.keep_dropped_targets).unwrap_or(usize::MAX);
        let mut wanted = BTreeMap::new();
        let mut broken = 0u64;
        let mut complaint = None;
        state.dropped.clear();
        state.dropped_count = 0;
        for group in groups {
            for labels in &group.targets {
                let labels = target::merged(group, labels);
                if self
                    .context
                    .host_filter
                    .as_ref()
                    .is_some_and(|filter| !filter.keeps(&labels))
                {
                    continue;
                }
                match target::resolve(labels, job) {
                    Ok(Resolved::Kept(target)) => {
                        wanted
                            .entry(target.identity)
                            .or_insert_with(|| Arc::new(target));
                    }
                    Ok(Resolved::Dropped(labels)) => {
                        state.dropped_count += 1;
                        if keep == 0 || state.dropped.len() < keep {
                            state.dropped.push(labels);
                        }
                    }
                    Err(error) => {
                        broken += 1;
                        complaint.get_or_insert_with(|| complain(&group.source, &error));
                    }
                }
            }
        }
        self.metrics
            .sync_failed
            .get_or_create(&[("scrape_job", job.job_name.clone())])
            .inc_by(broken);
        if complaint != state.complaint {
            if let Some(error) = &complaint {
                tracing::warn!(job = %job.job_name, targets = broken, error, "discovered targets cannot be scraped");
            }
            state.complaint = complaint;
        }
        wanted
    }

    /// Too many targets fail them all.
    fn limit(&self, state: &mut State, found: usize) {
        let limit = state.settings.job.limits.targets;
        let exceeded = limit > 0 && found as u64 > limit;
        if !exceeded {
            state.forced = None;
            return;
        }
        self.metrics.exceeded_target_limit.inc();
        let reason: Arc<str> =
            format!("target_limit exceeded (number of targets: {found}, limit: {limit})").into();
        if state.forced.as_ref() != Some(&reason) {
            tracing::warn!(job = %state.settings.job.job_name, %reason, "every target of the job fails");
            state.forced = Some(reason);
        }
    }

    fn start(self: &Arc<Self>, order: Order) -> Running {
        let (sender, receiver) = watch::channel(order.clone());
        let progress = Arc::new(Mutex::new(Progress::default()));
        let target = order.target.clone();
        let task = Box::new(TargetLoop {
            intake: self.intake.clone(),
            metrics: self.metrics.clone(),
            context: self.context.clone(),
            stop: self.stop.clone(),
            orders: receiver,
            progress: progress.clone(),
            circle: Arc::downgrade(self),
            cache: cache_for(&target, &order.settings),
            grid: Grid::new(target.interval, target.hash, self.context.seed),
            order,
            last: None,
        });
        self.spawn(task.run());
        Running {
            target,
            orders: sender,
            progress,
        }
    }
}

impl Running {
    /// Orders it only if something differs, so that a list without news wakes nobody.
    fn update(&mut self, order: Order) {
        self.target = order.target.clone();
        self.orders.send_if_modified(|now| {
            let same = Arc::ptr_eq(&now.settings, &order.settings)
                && now.phase == order.phase
                && now.forced == order.forced
                && (now.target.interval, now.target.timeout)
                    == (order.target.interval, order.target.timeout);
            // Also when nothing differs for the loop: its labels as discovered may.
            *now = order;
            !same
        });
    }
}

fn complain(source: &str, error: &TargetError) -> String {
    format!("a target from {source}: {error}")
}
