//! What a pool and its loops both see: which targets there should be, and which there are.
//!
//! Keeps true: a target is either active, or leaving, or has no loop; the loop of a leaving target takes itself out before
//! it writes its markers, so that a target that comes back finds either its old loop or none. Does not scrape and does not
//! follow discovery.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use discovery::TargetGroup;
use model::Labels;
use parking_lot::Mutex;
use pipeline::{MetricIntake, off_reactor};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ScrapeContext, ScrapeMetrics, TargetError,
    fetch::Line,
    metrics::{PoolId, Share},
    settings::Settings,
    status::Progress,
    target::{self, Identity, Resolved, Target},
    target_loop::{Order, Phase, TargetLoop, cache_for},
    tick::Grid,
};

/// More targets than this take more than about a millisecond to relabel.
const LONG_SYNC: usize = 100;

/// What the pool and its loops both see.
#[derive(Debug)]
pub(crate) struct Circle {
    pub intake: MetricIntake,
    pub metrics: Arc<ScrapeMetrics>,
    /// This pool's, in `metrics`.
    pub id: PoolId,
    pub context: ScrapeContext,
    pub tracker: TaskTracker,
    /// This pool's tasks only.
    pub own: TaskTracker,
    pub stop: CancellationToken,
    pub state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub settings: Arc<Settings>,
    pub groups: Option<Arc<Vec<TargetGroup>>>,
    pub active: BTreeMap<Identity, Running>,
    /// Gone, but their markers are not due yet.
    pub leaving: BTreeMap<Identity, Running>,
    pub dropped: Vec<Labels>,
    pub dropped_count: usize,
    pub forced: Option<Arc<str>>,
    pub complaint: Option<String>,
    pub closed: bool,
}

#[derive(Debug)]
pub(crate) struct Running {
    pub target: Arc<Target>,
    pub orders: watch::Sender<Order>,
    pub progress: Arc<Mutex<Progress>>,
}

impl Running {
    pub(crate) fn order(&self, order: Order) {
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

impl Circle {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(self.own.track_future(task));
    }

    pub(crate) fn take(self: &Arc<Self>, groups: Arc<Vec<TargetGroup>>) {
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
        let succeeded = state.active.values().any(|other| other.target.labels == target.labels);
        if succeeded { Release::Succeeded } else { Release::Gone }
    }

    /// Makes the running loops those that job and groups ask for.
    pub(crate) fn sync(self: &Arc<Self>, state: &mut State) {
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

        let gone: Vec<Identity> = state.active.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        for id in gone {
            if let Some(running) = state.active.remove(&id) {
                let target = running.target.clone();
                running.order(Order { settings: settings.clone(), target, phase: Phase::Leave, forced: None });
                state.leaving.insert(id, running);
            }
        }
        for (id, target) in wanted {
            let order =
                Order { settings: settings.clone(), target, phase: Phase::Scrape, forced: state.forced.clone() };
            if let Some(running) = state.active.get_mut(&id) {
                running.update(order);
            } else if let Some(mut running) = state.leaving.remove(&id) {
                running.update(order);
                state.active.insert(id, running);
            } else {
                state.active.insert(id, self.start(order));
            }
        }

        let share = Share { targets: state.active.len(), target_limit: settings.job.limits.targets, discovered: found };
        self.metrics.share(&settings.job.job_name, self.id, share);
        self.metrics.syncs.get_or_create(&label).inc();
        self.metrics.sync_length.get_or_create(&label).observe(begun.elapsed().as_secs_f64());
    }

    /// Every wanted target, once. Dropped ones are noted for the page, broken ones counted and one of them logged.
    fn resolve(&self, state: &mut State, groups: &[TargetGroup]) -> BTreeMap<Identity, Arc<Target>> {
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
                if self.context.host_filter.as_ref().is_some_and(|filter| !filter.keeps(&labels)) {
                    continue;
                }
                match target::resolve(labels, job) {
                    Ok(Resolved::Kept(target)) => {
                        wanted.entry(target.identity).or_insert_with(|| Arc::new(target));
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
        self.metrics.sync_failed.get_or_create(&[("scrape_job", job.job_name.clone())]).inc_by(broken);
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
        let reason: Arc<str> = format!("target_limit exceeded (number of targets: {found}, limit: {limit})").into();
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
            line: Line::default(),
            lengths: (target.interval, self.metrics.interval_length(target.interval)),
            last: None,
        });
        self.spawn(task.run());
        Running { target, orders: sender, progress }
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
                && (now.target.interval, now.target.timeout) == (order.target.interval, order.target.timeout);
            // Also when nothing differs for the loop: its labels as discovered may.
            *now = order;
            !same
        });
    }
}

fn complain(source: &str, error: &TargetError) -> String {
    format!("a target from {source}: {error}")
}
