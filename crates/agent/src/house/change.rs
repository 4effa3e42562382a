//! What makes a route run, or run differently, in three steps of which only the last touches what runs.
//!
//! [`Prepared`] is all that a plan can make fail; [`Ready`] all that the queue can make fail for what is new;
//! [`Ready::take_over`] cannot fail. Dropped before, they leave no trace.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result};
use config::{DestinationPlan, LogsRoute, MetricsRoute, TracesRoute};
use discovery::DiscoveryConfig;
use log_tail::Book;
use pipeline::LaneId;
use queue::Reader;
use scrape::JobConfig;

use super::{
    delivery::Delivery,
    files::{LogFiles, PreparedFiles, same_files},
    job::{Found, Job},
    log_sources::{PreparedSource, PreparedSources, RunningSource, source_names},
    processing::{PreparedProcessing, Processing, StagePlan},
    route::Route,
    route_plan::RoutePlan,
    traces::{PreparedReceivers, Receivers, same_receivers},
    wiring::{Parts, Wiring},
};

/// Clients that can be built, identities, discovery that looks.
pub struct Prepared {
    plan: RoutePlan,
    lane: LaneId,
    /// Enabled destinations that do not run as they shall.
    starting: Vec<Starting>,
    /// Discovery of the jobs that are new or find their targets differently.
    found: BTreeMap<String, Found>,
    /// Log files, if they are not to go on as they are.
    files: Option<PreparedFiles>,
    /// Other sources of lines that are not to go on as they are.
    sources: PreparedSources,
    /// Receivers of traces, if they are not to go on as they are.
    receivers: Option<PreparedReceivers>,
    /// Processors of traces, if they are not to go on as they are.
    processing: Option<PreparedProcessing>,
}

/// Certificate files of destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// At the start: one destination that cannot be served keeps no other from its data.
    MayBeMissing,
    /// At a reload: the configuration that runs is better than one that cannot.
    MustBeThere,
}

struct Starting {
    plan: DestinationPlan,
    identity: Option<Arc<aws::Identity>>,
    reader: Option<Reader>,
}

impl Prepared {
    /// Which route it is.
    pub fn lane(&self) -> &LaneId {
        &self.lane
    }

    /// `before` is the route as it runs, if it does.
    pub fn new(parts: &Parts, before: Option<&Route>, plan: RoutePlan, files: Files) -> Result<Self> {
        let mut starting = Vec::new();
        for destination in plan.destinations().iter().filter(|d| d.enabled) {
            let runs = before.and_then(|r| r.deliveries.get(&destination.config.name));
            // What runs as it is goes on as it is.
            let may_lack = files == Files::MayBeMissing || runs.is_some_and(|d| d.plan() == destination);
            match check_client(&destination.config.client) {
                // Its worker tells it, tries again, and holds its data meanwhile.
                Err(net::NetError::File { .. }) if may_lack => {}
                checked => checked.with_context(|| format!("destination {}", destination.config.name))?,
            }
            if runs.is_none_or(|d| d.plan() != destination) {
                let identity = Delivery::identity(parts, destination)?;
                starting.push(Starting { plan: destination.clone(), identity, reader: None });
            }
        }
        let mut found = BTreeMap::new();
        for (job, discoveries) in jobs(&plan) {
            let runs = before.and_then(|route| route.jobs.get(&job.job_name));
            let may_lack = files == Files::MayBeMissing || runs.is_some_and(|runs| runs.config().client == job.client);
            match check_client(&job.client) {
                // Its targets are down until the file is right.
                Err(net::NetError::File { .. }) if may_lack => {}
                checked => checked.with_context(|| format!("job {}", job.job_name))?,
            }
            if going_on(before, &plan, job).is_none_or(|j| j.discoveries() != discoveries) {
                found.insert(job.job_name.clone(), Found::look(parts, &job.job_name, discoveries)?);
            }
        }
        let files = match plan.logs() {
            Some(logs) if !files_go_on(before, logs) => Some(PreparedFiles::new(parts, logs)?),
            _ => None,
        };
        let nothing = BTreeMap::new();
        let sources = match plan.logs() {
            Some(logs) => PreparedSource::all(parts, logs, before.map_or(&nothing, |route| &route.sources))?,
            None => PreparedSources::new(),
        };
        let receivers = match plan.traces() {
            Some(traces) if !receivers_go_on(before, traces) => Some(PreparedReceivers::new(parts, traces)?),
            _ => None,
        };
        let processing = match plan.stage()? {
            Some(stage) if !processing_goes_on(before, &stage) => Some(PreparedProcessing::new(parts, stage)?),
            _ => None,
        };
        Ok(Self { lane: plan.lane()?, plan, starting, found, files, sources, receivers, processing })
    }

