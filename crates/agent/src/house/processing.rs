//! The processors of one route of traces as they run: a stage between the lane that receivers fill and the lane that destinations
//! read.
//!
//! Keeps true: the stage has the only reader of its lane, which a successor waits for; ending it leaves nothing claimed.

use std::time::Duration;

use anyhow::{Context, Result};
use axum::{Router, http::header, routing::get};
use config::TracesRoute;
use discovery::DiscoveryConfig;
use net::{
    Listening, Transport,
    server::{ServerOptions, serve},
};
use pipeline::{LaneId, LogIntake, MetricIntake, OtlpIntake, OtlpOutlet};
use scrape::JobConfig;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use traces::{Chain, Hosts, LogBackend, ProcessorsConfig, Sinks, SpanMetricsOutput, SpanMetricsPage, Stage};

use super::{
    drain::DrainPlan,
    job::Found,
    wiring::{Parts, Wiring},
};
use crate::{
    complaint::complaint,
    lanes::{fnv1a, logs_lane, metrics_lane, processors_name, spans_lane, traces_lane},
};

/// How often a successor looks whether its predecessor let go of the reader.
const LOOK: Duration = Duration::from_millis(20);

/// What a stage is to do: read one lane, and append what survives to others.
#[derive(Debug, Clone, PartialEq)]
pub struct StagePlan {
    /// The entry of `traces.configs`.
    instance: String,
    /// The route that it belongs to.
    route: String,
    from: LaneId,
    /// Who has a place in that lane.
    reader: String,
    onward: Vec<LaneId>,
    processors: ProcessorsConfig,
    /// Where labels come from that processors put on spans.
    jobs: Vec<(JobConfig, Vec<DiscoveryConfig>)>,
    /// It empties the lane of a backend that is gone.
    reroutes: bool,
}

impl StagePlan {
    /// Between the lane that a route's receivers fill and `lane`, or the lanes of backends.
    pub fn of_route(route: &TracesRoute, lane: &LaneId) -> Result<Self> {
        let onward = match &*route.backends {
            [] => vec![lane.clone()],
            backends => backends.iter().map(|name| traces_lane(name)).collect::<Result<_, _>>()?,
        };
        Ok(Self {
            instance: route.instance().to_owned(),
            route: route.name.clone(),
            from: spans_lane(&route.name)?,
            reader: processors_name(lane),
            onward,
            processors: route.processors.clone(),
            jobs: route.jobs.clone(),
            reroutes: false,
        })
    }

    pub fn of_drain(drain: &DrainPlan) -> Self {
        Self {
            instance: drain.instance.clone(),
            route: drain.name.clone(),
            from: drain.lane.clone(),
            reader: drain.destination.clone(),
            onward: drain.onward.clone(),
            processors: ProcessorsConfig { balance: drain.balance.clone(), ..ProcessorsConfig::default() },
            jobs: Vec::new(),
            reroutes: true,
        }
    }

    /// Whether it knows where spans go. Until a resolver has found backends they wait on disk.
    fn can_run(&self) -> bool {
        self.processors.balance.as_ref().is_none_or(|balance| !balance.backends.is_empty()) && !self.onward.is_empty()
    }
}

/// Compiled processors.
pub struct PreparedProcessing {
    plan: StagePlan,
    chain: Chain,
    /// Where series of spans are served.
    listening: Option<Listening>,
    /// Discovery whose labels go on spans.
    found: Vec<(JobConfig, Found)>,
}

