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
    job::Found,
    wiring::{Parts, Wiring},
};
use crate::{
    complaint::complaint,
    lanes::{fnv1a, logs_lane, metrics_lane, processors_name, spans_lane, traces_lane},
};

/// How often a successor looks whether its predecessor let go of the reader.
const LOOK: Duration = Duration::from_millis(20);

/// Compiled processors.
pub struct PreparedProcessing {
    chain: Chain,
    /// Where series of spans are served.
    listening: Option<Listening>,
    /// Discovery whose labels go on spans.
    found: Vec<(JobConfig, Found)>,
}

/// A stage that runs.
pub struct Processing {
    config: ProcessorsConfig,
    jobs: Vec<(JobConfig, Vec<DiscoveryConfig>)>,
    backends: Vec<String>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl PreparedProcessing {
    pub fn new(parts: &Parts, route: &TracesRoute) -> Result<Self> {
        let chain = Chain::new(&route.processors, route.instance(), &parts.processors);
        let chain = chain.with_context(|| format!("the traces instance {}", route.name))?;
        let listening = match route.processors.span_metrics.as_ref().map(|metrics| &metrics.output) {
            Some(SpanMetricsOutput::Endpoint(endpoint)) => {
                let listening = parts.sockets.listen("spanmetrics", Transport::Tcp, endpoint);
                Some(listening.with_context(|| format!("listening on {endpoint} for spanmetrics"))?)
            }
            _ => None,
        };
        let mut found = Vec::new();
        for (job, discoveries) in &route.jobs {
            found.push((job.clone(), Found::look(parts, &job.job_name, discoveries)?));
        }
        Ok(Self { chain, listening, found })
    }

    /// Starts the stage, if the queue has a lane for what it reads: an instance that had processors once keeps it, so that what
    /// was received then goes on. `lane`: where destinations read.
    pub fn start(self, wiring: &Wiring, route: &TracesRoute, lane: &LaneId) -> Result<Option<Processing>> {
        let from = spans_lane(&route.name)?;
        if wiring.queue.durable_end(&from).is_err() {
            return Ok(None);
        }
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let intake = |lane: &LaneId| Ok::<_, anyhow::Error>(OtlpIntake::new(wiring.queue.appender(lane)?));
        let onward = match &*route.backends {
            [] => vec![intake(lane)?],
            backends => backends.iter().map(|name| intake(&traces_lane(name)?)).collect::<Result<_>>()?,
        };
        if let Some(hosts) = self.chain.hosts() {
            for (job, found) in self.found {
                tracker.spawn(follow(job, found, hosts.clone(), stop.clone()));
            }
        }
        if let (Some(listening), Some(page)) = (self.listening, self.chain.page()) {
            tracker.spawn(show(listening, page, stop.clone()));
        }
        let sinks = sinks(wiring, route)?;
        let stage = Stage::new(self.chain, onward, sinks, route.instance(), &wiring.parts.processors);
        let (queue, name, stopped) = (wiring.queue.clone(), processors_name(lane), stop.clone());
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
        let (config, jobs, backends) = (route.processors.clone(), route.jobs.clone(), route.backends.clone());
        Ok(Some(Processing { config, jobs, backends, stop, tracker }))
    }
}

/// The ways into other instances. Reading the file made sure that they are there.
fn sinks(wiring: &Wiring, route: &TracesRoute) -> Result<Sinks> {
    let mut sinks = Sinks { stream: u64::from(fnv1a(route.name.as_bytes())), ..Sinks::default() };
    if let Some(metrics) = &route.processors.span_metrics
        && let SpanMetricsOutput::Instance(name) = &metrics.output
    {
        sinks.samples = Some(MetricIntake::new(wiring.queue.appender(&metrics_lane(name)?)?));
    }
    if let Some(logging) = &route.processors.automatic_logging
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
    /// Whether it does what `route` wants.
    pub fn goes_on(&self, route: &TracesRoute) -> bool {
        (&self.config, &self.jobs, &self.backends) == (&route.processors, &route.jobs, &route.backends)
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