    /// Takes from the queue what nobody has yet. The queue knows the plan's lanes and destinations.
    pub fn ready(self, wiring: &Wiring, before: Option<&Route>) -> Result<Ready> {
        let Self { plan, lane, mut starting, mut found, files, sources, receivers, processing } = self;
        for destination in &mut starting {
            // A worker that runs has the reader still, or what empties the lane of a backend that comes back.
            let has_it = |r: &Route| r.deliveries.contains_key(&destination.plan.config.name) || r.plan.is_drain();
            if !before.is_some_and(has_it) {
                destination.reader = Some(Delivery::reader(wiring, &lane, &destination.plan)?);
            }
        }
        let mut jobs = BTreeMap::new();
        if let Some(metrics) = plan.metrics() {
            for (job, _) in metrics.jobs.iter().filter(|(job, _)| going_on(before, &plan, job).is_none()) {
                let found =
                    found.remove(&job.job_name).with_context(|| format!("job {} was not prepared", job.job_name))?;
                jobs.insert(job.job_name.clone(), Job::ready(wiring, metrics, &lane, job, found)?);
            }
        }
        // A tail that runs has the book still, and its successor takes it over.
        let book = match (plan.logs(), &files) {
            (Some(logs), Some(_)) if before.is_none_or(|r| r.files.is_none()) => {
                // Sources that go on have it.
                match before.and_then(|route| route.book.clone()) {
                    Some(book) => Some(book),
                    None => Some(PreparedFiles::book(wiring, logs, &lane)?),
                }
            }
            _ => None,
        };
        Ok(Ready { plan, lane, starting, jobs, found, files, book, sources, receivers, processing })
    }
}

/// The job of the same name, if it may go on under `plan`.
fn going_on<'r>(before: Option<&'r Route>, plan: &RoutePlan, job: &JobConfig) -> Option<&'r Job> {
    let same = |r: &&Route| match (r.plan.metrics(), plan.metrics()) {
        (Some(old), Some(new)) => same_surroundings(old, new),
        _ => false,
    };
    before.filter(same).and_then(|r| r.jobs.get(&job.job_name))
}

/// Whether a route of logs reads files already as `plan` wants it.
fn files_go_on(before: Option<&Route>, plan: &LogsRoute) -> bool {
    let running = before.filter(|route| route.files.is_some()).and_then(|route| route.plan.logs());
    running.is_some_and(|old| same_files(old, plan))
}

/// Whether a route of traces listens already as `plan` wants it.
fn receivers_go_on(before: Option<&Route>, plan: &TracesRoute) -> bool {
    let running = before.filter(|route| route.receivers.is_some()).and_then(|route| route.plan.traces());
    running.is_some_and(|old| same_receivers(old, plan))
}

/// Whether a route's spans are processed already as `plan` wants it.
fn processing_goes_on(before: Option<&Route>, plan: &StagePlan) -> bool {
    before.and_then(|route| route.processing.as_ref()).is_some_and(|running| running.goes_on(plan))
}

/// The scrape jobs of a route of metrics.
fn jobs(plan: &RoutePlan) -> &[(JobConfig, Vec<DiscoveryConfig>)] {
    plan.metrics().map(|metrics| metrics.jobs.as_slice()).unwrap_or_default()
}

