//! One source as it runs: made, run, and made again if it ends without having been asked to.

use std::{sync::Arc, time::Duration};

use config::LogSource;
use log_receive::{
    CloudWatchReader, DockerReader, Forward, ForwardConfig, JournalReader, MarkBook, PushReceiver, ReceiveError,
    ReceiveMetrics, S3Reader, SourceState, StdinConfig, SyslogListener, read_stdin,
};
use log_tail::Book;
use net::Backoff;
use pipeline::LogIntake;
use stages::{LineGate, Pipeline, StageMetrics};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use super::log_sources::{Input, SourcePlan, kind};
use crate::complaint::complaint;

/// Everything a source is made of, as often as it has to be.
#[derive(Clone)]
pub struct Way {
    pub plan: SourcePlan,
    pub input: Input,
    pub intake: LogIntake,
    pub book: Arc<Book>,
    pub marks: Arc<dyn MarkBook>,
    pub gate: Option<Arc<LineGate>>,
    pub metrics: ReceiveMetrics,
    pub stages: StageMetrics,
    pub state: SourceState,
    pub settling: TaskTracker,
}

/// Runs a source until `stop`; it ends by itself only where there is nothing more to read or the queue is closed.
pub async fn supervise(way: Way, stop: CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        // In a task of its own, so that a panic ends this run and not the source.
        let run = AbortOnDropHandle::new(tokio::spawn(run(way.clone(), stop.clone())));
        let why = match run.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) if is_over(&error) => return,
            Ok(Err(error)) => complaint(error.as_ref()),
            Err(_) => "it failed by a mistake of this program; please report what the log says".to_owned(),
        };
        way.state.trouble(&why);
        way.state.restarted();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
}

fn is_over(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ReceiveError>().is_some_and(ReceiveError::is_closed)
}

async fn run(way: Way, stop: CancellationToken) -> anyhow::Result<()> {
    let forward = way.forward()?;
    let name = &way.plan.job.job_name;
    match (&way.plan.job.source, way.input) {
        (_, Input::Stdin(labels)) => read_stdin(StdinConfig { labels }, forward, stop).await?,
        (LogSource::Journal(config), _) => {
            let key = JournalReader::key(name);
            // Promtail's older name of it.
            let cursor = way.book.cursor(&key).or_else(|| way.book.cursor(&format!("journal-{name}")));
            JournalReader::new(config.clone(), forward, cursor)?.run(stop).await?;
        }
        (LogSource::Syslog(config), Input::Listening(socket)) => {
            SyslogListener::new(config.clone(), &socket, forward)?.run(stop).await?;
        }
        (LogSource::Push(config), Input::Listening(socket)) => {
            PushReceiver::new(config.clone(), &socket, forward)?.run(stop).await?;
        }
        (LogSource::CloudWatch(plan), Input::CloudWatch(access)) => {
            let book = Arc::clone(&way.book);
            let cursors = move |key: &str| book.cursor(key);
            CloudWatchReader::new(plan.config.clone(), access, forward, cursors)?.run(stop).await?;
        }
        (LogSource::Objects(plan), Input::Objects { bucket, queue }) => {
            let cursor = way.book.cursor(&S3Reader::key(name));
            S3Reader::new(plan.config.clone(), bucket, queue, forward, cursor.as_deref())?.run(stop).await?;
        }
        (LogSource::Docker(config), _) => {
            let book = Arc::clone(&way.book);
            DockerReader::new(config, forward, move |key: &str| book.cursor(key))?.run(stop).await?;
        }
        // Made from the same plan.
        _ => {}
    }
    Ok(())
}

impl Way {
    fn forward(&self) -> anyhow::Result<Forward> {
        let job = &self.plan.job;
        let pipeline = Pipeline::new(&job.stages, &job.job_name, &self.stages)?;
        let limits = self.plan.limits;
        let config = ForwardConfig {
            relabel: job.relabel.clone(),
            max_line_size: usize::try_from(limits.max_line_size).unwrap_or(usize::MAX),
            max_line_size_truncate: limits.max_line_size_truncate,
            ..ForwardConfig::new(&job.job_name)
        };
        Ok(Forward::new(kind(&self.plan), config, Some(pipeline), self.intake.clone(), &self.metrics)
            .with_book(Arc::clone(&self.marks), &self.settling)
            .with_gate(self.gate.clone())
            .with_state(self.state.clone()))
    }
}
