//! The metrics part of a dry run: one scrape of each target, and what of it would go where.
//!
//! Scrapes as the agent does, into a queue in a temporary directory, and reads that.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use config::{DestinationPlan, MetricsRoute};
use model::{ContextKey, Labels, SeriesTable};
use pipeline::{BaseVectors, LaneId, MetricIntake, Outcome, Outlet};
use prometheus_client::registry::Registry;
use queue::{DestinationSpec, LaneSpec, Queue, QueueConfig};
use scrape::{ScrapeContext, ScrapeMetrics, ScrapePool, TargetState, offset_seed};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{braces, destination};
use crate::lanes::metrics_lane;

/// A directory that goes when this goes.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Samples of one job.
struct Sampled {
    job: String,
    samples: u64,
    first: Vec<(Labels, f64)>,
}

pub async fn show(route: &MetricsRoute, series: usize) -> Result<()> {
    println!("metrics instance {}", route.name);
    let mut all: Vec<Labels> = Vec::new();
    for number in 0..route.jobs.len() {
        let sampled = scrape(route, number, series, &mut all).await?;
        println!("    {} samples", sampled.samples);
        for (labels, value) in &sampled.first {
            println!("      {} {value}", braces(labels.iter()));
        }
        if sampled.samples > 0 && sampled.first.is_empty() && series > 0 {
            println!("      (their names cannot be shown: job {})", sampled.job);
        }
    }
    for plan in &route.destinations {
        let kept = all.iter().filter(|labels| is_kept(plan, labels)).count();
        println!("  would go to {}: {kept} of {} series", destination(plan), all.len());
    }
    Ok(())
}

/// After external labels and `write_relabel_configs`.
fn is_kept(plan: &DestinationPlan, labels: &Labels) -> bool {
    let mut labels = labels.clone();
    for (name, value) in plan.config.external_labels.iter() {
        if labels.get(name).is_none() {
            labels.set(name, value);
        }
    }
    relabel::process(&mut labels, &plan.config.write_relabel)
}

async fn scrape(route: &MetricsRoute, number: usize, series: usize, all: &mut Vec<Labels>) -> Result<Sampled> {
    let (job, discoveries) = route.jobs.get(number).context("a job of the plan")?;
    let directory = Temporary(std::env::temp_dir().join(format!("sigpost-dry-run-{}-{number}", std::process::id())));
    let lane = metrics_lane(&route.name)?;
    let spec = DestinationSpec::new("dry-run", vec![lane.clone()]);
    let config = QueueConfig { max_bytes: 256 << 20, ..QueueConfig::new(directory.0.clone()) };
    let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane.clone())], vec![spec])
        .context("making a queue in the directory for temporary files")?;
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let groups = discovery::watch(discoveries.clone(), &tracker, stop.clone())?;
    let hostname = crate::hostname::of_this_machine();
    let mut context = ScrapeContext::new(offset_seed(&hostname, &route.external_labels));
    if route.host_filter {
        let rules = route.host_filter_relabel.clone();
        context.host_filter = Some(Arc::new(scrape::HostFilter { hostname, rules }));
    }
    // A target's turn comes within its interval: a short one, that is, but no shorter than an answer may take.
    let interval = job.timeout.max(Duration::from_secs(1));
    let job = scrape::JobConfig { interval, ..job.clone() };
    let pool = ScrapePool::spawn(
        job.clone(),
        groups,
        MetricIntake::new(queue.appender(&lane)?),
        ScrapeMetrics::registered(&mut Registry::default()),
        context,
        &tracker,
        stop.clone(),
    )?;
    let patience = Instant::now() + interval + job.timeout + discovery::PATIENCE;
    let unknown = |pool: &ScrapePool| pool.targets().iter().any(|t| t.last_scrape.is_none());
    let mut met = false;
    while (!met || unknown(&pool)) && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(50)).await;
        met |= !pool.targets().is_empty();
    }
    let targets = pool.targets();
    println!("  job {}: {} targets", job.job_name, targets.len());
    for target in &targets {
        let error = target.last_error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
        println!("    {} is {}{error}", target.scrape_url, target.state.name());
    }
    let answered = targets.iter().filter(|target| target.state != TargetState::Unknown).count();
    pool.shutdown(false).await;
    stop.cancel();
    let sampled = read(&queue, &lane, job.job_name.clone(), answered, series, all).await;
    queue.close(Duration::from_secs(5)).await.context("closing the temporary queue")?;
    sampled
}

/// What the first scrape of each target brought.
async fn read(
    queue: &Queue,
    lane: &LaneId,
    job: String,
    targets: usize,
    series: usize,
    all: &mut Vec<Labels>,
) -> Result<Sampled> {
    let mut outlet = Outlet::new(queue.reader("dry-run", lane)?, BaseVectors::new(8 << 20));
    let mut sampled = Sampled { job, samples: 0, first: Vec::new() };
    let mut tables: BTreeMap<ContextKey, SeriesTable> = BTreeMap::new();
    let mut streams = BTreeSet::new();
    while streams.len() <= targets {
        let Ok(claim) = tokio::time::timeout(Duration::from_secs(1), outlet.next()).await else { break };
        let claim = claim?;
        let first_of_target = streams.insert(claim.frame().stream);
        for chunk in claim.chunks.iter().filter(|_| first_of_target) {
            let table = match tables.entry(chunk.table) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(SeriesTable::decode(&claim.table_bytes(&chunk.table)?)?),
            };
            for sample in chunk.samples() {
                let labels = table.label_set(sample.series as usize);
                sampled.samples += 1;
                if sampled.first.len() < series {
                    sampled.first.push((labels.clone(), sample.value));
                }
                all.push(labels);
            }
        }
        claim.settle(Outcome::Delivered);
    }
    Ok(sampled)
}