/// Everything is there but what still belongs to the workers that are to stop.
pub struct Ready {
    plan: RoutePlan,
    lane: LaneId,
    starting: Vec<Starting>,
    /// Jobs that cannot go on in a pool that runs; not going yet.
    jobs: BTreeMap<String, Job>,
    /// Other discovery for jobs that go on.
    found: BTreeMap<String, Found>,
    files: Option<PreparedFiles>,
    /// Where a route's files stand that read none before.
    book: Option<Arc<Book>>,
    sources: PreparedSources,
    receivers: Option<PreparedReceivers>,
    processing: Option<PreparedProcessing>,
}

/// What a route leaves behind when it is taken over, to be ended without a lock.
#[derive(Default)]
pub struct Leftovers {
    pub deliveries: Vec<Delivery>,
    jobs: Vec<Job>,
    /// Their successors in the route, which go when they have ended.
    waiting: Vec<String>,
    /// Files that are read differently from now on, and how.
    files: Option<(LogFiles, PreparedFiles)>,
    /// Other sources of lines that end, with and without successors.
    sources: Vec<RunningSource>,
    next_sources: PreparedSources,
    /// Receivers that others have followed.
    receivers: Option<Receivers>,
    /// Processors that others have followed, or wait for.
    processing: Option<Processing>,
}

/// What may go when a route's leftovers have ended.
#[derive(Default)]
pub struct Successors {
    /// Jobs that stand ready.
    pub jobs: Vec<String>,
    /// Files, and the positions they go on from.
    pub files: Option<(PreparedFiles, Arc<Book>)>,
    /// Other sources of lines.
    pub sources: PreparedSources,
}

impl Ready {
    /// Which route it is.
    pub fn lane(&self) -> &LaneId {
        &self.lane
    }

    /// The workers that run and have to let go of their readers for this.
    pub fn take_changed(&self, route: &mut Route) -> Vec<Delivery> {
        let names = self.starting.iter().map(|d| &d.plan.config.name);
        names.filter_map(|name| route.deliveries.remove(name)).collect()
    }

    /// What has a destination's reader and is no worker: its lane is not to be emptied any more.
    pub fn take_drain(&self, route: &mut Route) -> Option<Processing> {
        let ends = route.plan.is_drain() && !self.plan.is_drain();
        route.processing.take_if(|_| ends)
    }

    /// Takes the readers that the workers of [`Ready::take_changed`] gave back.
    pub fn take_readers(&mut self, wiring: &Wiring) -> Result<()> {
        for destination in self.starting.iter_mut().filter(|d| d.reader.is_none()) {
            destination.reader = Some(Delivery::reader(wiring, &self.lane, &destination.plan)?);
        }
        Ok(())
    }

    /// Changes the jobs that go on, and gives what they were. On error they are as before.
    pub fn apply_jobs(&self, route: &Route) -> Result<Vec<JobConfig>> {
        let mut were = Vec::new();
        for (job, _) in jobs(&self.plan) {
            let Some(running) = going_on(Some(route), &self.plan, job) else { continue };
            let was = running.config();
            if let Err(error) = running.apply(job) {
                undo_jobs(route, &were);
                return Err(error);
            }
            were.push(was);
        }
        Ok(were)
    }

    /// Starts a route that did not run.
    pub fn start(self, wiring: &Wiring) -> Route {
        let Self { plan, lane, starting, jobs, files, book, sources, receivers, processing, .. } = self;
        let mut route = Route {
            plan,
            lane,
            jobs,
            files: None,
            book: None,
            sources: BTreeMap::new(),
            receivers: None,
            processing: None,
            deliveries: BTreeMap::new(),
        };
        start_deliveries(wiring, &mut route, starting);
        route.jobs.values().for_each(Job::go);
        if let (Some(files), Some(book)) = (files, book) {
            route.read(wiring, files, book);
        }
        route.receive(wiring, sources);
        if let Some(processing) = processing {
            route.process(wiring, processing);
        }
        if let Some(receivers) = receivers {
            route.listen(wiring, receivers);
        }
        route
    }