/// A stage that runs.
pub struct Processing {
    plan: StagePlan,
    /// Its series have no successor.
    retired: CancellationToken,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl PreparedProcessing {
    pub fn plan(&self) -> &StagePlan {
        &self.plan
    }

    pub fn new(parts: &Parts, plan: StagePlan) -> Result<Self> {
        let chain = Chain::new(&plan.processors, &plan.instance, &parts.processors);
        let chain = chain.with_context(|| format!("the traces instance {}", plan.route))?;
        let listening = match plan.processors.span_metrics.as_ref().map(|metrics| &metrics.output) {
            Some(SpanMetricsOutput::Endpoint(endpoint)) => {
                let listening = parts.sockets.listen("spanmetrics", Transport::Tcp, endpoint);
                Some(listening.with_context(|| format!("listening on {endpoint} for spanmetrics"))?)
            }
            _ => None,
        };
        let mut found = Vec::new();
        for (job, discoveries) in &plan.jobs {
            found.push((job.clone(), Found::look(parts, &job.job_name, discoveries)?));
        }
        Ok(Self { plan, chain, listening, found })
    }

    /// Starts the stage, if the queue has a lane for what it reads: an instance that had processors once keeps it, so that what
    /// was received then goes on.
    pub fn start(self, wiring: &Wiring) -> Result<Option<Processing>> {
        let plan = self.plan;
        if wiring.queue.durable_end(&plan.from).is_err() {
            return Ok(None);
        }
        let (retired, stop, tracker) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let metrics = &wiring.parts.processors;
        if let Some(balance) = plan.processors.balance.as_ref().filter(|_| !plan.reroutes) {
            metrics.backends(&plan.instance, balance.resolver, balance.backends.len());
        }
        if !plan.can_run() {
            return Ok(Some(Processing { plan, retired, stop, tracker }));
        }
        let intake = |lane: &LaneId| Ok::<_, anyhow::Error>(OtlpIntake::new(wiring.queue.appender(lane)?));
        let onward = plan.onward.iter().map(intake).collect::<Result<_>>()?;
        if let Some(hosts) = self.chain.hosts() {
            for (job, found) in self.found {
                tracker.spawn(follow(job, found, hosts.clone(), stop.clone()));
            }
        }
        if let (Some(listening), Some(page)) = (self.listening, self.chain.page()) {
            tracker.spawn(show(listening, page, stop.clone()));
        }
        let stage = if plan.reroutes {
            Stage::rerouting(self.chain, onward, &plan.instance, metrics)
        } else {
            Stage::new(
                self.chain,
                onward,
                Sinks { retired: retired.clone(), ..sinks(wiring, &plan)? },
                &plan.instance,
                metrics,
            )
        };
        let (queue, name, from, stopped) = (wiring.queue.clone(), plan.reader.clone(), plan.from.clone(), stop.clone());
        tracker.spawn(async move {
            let mut said = false;
            let reader = loop {
                match queue.reader(&name, &from) {
                    Ok(reader) => break reader,
                    Err(error) if !said => {
                        said = true;
                        tracing::debug!(lane = %from, %error, "processors wait for those before them");
                    }
                    Err(_) => {}
                }
                tokio::select! {
                    () = stopped.cancelled() => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
            };
            stage.run(OtlpOutlet::new(reader), stopped).await;
        });
        Ok(Some(Processing { plan, retired, stop, tracker }))
    }
}

/// The ways into other instances. Reading the file made sure that they are there.
fn sinks(wiring: &Wiring, plan: &StagePlan) -> Result<Sinks> {
    let mut sinks = Sinks { stream: u64::from(fnv1a(plan.route.as_bytes())), ..Sinks::default() };
    if let Some(metrics) = &plan.processors.span_metrics
        && let SpanMetricsOutput::Instance(name) = &metrics.output
    {
        sinks.samples = Some(MetricIntake::new(wiring.queue.appender(&metrics_lane(name)?)?));
    }
    if let Some(logging) = &plan.processors.automatic_logging
        && let LogBackend::Instance(name) = &logging.backend
    {
        sinks.lines = Some(LogIntake::new(wiring.queue.appender(&logs_lane(name)?)?));
    }
    Ok(sinks)
}

/// Keeps the labels of a job's targets as discovery finds them.
async fn follow(job: JobConfig, found: Found, hosts: Hosts, stop: CancellationToken) {
    let mut groups = found.groups();
    loop {
        let mut targets = Vec::new();
        for group in groups.borrow_and_update().iter() {
            for target in &group.targets {
                let mut labels = group.labels.clone();
                target.iter().for_each(|(name, value)| labels.set(name, value));
                if relabel::process(&mut labels, &job.relabel) {
                    targets.push(labels);
                }
            }
        }
        hosts.replace(&job.job_name, targets.iter().map(|labels| labels.iter()));
        let changed = tokio::select! {
            () = stop.cancelled() => false,
            changed = groups.changed() => changed.is_ok(),
        };
        if !changed {
            return found.end().await;
        }
    }
}

/// Serves the series at `/metrics`.
async fn show(listening: Listening, page: SpanMetricsPage, stop: CancellationToken) {
    let text = move || {
        let page = page.clone();
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.text()) }
    };
    let router = Router::new().route("/metrics", get(text));
    let address = listening.address();
    let served = match listening.tcp() {
        Ok(listener) => serve(listener, router, ServerOptions::default(), stop).await,
        Err(error) => return tracing::error!(%address, %error, "spanmetrics are not served"),
    };
    if let Err(error) = served {
        tracing::error!(%address, error = complaint(&error), "spanmetrics are not served any more");
    }
}

impl Processing {
    /// Whether it does that already.
    pub fn goes_on(&self, plan: &StagePlan) -> bool {
        self.plan == *plan
    }

    /// Ends the series of `spanmetrics`, unless `successor` makes the same ones for the same instance.
    pub fn retire(&self, successor: Option<&StagePlan>) {
        let series = |plan: &StagePlan| {
            let metrics = plan.processors.span_metrics.as_ref()?;
            let dimensions: Vec<String> = metrics.dimensions.iter().map(|dimension| dimension.name.clone()).collect();
            Some((metrics.output.clone(), metrics.namespace.clone(), metrics.const_labels.clone(), dimensions))
        };
        if successor.and_then(series) != series(&self.plan) {
            self.retired.cancel();
        }
    }

    /// Takes nothing more but what is there.
    pub fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
    }

    /// Stops, and waits for what is being worked on; the stage bounds the time.
    pub async fn end(self) {
        self.stop();
        self.tracker.wait().await;
    }
}
