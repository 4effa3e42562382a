//! The sources of one route's lines that are no files: what is prepared before anything runs, and what runs.
//!
//! Which bytes they read and how is `log-receive`'s. Keeps true: a source that ended has handed over what it took in or
//! gives it up after a while; its marks are in the book by then; a port stays open from one source to its successor.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use config::{LogJobPlan, LogSource, LogsRoute};
use log_receive::{CloudAccess, PushReceiver, SourceState, SourceStatus, SyslogListener};
use log_tail::Book;
use model::Labels;
use net::{Authorize, Client, ClientOptions, HttpClientConfig, Listening, ProxyConfig};
use pipeline::{LaneId, LogIntake};
use stages::{LineGate, Pipeline};
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    log_marks::RouteBook,
    log_source_run::{Way, supervise},
    wiring::{Parts, Wiring},
};

/// What makes two sources the same: a source goes on if nothing of this changes.
#[derive(Debug, Clone, PartialEq)]
pub struct SourcePlan {
    pub job: LogJobPlan,
    pub limits: config::LineLimits,
    /// Lines come from the standard input, whatever the job says.
    pub stdin: bool,
}

/// What a source reads from, as far as it can be made before it runs.
#[derive(Clone)]
pub enum Input {
    /// All that a source needs is in its plan.
    Nothing,
    Listening(Listening),
    CloudWatch(CloudAccess),
    Objects {
        bucket: CloudAccess,
        queue: Option<CloudAccess>,
    },
    Stdin(Labels),
}

/// A source that can start.
pub struct PreparedSource {
    pub plan: SourcePlan,
    pub input: Input,
    identities: Vec<(String, Arc<aws::Identity>)>,
}

/// Sources that are not to go on as they are, by job.
pub type PreparedSources = BTreeMap<String, PreparedSource>;

/// A source that runs.
pub struct RunningSource {
    plan: SourcePlan,
    state: SourceState,
    stop: CancellationToken,
    /// Of the marks that are not settled.
    settling: TaskTracker,
    task: JoinHandle<()>,
    identities: Vec<String>,
}

/// One source on the page of targets.
pub struct SourceTarget {
    pub instance: String,
    pub labels: Labels,
    pub status: SourceStatus,
    /// Where it stands, if it has a place.
    pub position: Option<String>,
}

/// A source that does not let go of what it holds in this time is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// One request to AWS with its answer.
const CLOUD_TIMEOUT: Duration = Duration::from_secs(60);

/// The sources of a route, by job. With `stdin` there is one.
pub fn plans(route: &LogsRoute) -> Vec<SourcePlan> {
    let plan = |job: &LogJobPlan| SourcePlan { job: job.clone(), limits: route.limits, stdin: route.stdin };
    if route.stdin {
        let nothing = || LogJobPlan {
            job_name: "stdin".to_owned(),
            source: LogSource::Files(Vec::new()),
            relabel: Vec::new(),
            stages: stages::PipelineConfig::default(),
            encoding: None,
            decompression: None,
        };
        return vec![plan(&route.jobs.first().cloned().unwrap_or_else(nothing))];
    }
    route.jobs.iter().filter(|job| !matches!(job.source, LogSource::Files(_))).map(plan).collect()
}

/// Their names.
pub fn source_names(route: &LogsRoute) -> Vec<String> {
    plans(route).into_iter().map(|plan| plan.job.job_name).collect()
}

impl PreparedSource {
    /// Those of `route` that do not run as planned among `running`.
    pub fn all(parts: &Parts, route: &LogsRoute, running: &BTreeMap<String, RunningSource>) -> Result<PreparedSources> {
        let mut prepared = BTreeMap::new();
        for plan in plans(route) {
            let name = plan.job.job_name.clone();
            if running.get(&name).is_none_or(|source| source.plan != plan || source.task.is_finished()) {
                let source = Self::new(parts, &route.name, plan)
                    .with_context(|| format!("job {name} of the logs instance {}", route.name))?;
                prepared.insert(name, source);
            }
        }
        Ok(prepared)
    }

    fn new(parts: &Parts, instance: &str, plan: SourcePlan) -> Result<Self> {
        // Once to see that it can be made.
        Pipeline::new(&plan.job.stages, &plan.job.job_name, &parts.stages.of_instance(instance))?;
        let mut identities = Vec::new();
        let mut access = |config: &aws::IdentityConfig, url: &url::Url, service: &str| -> Result<CloudAccess> {
            let name = format!("logs-{instance}-{}-{service}", plan.job.job_name);
            let identity = aws::build(config, url, service, &name, &parts.identities)?;
            identities.push((name, Arc::clone(&identity)));
            let config = HttpClientConfig { proxy: ProxyConfig::Environment, ..HttpClientConfig::default() };
            let client = Client::new(&config, ClientOptions::default())?;
            Ok(CloudAccess { client, authorize: identity as Arc<dyn Authorize>, timeout: CLOUD_TIMEOUT })
        };
        let input = match &plan.job.source {
            _ if plan.stdin => Input::Stdin(stdin_labels(&plan.job.source, parts.hostname())),
            LogSource::Files(_) | LogSource::Journal(_) | LogSource::Docker(_) => Input::Nothing,
            LogSource::Syslog(config) => Input::Listening(SyslogListener::listen(config, &parts.sockets)?),
            LogSource::Push(config) => Input::Listening(PushReceiver::listen(config, &parts.sockets)?),
            LogSource::CloudWatch(cloud) => Input::CloudWatch(access(&cloud.identity, &cloud.signed_for, "logs")?),
            LogSource::Objects(objects) => {
                let region = &objects.config.region;
                let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
                let bucket: url::Url = format!("https://s3.{region}.{suffix}/").parse()?;
                let queue = match &objects.config.objects {
                    log_receive::NewObjects::Queue(queue) => Some(access(&objects.identity, &queue.queue_url, "sqs")?),
                    log_receive::NewObjects::List { .. } => None,
                };
                Input::Objects { bucket: access(&objects.identity, &bucket, "s3")?, queue }
            }
        };
        Ok(Self { plan, input, identities })
    }