    /// The route runs as planned when this returns, but for the jobs that wait for their predecessors' end:
    /// [`Leftovers::end`].
    pub fn take_over(self, wiring: &Wiring, route: &mut Route) -> Leftovers {
        let Self { plan, lane, starting, jobs, found, files, book, sources, receivers, processing } = self;
        let mut left = Leftovers::default();
        route.lane = lane;
        let enabled = |d: &Delivery| plan.destinations().iter().any(|p| p.enabled && p.config.name == d.name());
        let (stay, go) = std::mem::take(&mut route.deliveries).into_iter().partition(|(_, d)| enabled(d));
        route.deliveries = stay;
        left.deliveries = BTreeMap::into_values(go).collect();
        for (name, found) in found {
            if let Some(job) = route.jobs.get_mut(&name) {
                job.look_elsewhere(found);
            }
        }
        let names: Vec<String> = route.jobs.keys().cloned().collect();
        for name in names.into_iter().filter(|name| self::jobs(&plan).iter().all(|(job, _)| job.job_name != *name)) {
            route.jobs.remove(&name).into_iter().for_each(Job::retire);
        }
        for (name, job) in jobs {
            match route.jobs.remove(&name) {
                Some(before) => {
                    left.jobs.push(before);
                    left.waiting.push(name.clone());
                }
                None => job.go(),
            }
            route.jobs.insert(name, job);
        }
        route.plan = plan;
        start_deliveries(wiring, route, starting);
        match (files, route.files.take(), book) {
            (Some(files), Some(before), _) => left.files = Some((before, files)),
            (Some(files), None, Some(book)) => route.read(wiring, files, book),
            (_, before, _) => route.files = before,
        }
        let wanted: Vec<String> = route.plan.logs().map(source_names).unwrap_or_default();
        let goes = |name: &String| sources.contains_key(name) || !wanted.contains(name);
        let (go, stay) = std::mem::take(&mut route.sources).into_iter().partition(|(name, _)| goes(name));
        route.sources = stay;
        left.sources = BTreeMap::into_values(go).collect();
        left.next_sources = sources;
        if let Some(processing) = processing {
            // The successor waits for the reader that its predecessor has.
            left.processing = route.processing.take().inspect(|before| {
                before.retire(Some(processing.plan()));
                before.stop();
            });
            route.process(wiring, processing);
        }
        if let Some(receivers) = receivers {
            // They have the same sockets: who connects at this moment finds one or the other.
            left.receivers = route.receivers.take().inspect(Receivers::stop);
            route.listen(wiring, receivers);
        } else {
            route.keep_listening(wiring);
        }
        left
    }
}

impl Leftovers {
    /// Ends what has successors, which may go now.
    pub async fn end(self, parts: &Parts) -> Successors {
        futures_util::future::join_all(self.jobs.into_iter().map(|job| job.end(false))).await;
        futures_util::future::join_all(self.sources.into_iter().map(|source| source.end(parts))).await;
        if let Some(receivers) = self.receivers {
            receivers.end().await;
        }
        if let Some(processing) = self.processing {
            processing.end().await;
        }
        let files = match self.files {
            Some((before, files)) => Some((files, before.end().await)),
            None => None,
        };
        Successors { jobs: self.waiting, files, sources: self.next_sources }
    }
}

fn start_deliveries(wiring: &Wiring, route: &mut Route, starting: Vec<Starting>) {
    for Starting { plan, identity, reader } in starting {
        // All readers are there: `take_readers` fails otherwise, and a new route took all of them at once.
        if let Some(reader) = reader {
            let delivery = Delivery::start(wiring, route.plan.instance(), &plan, identity, reader);
            route.deliveries.insert(plan.config.name.clone(), delivery);
        }
    }
}

/// Puts the jobs of a route back to what they were.
pub fn undo_jobs(route: &Route, were: &[JobConfig]) {
    for was in were {
        if let Some(Err(error)) = route.jobs.get(&was.job_name).map(|job| job.apply(was)) {
            // It ran with this a moment ago: its certificates have changed since.
            tracing::error!(job = was.job_name, %error, "the job cannot go back to its old configuration and runs with the new one");
        }
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
