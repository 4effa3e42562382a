//! The log files of one route: its tail, its positions, and the discovery that names the files.
//!
//! Keeps true: two tails of one route never run at the same time; a tail that was ended has its positions on disk.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use config::{CompressionFormat, LogJobPlan, LogSource, LogsRoute};
use log_tail::{Book, Charset, Decompression, FileJob, FileStatus, Limits, Packing, PositionsConfig, Tail, TailConfig};
use model::Labels;
use pipeline::{LaneId, LogIntake, MarkLane};

use super::{
    job::Found,
    wiring::{Parts, Wiring},
};

/// What can be tried before anything runs: settings that are usable, discovery that looks.
pub struct PreparedFiles {
    jobs: Vec<(FileJob, Found)>,
}

/// A running tail.
pub struct LogFiles {
    tail: Tail,
    book: Arc<Book>,
    /// In the order of the plan.
    jobs: Vec<(FileJob, Found)>,
}

/// One discovered target of a job, with the files that its pattern names.
pub struct LogTarget {
    pub instance: String,
    pub job: String,
    pub discovered: Labels,
    /// Those that lines get, without `filename`.
    pub labels: Labels,
    pub files: Vec<FileStatus>,
}

impl PreparedFiles {
    pub fn new(parts: &Parts, route: &LogsRoute) -> Result<Self> {
        let mut jobs = Vec::new();
        // Where lines come from the standard input, no file is read.
        for job in route.jobs.iter().filter(|_| !route.stdin) {
            let LogSource::Files(discoveries) = &job.source else { continue };
            let settings = file_job(route, job)
                .with_context(|| format!("job {} of the logs instance {}", job.job_name, route.name))?;
            jobs.push((settings, Found::look(parts, &job.job_name, discoveries)?));
        }
        if !jobs.is_empty() {
            parts.readership.expect(&route.name);
        }
        Ok(Self { jobs })
    }

    /// Reads the positions: those of the state file and the queue, else Promtail's. Blocking.
    pub fn book(wiring: &Wiring, route: &LogsRoute, lane: &LaneId) -> Result<Arc<Book>> {
        let positions = positions(&wiring.positions_directory, route, lane);
        for file in [Some(&positions.state_file), positions.promtail_file.as_ref()].into_iter().flatten() {
            let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
            if let Some(directory) = directory {
                std::fs::create_dir_all(directory)
                    .with_context(|| format!("making the directory of positions {}", directory.display()))?;
            }
        }
        Book::open(positions, MarkLane::new(wiring.queue.clone(), lane.clone()))
            .with_context(|| format!("reading the positions of the logs instance {}", route.name))
    }

    /// Starts reading.
    pub fn start(self, wiring: &Wiring, route: &LogsRoute, lane: &LaneId, book: Arc<Book>) -> Result<LogFiles> {
        let mut config = TailConfig::new(&route.name, state_file(&wiring.positions_directory, lane));
        config.positions = positions(&wiring.positions_directory, route, lane);
        config.pace.survey = route.sync_period;
        config.pace.min_poll = route.watch.min_poll;
        config.pace.max_poll = route.watch.max_poll;
        config.hostname = wiring.parts.hostname().to_owned();
        config.gate = Some(wiring.parts.gate(route));
        config.readership = Arc::clone(&wiring.parts.readership);
        let intake = LogIntake::new(wiring.queue.appender(lane)?);
        let groups = self.jobs.iter().map(|(job, found)| (job.clone(), found.groups())).collect();
        let tail = Tail::spawn(config, groups, intake, Arc::clone(&book), &wiring.parts.tail)
            .with_context(|| format!("starting to read the files of the logs instance {}", route.name))?;
        Ok(LogFiles { tail, book, jobs: self.jobs })
    }
}

impl LogFiles {
    /// Every discovered target with its files.
    pub fn targets(&self, instance: &str, hostname: &str) -> Vec<LogTarget> {
        let files = self.tail.files();
        let mut targets = Vec::new();
        for (job, found) in &self.jobs {
            let groups = found.groups();
            let groups = groups.borrow().clone();
            for (group, own) in groups.iter().flat_map(|group| group.targets.iter().map(move |own| (group, own))) {
                let discovered: Labels = group.labels.iter().chain(own.iter()).collect();
                let mut labels = discovered.clone();
                let elsewhere = |labels: &Labels| labels.get("__host__").is_some_and(|host| host != hostname);
                if !relabel::process(&mut labels, &job.relabel) || elsewhere(&labels) {
                    continue;
                }
                let pattern = labels.get("__path__").and_then(|path| log_tail::Pattern::new(path).ok());
                let of_pattern = |file: &&FileStatus| {
                    let path = Path::new(&file.path);
                    file.job == job.job_name && pattern.as_ref().is_some_and(|pattern| pattern.matches(path))
                };
                let files: Vec<FileStatus> = files.iter().filter(of_pattern).cloned().collect();
                labels.retain(|name, _| !name.starts_with("__"));
                let (instance, job) = (instance.to_owned(), job.job_name.clone());
                targets.push(LogTarget { instance, job, discovered, labels, files });
            }
        }
        targets
    }

    /// Ends reading: what was read is durable and its positions are written down. Gives the book to a successor.
    pub async fn end(self) -> Arc<Book> {
        let Self { tail, book, jobs } = self;
        if let Err(error) = tail.shutdown().await {
            tracing::error!(%error, "the positions of log files cannot be written; the queue still knows them");
        }
        for (_, found) in jobs {
            found.end().await;
        }
        book
    }
}

fn state_file(directory: &Path, lane: &LaneId) -> std::path::PathBuf {
    directory.join(format!("{lane}.json"))
}

fn positions(directory: &Path, route: &LogsRoute, lane: &LaneId) -> PositionsConfig {
    PositionsConfig {
        promtail_file: Some(route.positions.file.clone()),
        sync_period: route.positions.sync_period,
        ignore_invalid_yaml: route.positions.ignore_invalid_yaml,
        ..PositionsConfig::new(state_file(directory, lane))
    }
}

fn file_job(route: &LogsRoute, job: &LogJobPlan) -> Result<FileJob> {
    let packing = |format| match format {
        CompressionFormat::Gzip => Packing::Gzip,
        CompressionFormat::Zlib => Packing::Zlib,
        CompressionFormat::Bzip2 => Packing::Bzip2,
        CompressionFormat::Zstd => Packing::Zstd,
    };
    Ok(FileJob {
        relabel: job.relabel.clone(),
        stages: job.stages.clone(),
        charset: Charset::from_name(job.encoding.as_deref().unwrap_or_default())?,
        decompression: job
            .decompression
            .map(|d| Decompression { format: packing(d.format), initial_delay: d.initial_delay }),
        limits: Limits {
            max_line_size: usize::try_from(route.limits.max_line_size).unwrap_or(usize::MAX),
            truncate: route.limits.max_line_size_truncate,
        },
        ..FileJob::new(&job.job_name)
    })
}

/// Whether the files of a route may go on being read under another plan.
pub fn same_files(old: &LogsRoute, new: &LogsRoute) -> bool {
    let bare = |route: &LogsRoute| LogsRoute { destinations: Vec::new(), ..route.clone() };
    bare(old) == bare(new)
}