    /// Starts it; cannot fail.
    pub fn start(
        self,
        wiring: &Wiring,
        instance: &str,
        lane: &LaneId,
        book: &Arc<Book>,
        gate: Arc<LineGate>,
    ) -> Option<RunningSource> {
        let intake = match wiring.queue.appender(lane) {
            Ok(appender) => LogIntake::new(appender),
            Err(error) => {
                tracing::error!(instance, job = self.plan.job.job_name, %error, "a log source cannot start");
                return None;
            }
        };
        let (stop, settling) = (CancellationToken::new(), TaskTracker::new());
        let state = SourceState::new(kind(&self.plan), &self.plan.job.job_name);
        for (name, identity) in &self.identities {
            wiring.parts.identity_metrics.put(name, Some(identity));
        }
        let way = Way {
            plan: self.plan.clone(),
            input: self.input,
            intake,
            book: Arc::clone(book),
            marks: Arc::new(RouteBook(Arc::clone(book))),
            gate: Some(gate),
            metrics: wiring.parts.receive.of_instance(instance),
            stages: wiring.parts.stages.of_instance(instance),
            state: state.clone(),
            settling: settling.clone(),
        };
        let task = tokio::spawn(supervise(way, stop.clone()));
        let identities = self.identities.into_iter().map(|(name, _)| name).collect();
        Some(RunningSource { plan: self.plan, state, stop, settling, task, identities })
    }
}

/// What a source is called in metrics and on the page.
pub fn kind(plan: &SourcePlan) -> &'static str {
    match &plan.job.source {
        _ if plan.stdin => "stdin",
        LogSource::Files(_) => "files",
        LogSource::Journal(_) => "journal",
        LogSource::Syslog(_) => "syslog",
        LogSource::Push(_) => "loki_push_api",
        LogSource::CloudWatch(_) => "cloudwatch_logs",
        LogSource::Objects(_) => "s3",
        LogSource::Docker(_) => "docker",
    }
}

/// As Promtail has it: the labels of the job's static targets, or a job and a host name.
fn stdin_labels(source: &LogSource, hostname: &str) -> Labels {
    let mut labels = Labels::new();
    if let LogSource::Files(discoveries) = source {
        for discovery in discoveries {
            let discovery::DiscoveryConfig::Static(groups) = discovery else { continue };
            for (name, value) in groups.iter().flat_map(|group| group.labels.iter()) {
                labels.set(name, value);
            }
        }
    }
    if labels.is_empty() {
        labels.set("job", "stdin");
        labels.set("hostname", hostname);
    }
    labels
}

impl RunningSource {
    pub fn target(&self, instance: &str, book: Option<&Arc<Book>>) -> SourceTarget {
        let name = &self.plan.job.job_name;
        let (labels, position) = match &self.plan.job.source {
            _ if self.plan.stdin => (Labels::new(), None),
            LogSource::Files(_) => (Labels::new(), None),
            LogSource::Journal(config) => {
                let key = log_receive::JournalReader::key(name);
                (config.labels.clone(), book.and_then(|book| book.cursor(&key)))
            }
            LogSource::Syslog(config) => (config.labels.clone(), None),
            LogSource::Push(config) => (config.labels.clone(), None),
            LogSource::CloudWatch(cloud) => (cloud.config.labels.clone(), None),
            LogSource::Objects(objects) => (objects.config.labels.clone(), None),
            LogSource::Docker(_) => (Labels::new(), None),
        };
        SourceTarget { instance: instance.to_owned(), labels, status: self.state.status(), position }
    }

    /// Ends it: what it took in is handed over and its marks are settled when this returns.
    pub async fn end(self, parts: &Parts) {
        let Self { plan, stop, settling, mut task, identities, .. } = self;
        stop.cancel();
        if tokio::time::timeout(PATIENCE, &mut task).await.is_err() {
            task.abort();
            tracing::warn!(
                job = plan.job.job_name,
                "a log source did not end in time and is abandoned: the queue takes nothing more; what a sender was not \
                 told of it sends again"
            );
        }
        settling.close();
        // Marks follow their records, which the queue makes durable soon or never.
        if tokio::time::timeout(PATIENCE, settling.wait()).await.is_err() {
            tracing::warn!(job = plan.job.job_name, "the last position of a log source is not known to be durable");
        }
        for name in identities {
            parts.identity_metrics.put(&name, None);
        }
    }
}
